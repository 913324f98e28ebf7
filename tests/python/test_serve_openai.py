"""The server through the client that its users have: openai's."""
import concurrent.futures
import json
import time

import pytest
from serve_program import Server, wait_for

openai = pytest.importorskip("openai")

SEED = {"extra_body": {"seed": 7}}
WINDOW = 100


@pytest.fixture(scope="module")
def server():
    with Server("--window", str(WINDOW)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def test_lists_the_model(client):
    model = client.models.list().data[0]
    assert model.runnel["window"] == WINDOW
    assert client.models.retrieve(model.id).id == model.id
    assert model.id == "novella-7m-q8_0"  # the file's name
    assert client.models.retrieve(model.runnel["name"]).id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_chat_streamed_is_chat_whole(client):
    request = dict(model="m", messages=[{"role": "user", "content": "Who goes there?"}],
                   max_tokens=20, seed=3)
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(
        **request, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 20
    assert chunks[-2].choices[0].finish_reason == "length"


def test_chat_gives_log_probabilities_of_every_token(client):
    answer = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=8, temperature=0,
        logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == 8
    assert "".join(t.token for t in content) == answer.choices[0].message.content
    for token in content:  # greedy
        assert token.top_logprobs[0].token == token.token
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-4)


def test_chat_stops_at_a_stop_text_and_does_not_show_it(client):
    request = dict(model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=40, seed=1)
    text = client.chat.completions.create(**request).choices[0].message.content
    stop = text[10:14]
    answer = client.chat.completions.create(**request, stop=[stop])
    assert answer.choices[0].message.content == text[:text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_a_history_ten_times_the_window_passes_the_model_once(client):
    messages = [{"role": "system", "content": "Tell tales."}, {"role": "user", "content": "Begin."}]
    known = 0
    for turn in range(14):
        answer = client.chat.completions.create(model="m", messages=messages, max_tokens=80, seed=turn)
        details = answer.usage.prompt_tokens_details
        assert details.cached_tokens == known
        assert answer.usage.prompt_tokens - known < 40  # the new message alone was read
        known = answer.usage.total_tokens
        assert answer.runnel["position"] == known
        messages += [{"role": "assistant", "content": answer.choices[0].message.content},
                     {"role": "user", "content": f"And then, {turn}?"}]
    assert known > 10 * WINDOW
    assert answer.runnel["evicted"] == known - answer.runnel["pinned"] - answer.runnel["window"]


def test_another_history_does_not_continue_a_stream(client):
    first = [{"role": "user", "content": "One thing."}]
    client.chat.completions.create(model="m", messages=first, max_tokens=5)
    other = first + [{"role": "assistant", "content": "Not what it said"}, {"role": "user", "content": "?"}]
    answer = client.chat.completions.create(model="m", messages=other, max_tokens=5)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_completions(client):
    answer = client.completions.create(model="m", prompt="It was a dark", max_tokens=6, seed=2,
                                       logprobs=2, echo=True)
    assert answer.choices[0].text.startswith("It was a dark")
    assert len(answer.choices[0].logprobs.tokens) == 6
    streamed = client.completions.create(model="m", prompt="It was a dark", max_tokens=6, seed=2,
                                         stream=True)
    assert "It was a dark" + "".join(c.choices[0].text for c in streamed) == answer.choices[0].text


def test_a_chain_of_responses_is_one_stream(client):
    first = client.responses.create(model="m", input="Hello", max_output_tokens=10)
    second = client.responses.create(model="m", input="And?", max_output_tokens=10,
                                     previous_response_id=first.id)
    assert second.usage.input_tokens_details.cached_tokens == first.usage.total_tokens
    assert second.runnel["position"] == second.usage.total_tokens


def test_a_repeated_request_is_answered_from_the_store(client):
    first = client.responses.create(model="m", input="Hello", max_output_tokens=5)
    again = [client.responses.create(model="m", input="More", max_output_tokens=5,
                                     previous_response_id=first.id) for _ in range(3)]
    assert len({r.id for r in again}) == 1
    after = client.responses.create(model="m", input="Now", max_output_tokens=5,
                                    previous_response_id=again[0].id)
    assert after.usage.input_tokens_details.cached_tokens == again[0].usage.total_tokens  # read once


def test_a_branch_from_an_older_response(client):
    first = client.responses.create(model="m", input="Hello", max_output_tokens=5)
    for text in ("left", "right"):
        branch = client.responses.create(model="m", input=text, max_output_tokens=5,
                                         previous_response_id=first.id)
        assert branch.usage.input_tokens > first.usage.total_tokens


def test_events_come_again_after_any_number(client):
    stream = client.responses.create(model="m", input="Tell", max_output_tokens=12, stream=True)
    events = list(stream)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.incomplete"
    again = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=4))
    assert [e.to_dict() for e in again] == [e.to_dict() for e in events[5:]]


def test_a_dropped_client_comes_back_to_its_response(client):
    stream = client.responses.create(model="m", input="Tell", max_output_tokens=300, stream=True)
    seen = [event for _, event in zip(range(20), stream)]
    stream.close()
    rest = client.responses.retrieve(seen[0].response.id, stream=True,
                                     starting_after=seen[-1].sequence_number)
    events = seen + list(rest)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text
    evictions = [e for e in events if e.type == "runnel.evicted"]
    assert evictions and all(a.to == b.to_dict()["from"] for a, b in zip(evictions, evictions[1:]))


def test_endless_writing_until_cancelled(client):
    response = client.responses.create(model="m", input="For ever", background=True,
                                       extra_body={"ignore_eos": True})
    assert response.status == "queued"
    time.sleep(0.5)
    cancelled = client.responses.cancel(response.id)
    assert cancelled.status == "cancelled"
    assert cancelled.usage.output_tokens > 0
    assert client.responses.retrieve(response.id).output_text == cancelled.output_text
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_truncation_disabled_is_refused_where_something_would_be_forgotten(client):
    request = dict(model="m", input="word " * 3 * WINDOW, max_output_tokens=1)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**request, truncation="disabled")
    assert error.value.code == "context_length_exceeded"
    assert client.responses.create(**request).runnel["evicted"] > 0


def test_a_conversation_keeps_its_system_prompt_and_its_items(client):
    system = {"type": "message", "role": "system", "content": "You are an old captain."}
    conversation = client.conversations.create(items=[system], metadata={"ship": "Nancy"})
    pinned = conversation.runnel["pinned"]
    assert pinned > 4 and conversation.runnel["position"] == pinned
    fed = client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "user", "content": "wind and water " * 60}])
    assert fed.runnel["evicted"] == fed.runnel["position"] - pinned - WINDOW
    answer = client.responses.create(model="m", conversation=conversation.id, input="Well?",
                                     max_output_tokens=8)
    assert answer.runnel["pinned"] == pinned
    roles = [i.role for i in client.conversations.items.list(conversation.id, order="asc")]
    assert roles == ["system", "user", "user", "assistant"]
    assert client.conversations.update(conversation.id, metadata={"ship": "Mary"}).metadata == {"ship": "Mary"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def test_a_fork_goes_on_as_the_original_would(client):
    conversation = client.conversations.create(items=[{"type": "message", "role": "user",
                                                       "content": "Once upon a time " * 20}])
    fork = client.post(f"/conversations/{conversation.id}/fork", cast_to=object, body={})
    items = client.conversations.items.list(fork["id"]).to_dict()["data"]  # as soon as it is there
    assert items == client.conversations.items.list(conversation.id).to_dict()["data"] and len(items) == 1
    texts = [client.responses.create(model="m", conversation=one, input="Go on", max_output_tokens=30,
                                     **SEED).output_text for one in (conversation.id, fork["id"])]
    assert texts[0] == texts[1]


def test_sixteen_clients_at_a_time_get_what_each_gets_alone(client):
    def ask(i):
        return client.completions.create(model="m", prompt=f"Chapter {i}. " + "It was night. " * i,
                                         max_tokens=30, seed=i).choices[0].text
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    assert together == [ask(i) for i in range(16)]


def test_responses_over_a_websocket_on_two_lanes_and_steered(client):
    pytest.importorskip("websockets")
    with client.responses.connect() as connection:
        connection.response.create(model="m", input="One", max_output_tokens=6, stream_id="a")
        connection.response.create(model="m", input="Two", max_output_tokens=6, stream_id="b")
        lanes, open_lanes = {"a": [], "b": []}, {"a", "b"}
        while open_lanes:
            event = json.loads(connection.recv_bytes())
            lanes[event["stream_id"]].append(event)
            if event["type"] == "response.incomplete":
                open_lanes.remove(event["stream_id"])
        for events in lanes.values():
            assert [e["sequence_number"] for e in events] == list(range(len(events)))
        connection.send({"type": "response.create", "model": "m", "input": "For ever",
                         "ignore_eos": True})
        first = json.loads(connection.recv_bytes())["response"]["id"]
        connection.send({"type": "response.steer", "previous_response_id": first, "input": "Enough."})
        kinds, successor = [], None
        while successor is None:
            event = json.loads(connection.recv_bytes())
            kinds.append(event["type"])
            if event["type"] == "response.incomplete":
                assert event["response"]["incomplete_details"]["reason"] == "steered"
            if event["type"] == "response.created":
                successor = event["response"]
        assert successor["previous_response_id"] == first
        assert "response.steer.accepted" in kinds
    client.responses.cancel(successor["id"])


@pytest.mark.parametrize("body, param", [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x"}], "temperature": 9}, "temperature"),
    ({"messages": [{"role": "user", "content": "x"}], "n": 2}, "n"),
    ({"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}, "max_tokens"),
    ({"messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": 1}}, "logit_bias"),
    ({"messages": [{"role": "user", "content": "x"}], "functions": [{"name": "f"}]}, "functions"),
    ({"messages": [{"role": "user", "content": "x"}], "modalities": ["text", "audio"]}, "modalities"),
])
def test_refusals_name_the_field(client, body, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.post("/chat/completions", cast_to=object, body=body)
    assert error.value.param == param


@pytest.mark.parametrize("path, body, param", [
    ("/completions", {"prompt": "x", "suffix": "y"}, "suffix"),
    ("/completions", {"prompt": "x", "best_of": 2}, "best_of"),
    ("/completions", {"prompt": ["x", "y"]}, "prompt"),
    ("/responses", {"input": "x", "prompt": {"id": "p"}}, "prompt"),
    ("/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content"),
    ("/responses", {"input": "x", "tools": [{"type": "web_search"}]}, "tools"),
    ("/messages", {"messages": [{"role": "user", "content": "x"}], "mcp_servers": [{"url": "x"}]}, "mcp_servers"),
])
def test_what_there_is_not_is_refused_by_name(client, path, body, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.post(path, cast_to=object, body=body)
    assert error.value.param == param or param in error.value.message


def test_what_asks_for_nothing_is_not_refused(client):
    body = {"prompt": "x", "max_tokens": 1, "suffix": None, "logit_bias": {}, "best_of": 1, "n": 1}
    client.post("/completions", cast_to=object, body=body)


def test_embeddings_are_refused_plainly(client):
    with pytest.raises(openai.APIStatusError) as error:
        client.embeddings.create(model="m", input="x")
    assert error.value.status_code == 501


def test_more_streams_than_memory_holds():
    # One stream of the bundled model at this window takes some 1.2 MB.
    with Server("--window", str(WINDOW), "--memory", "3M") as small:
        client = small.client()
        a, _ = (client.responses.create(model="m", input="On and on.", background=True,
                                        extra_body={"ignore_eos": True}) for _ in range(2))
        with pytest.raises(openai.RateLimitError) as error:  # both are at work
            client.conversations.create()
        assert int(error.value.response.headers["retry-after"]) > 0
        client.responses.cancel(a.id)
        for _ in range(3):  # those that are idle go to disk
            client.conversations.create()


def test_what_was_refused_for_want_of_memory_is_done_when_there_is_some():
    with Server("--window", str(WINDOW), "--memory", "3M") as small:
        client = small.client()
        conversation = client.conversations.create()
        first = client.responses.create(model="m", input="Hello", max_output_tokens=5)
        writers = [client.responses.create(model="m", input="On and on.", background=True,
                                           extra_body={"ignore_eos": True}) for _ in range(2)]  # the others go to disk
        item = {"type": "message", "role": "user", "content": "Note this."}
        for _ in range(2):
            with pytest.raises(openai.RateLimitError):
                client.responses.create(model="m", input="More", max_output_tokens=5, previous_response_id=first.id)
            with pytest.raises(openai.RateLimitError):
                client.conversations.items.create(conversation.id, items=[item])
        for one in writers:
            client.responses.cancel(one.id)
        after = client.responses.create(model="m", input="More", max_output_tokens=5, previous_response_id=first.id)
        assert after.usage.input_tokens_details.cached_tokens == first.usage.total_tokens and after.output_text
        client.conversations.items.create(conversation.id, items=[item])
        assert len(client.conversations.items.list(conversation.id).data) == 1


def test_metrics_tell_what_was_done(server, client):
    client.completions.create(model="m", prompt="x", max_tokens=3)
    text = server.get("/metrics")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    assert float(values["runnel_tokens_written_total"]) >= 3
    assert float(values["runnel_first_token_seconds_count"]) >= 1
    wait_for(lambda: "runnel_answers 0" in server.get("/metrics"))
