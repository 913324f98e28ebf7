"""What outlives the server: stopped, killed, or with damaged files."""
import glob
import json
import threading

import pytest
from serve_program import Server, wait_for

openai = pytest.importorskip("openai")

OPTIONS = ("--window", "100")
FEED = [{"type": "message", "role": "user", "content": "The wind was rising over the moor. " * 12}]


def ask(client, conversation, n=25, **more):
    return client.responses.create(model="m", conversation=conversation, input="Go on.",
                                   max_output_tokens=n, extra_body={"seed": 11}, **more)


def conversation_of(client):
    conversation = client.conversations.create(
        items=[{"type": "message", "role": "system", "content": "Tell a tale."}])
    client.conversations.items.create(conversation.id, items=FEED)
    return conversation.id


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Three answers of a conversation that nobody interrupts."""
    with Server(*OPTIONS, state=tmp_path_factory.mktemp("never")) as server:
        client = server.client()
        conversation = conversation_of(client)
        return [ask(client, conversation).output_text for _ in range(3)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_conversation_goes_on_with_exactly_the_next_token(tmp_path, wanted, end):
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        conversation = conversation_of(client)
        texts = [ask(client, conversation).output_text]
        if end == "stop":
            assert server.stop() == 0
            assert glob.glob(f"{tmp_path}/streams/conv_*.state")
        else:
            server.kill()
    for _ in range(2):
        with Server(*OPTIONS, state=tmp_path) as server:
            texts.append(ask(server.client(), conversation).output_text)
            server.stop() if end == "stop" else server.kill()
    assert texts == wanted


def test_a_response_that_was_being_written_is_finished_after_a_kill(tmp_path):
    with Server(*OPTIONS, state=tmp_path / "a") as server:
        client = server.client()
        whole = ask(client, conversation_of(client), 200)
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        client = server.client()
        conversation = conversation_of(client)
        stream = ask(client, conversation, 200, stream=True)
        seen = [event for _, event in zip(range(60), stream)]
        server.kill()
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        client = server.client()
        rest = list(client.responses.retrieve(seen[0].response.id, stream=True,
                                              starting_after=seen[-1].sequence_number))
        events = seen + rest
        assert [e.sequence_number for e in events] == list(range(len(events)))
        assert events[-1].response.output_text == whole.output_text
        assert events[-1].response.usage == whole.usage
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert text == whole.output_text


def test_an_answer_of_many_tokens_goes_on_after_a_kill(tmp_path):
    """Its stream was written to disk in between, and what came before is not kept."""
    n = 6000
    with Server(*OPTIONS, state=tmp_path / "a") as server:
        client = server.client()
        whole = ask(client, conversation_of(client), n, stream=False)
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        client = server.client()
        stream = ask(client, conversation_of(client), n, stream=True)
        seen = [event for _, event in zip(range(5000), stream)]
        wait_for(lambda: glob.glob(f"{tmp_path}/b/streams/conv_*.state"))
        seen += [event for _, event in zip(range(20), stream)]
        server.kill()
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        rest = list(server.client().responses.retrieve(seen[0].response.id, stream=True,
                                                       starting_after=seen[-1].sequence_number))
        assert [e.sequence_number for e in seen + rest] == list(range(len(seen) + len(rest)))
        assert rest[-1].response.output_text == whole.output_text
        assert rest[-1].response.usage == whole.usage


def test_a_call_that_was_being_written_is_finished_after_a_kill(tmp_path):
    """Its arguments come once, whole, and valid, and its id is the one that was told."""
    tool = {"type": "function", "name": "note", "parameters": {
        "type": "object", "properties": {"text": {"type": "string", "minLength": 300, "maxLength": 320}},
        "required": ["text"], "additionalProperties": False}}
    request = dict(model="m", input="Note it.", tools=[tool], tool_choice="required", max_output_tokens=1000, stream=True,
                   extra_body={"seed": 5})
    options = (*OPTIONS, "--chat-template", "chatml")
    with Server(*options, state=tmp_path / "a") as server:
        whole = list(server.client().responses.create(**request))
    with Server(*options, state=tmp_path / "b") as server:
        stream = server.client().responses.create(**request)
        seen = []
        for event in stream:
            seen.append(event)
            if sum(e.type == "response.function_call_arguments.delta" for e in seen) == 20:
                break
        server.kill()
    with Server(*options, state=tmp_path / "b") as server:
        rest = list(server.client().responses.retrieve(seen[0].response.id, stream=True,
                                                       starting_after=seen[-1].sequence_number))
    events = seen + rest
    assert [e.sequence_number for e in events] == list(range(len(events)))
    [added] = [e.item for e in events if e.type == "response.output_item.added" and e.item.type == "function_call"]
    [done] = [e for e in events if e.type == "response.function_call_arguments.done"]
    [call] = [item for item in events[-1].response.output if item.type == "function_call"]
    assert call.call_id == added.call_id and call.name == done.name == "note"
    deltas = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    assert deltas == done.arguments == call.arguments
    assert call.arguments == whole[-1].response.output[-1].arguments
    assert 300 <= len(json.loads(call.arguments)["text"]) <= 320


def test_a_small_cache_with_windows_of_its_layers_goes_on_too(tmp_path):
    options = ("--window", "100,40x2", "--kv-type", "q4_0")
    with Server(*options, state=tmp_path / "a") as server:
        client = server.client()
        conversation = conversation_of(client)
        place = client.conversations.retrieve(conversation).runnel
        assert place["window"] == 100 and place["evicted"] == place["position"] - place["pinned"] - 100
        wanted = [ask(client, conversation).output_text for _ in range(3)]
    with Server(*options, state=tmp_path / "b") as server:
        conversation = conversation_of(server.client())
        texts = [ask(server.client(), conversation).output_text]
        server.kill()
    with Server(*options, state=tmp_path / "b") as server:
        texts.append(ask(server.client(), conversation).output_text)
        assert server.stop() == 0
    with Server("--window", "60", state=tmp_path / "b") as server:  # what a stream was begun with stays
        texts.append(ask(server.client(), conversation).output_text)
    assert texts == wanted


def items_of(client, conversation):
    return [item.content[0].text for item in client.conversations.items.list(conversation, order="asc").data]


def test_what_was_not_fed_to_its_end_is_taken_back_and_can_be_fed_again(tmp_path):
    long = [{"type": "message", "role": "user", "content": "The tide came in, and went out. " * 3000}]
    with Server(*OPTIONS, state=tmp_path / "a") as server:
        client = server.client()
        conversation = conversation_of(client)
        client.conversations.items.create(conversation, items=long)
        wanted = ask(client, conversation).output_text, client.conversations.retrieve(conversation).runnel["position"]
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        client = server.client()
        conversation = conversation_of(client)
        before = client.conversations.retrieve(conversation).runnel["position"]

        def feed(items):
            with pytest.raises(openai.APIConnectionError):
                client.conversations.items.create(conversation, items=items)
        threads = [threading.Thread(target=feed, args=(items,)) for items in (long, FEED)]  # the second one waits
        threads[0].start()
        wait_for(lambda: client.conversations.retrieve(conversation).runnel["position"] > before + 200)
        threads[1].start()
        wait_for(lambda: len(items_of(client, conversation)) == 4)
        server.kill()
        for thread in threads:
            thread.join()
    with Server(*OPTIONS, state=tmp_path / "b") as server:
        client = server.client()
        assert client.conversations.retrieve(conversation).runnel["position"] == before
        assert items_of(client, conversation) == ["Tell a tale.", FEED[0]["content"]]
        client.conversations.items.create(conversation, items=long)
        assert (ask(client, conversation).output_text,
                client.conversations.retrieve(conversation).runnel["position"]) == wanted


def test_what_is_fed_again_by_a_retry_is_read_once(tmp_path):
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        conversation = conversation_of(client)

        def feed(client, n_retries):
            return client.conversations.items.create(conversation, items=FEED,
                                                     extra_headers={"x-stainless-retry-count": str(n_retries)})
        first = feed(client, 0)
        again = [feed(client, 1), feed(client, 2)]
        assert [page.to_dict() for page in again] == [first.to_dict()] * 2
        place = client.conversations.retrieve(conversation).runnel["position"]
        assert place == first.runnel["position"] and len(items_of(client, conversation)) == 3
        other = feed(client, 0)  # which is no retry
        assert other.runnel["position"] > place and len(items_of(client, conversation)) == 4
        server.kill()
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        assert feed(client, 1).data[0].id == other.data[0].id
        assert client.conversations.retrieve(conversation).runnel["position"] == other.runnel["position"]
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve("feed_" + "0" * 32)


@pytest.mark.parametrize("kernels", ["portable", None])
def test_the_log_says_where_a_stream_goes_on_with_other_kernels(tmp_path, monkeypatch, kernels):
    monkeypatch.setenv("RUNNEL_ISA", "portable")
    with Server(*OPTIONS, state=tmp_path) as server:
        conversation = conversation_of(server.client())
        server.kill()
    if kernels is None:
        monkeypatch.delenv("RUNNEL_ISA")
    for is_first in (True, False):
        with Server(*OPTIONS, state=tmp_path) as server:
            ask(server.client(), conversation)
            assert server.stop() == 0
        said = [line for line in server.lines if conversation in line]
        assert len(said) == (is_first and kernels is None), server.lines
        assert all("was on the processor (portable), goes on on the processor (" in line for line in said)


def test_a_folder_belongs_to_one_server(tmp_path):
    with Server(*OPTIONS, state=tmp_path) as server:
        with pytest.raises(AssertionError, match="another server"):
            Server(*OPTIONS, state=tmp_path)
        assert server.client().models.list().data


def test_killed_again_and_again_under_load_nothing_that_was_told_is_lost(tmp_path):
    told = []  # ids of responses that a client has seen whole
    conversations = []
    for _ in range(20):
        with Server(*OPTIONS, state=tmp_path) as server:
            client = server.client()
            for id_, text in told[-12:]:
                assert client.responses.retrieve(id_).output_text == text
            if len(conversations) < 6:
                conversations.append(conversation_of(client))

            def work(conversation):
                try:
                    while True:
                        answer = ask(server.client(), conversation, 10)
                        told.append((answer.id, answer.output_text))
                except openai.APIConnectionError:
                    pass
            threads = [threading.Thread(target=work, args=(c,)) for c in conversations]
            for thread in threads:
                thread.start()
            n = len(told)
            wait_for(lambda: len(told) > n + 5, 20)
            server.kill()
            for thread in threads:
                thread.join()
    assert len(told) > 100
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        for id_, text in told:
            assert client.responses.retrieve(id_).output_text == text
        for conversation in conversations:
            ask(client, conversation, 3)


def test_a_damaged_stream_is_refused_by_name_and_the_others_served(tmp_path):
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        bad, good = conversation_of(client), conversation_of(client)
        server.stop()
    path = tmp_path / "streams" / f"{bad}.state"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with Server(*OPTIONS, state=tmp_path) as server:
        client = server.client()
        with pytest.raises(openai.APIStatusError) as error:
            client.conversations.items.create(bad, items=FEED)
        assert f"{bad}.state" in str(error.value) and "damaged" in str(error.value)
        assert ask(client, good).runnel["position"] > 0


def test_idle_streams_are_parked_and_brought_back(tmp_path):
    with Server(*OPTIONS, "--memory", "3M", state=tmp_path) as server:
        client = server.client()
        conversations = [conversation_of(client) for _ in range(6)]  # memory holds two
        texts = {ask(client, one).output_text for one in conversations}
        assert len(texts) == 1
        values = server.metrics()
        assert float(values["runnel_streams_parked_total"]) >= 4
        assert float(values["runnel_stream_bytes"]) <= 3 * 2**20


def test_without_a_folder_streams_are_parked_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Server(*OPTIONS, "--memory", "3M") as server:
        client = server.client()
        conversations = [conversation_of(client) for _ in range(6)]
        for _ in range(2):
            assert len({ask(client, one).output_text for one in conversations}) == 1
        assert len(list(tmp_path.glob("runnel-*/streams/*.state"))) >= 4
        assert oct(next(tmp_path.glob("runnel-*")).stat().st_mode)[-3:] == "700"
        assert server.stop() == 0
    assert not list(tmp_path.glob("runnel-*"))


def test_what_was_said_is_forgotten_where_there_is_no_room(tmp_path):
    with Server(*OPTIONS, "--store-size", "500K", state=tmp_path) as server:
        client = server.client()
        conversation = conversation_of(client)
        answers = [ask(client, conversation, 60) for _ in range(40)]

        def size():
            return float(server.metrics()["runnel_store_bytes"])
        wait_for(lambda: size() <= 500 * 1024)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(answers[0].id)
        assert client.responses.retrieve(answers[-1].id).output_text == answers[-1].output_text
        assert ask(client, conversation, 5).runnel["position"] > 0
