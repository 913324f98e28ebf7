"""Responses that are not to be kept ("store": false): answered, and gone."""
import json

import pytest
from serve_program import Server, wait_for

openai = pytest.importorskip("openai")

OPTIONS = ("--window", "100")
SECRET = "The treasure lies beneath the yew tree."


@pytest.fixture(scope="module")
def server():
    with Server(*OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def ask(client, **more):
    return client.responses.create(**{"model": "m", "input": SECRET, "max_output_tokens": 8, "store": False, **more})


def number_of_streams(server):
    return float(server.metrics()["runnel_streams"])


def is_unknown(client, id_):
    for look in (client.responses.retrieve, client.responses.delete, client.responses.cancel,
                 client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            look(id_)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model="m", input="And?", previous_response_id=id_)
    assert error.value.code == "previous_response_not_found" and error.value.param == "previous_response_id"
    return True


def test_nobody_finds_it_afterwards(server, client):
    before = number_of_streams(server)
    whole = ask(client)
    assert whole.store is False and whole.usage.output_tokens == 8 and whole.output_text
    assert is_unknown(client, whole.id)
    events = list(ask(client, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].response.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert is_unknown(client, events[0].response.id)
    wait_for(lambda: number_of_streams(server) == before)


def test_a_missing_response_is_told_as_the_api_tells_it(client):
    assert is_unknown(client, "resp_none")


def test_it_cannot_be_written_in_the_background(client):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, background=True)
    assert error.value.param == "background"


def test_while_it_is_written_it_can_be_ended_and_not_looked_at(client):
    stream = ask(client, stream=True, max_output_tokens=None, extra_body={"ignore_eos": True})
    id_ = next(stream).response.id
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(id_)
    assert client.responses.cancel(id_).status == "cancelled"
    assert list(stream)[-1].type == "response.incomplete"
    assert is_unknown(client, id_)


def test_it_goes_on_from_one_that_is_kept_and_leaves_that_as_it_is(client):
    first = client.responses.create(model="m", input="Hello", max_output_tokens=5)
    aside = ask(client, previous_response_id=first.id)
    assert aside.usage.input_tokens_details.cached_tokens == first.usage.total_tokens
    after = client.responses.create(model="m", input="More", max_output_tokens=5, previous_response_id=first.id)
    assert after.usage.input_tokens_details.cached_tokens == first.usage.total_tokens
    # The stream has gone on: what was said until then is read again.
    late = ask(client, input="Or else: " + SECRET, previous_response_id=first.id)
    assert late.usage.input_tokens_details.cached_tokens == 0 and late.usage.input_tokens >= aside.usage.input_tokens


def test_a_retry_in_a_conversation_is_read_once(client):
    conversation = client.conversations.create().id
    answers = [ask(client, conversation=conversation, extra_headers={"x-stainless-retry-count": str(i)}) for i in range(3)]
    assert len({answer.id for answer in answers}) == 1
    assert client.conversations.retrieve(conversation).runnel["position"] == answers[0].usage.total_tokens
    assert len(client.conversations.items.list(conversation).data) == 2  # the conversation is kept
    assert is_unknown(client, answers[0].id)
    kept = client.responses.create(model="m", conversation=conversation, input="And?", max_output_tokens=5)
    assert client.responses.retrieve(kept.id).output_text == kept.output_text


def test_nothing_of_it_is_written_to_disk(tmp_path):
    with Server(*OPTIONS, "--memory", "3M", "--idle", "1", state=tmp_path) as server:
        client = server.client()
        ask(client)
        list(ask(client, stream=True))
        first = client.responses.create(model="m", input="Hello", max_output_tokens=5)
        ask(client, previous_response_id=first.id)
        for _ in range(3):  # what is idle goes to disk
            client.conversations.create()
        assert server.stop() == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"Hello" in path.read_bytes() for path in files)
    assert not any(b"yew tree" in path.read_bytes() for path in files)
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        after = client.responses.create(model="m", input="More", max_output_tokens=5, previous_response_id=first.id)
        assert after.usage.input_tokens_details.cached_tokens == first.usage.total_tokens


def test_its_conversation_goes_on_after_a_kill(tmp_path):
    texts = []
    for ends in (False, True):
        state = tmp_path / str(ends)
        with Server(*OPTIONS, state=state) as server:
            client = server.client()
            conversation = client.conversations.create().id
            answer = ask(client, conversation=conversation, extra_body={"seed": 3})
            if ends:
                server.kill()
                server = Server(*OPTIONS, state=state)
            with server:
                client = server.client()
                texts.append(ask(client, conversation=conversation, extra_body={"seed": 4}).output_text)
                assert is_unknown(client, answer.id)
    assert texts[0] == texts[1]


def next_event(connection, *kinds):
    while True:
        event = json.loads(connection.recv_bytes())
        if event["type"] in kinds:
            return event


def test_a_websocket_goes_on_with_its_own(server, client):
    pytest.importorskip("websockets")
    before = number_of_streams(server)
    request = {"model": "m", "input": SECRET, "max_output_tokens": 6, "store": False}
    with client.responses.connect() as connection:
        connection.response.create(**request)
        first = next_event(connection, "response.incomplete")["response"]
        connection.response.create(**request, previous_response_id=first["id"])
        second = next_event(connection, "response.incomplete", "error")["response"]
        assert second["usage"]["input_tokens_details"]["cached_tokens"] == first["usage"]["total_tokens"]
        connection.send({"type": "response.create", **request, "max_output_tokens": 100000, "ignore_eos": True,
                         "previous_response_id": second["id"]})
        third = next_event(connection, "response.created")["response"]
        connection.send({"type": "response.steer", "previous_response_id": third["id"], "input": "Enough."})
        next_event(connection, "response.steer.accepted")
        fourth = next_event(connection, "response.created")["response"]
        assert fourth["previous_response_id"] == third["id"] and fourth["store"] is False
        client.responses.cancel(fourth["id"])
        next_event(connection, "response.incomplete")
        assert number_of_streams(server) == before + 1
        with client.responses.connect() as other:
            other.response.create(**request, previous_response_id=second["id"])
            error = next_event(other, "error")
            assert error["status"] == 400 and error["error"]["code"] == "previous_response_not_found"
    wait_for(lambda: number_of_streams(server) == before)
    assert is_unknown(client, second["id"])
