"""The guard through the interface: events, actions, and what becomes of a cache that was made anew."""
import json
import re
import time
import urllib.error
import urllib.request

import pytest
from serve_program import Server, wait_for

WINDOW = 60
TROUBLED = {"least_log_probability": -0.001}  # every text is less likely than that
TEXT = "The old house stood at the end of the lane, and nobody had lived in it for years. " * 4


@pytest.fixture(scope="module")
def server():
    with Server("--window", str(WINDOW)) as running:
        yield running


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def answer(server, **body):
    return json.loads(post(server, "/v1/responses", {"input": TEXT, "ignore_eos": True, "seed": 3, **body}))


def events(server, **body):
    text = post(server, "/v1/responses",
                {"input": TEXT, "ignore_eos": True, "seed": 3, "stream": True, **body})
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def text_of(response):
    return response["output"][0]["content"][0]["text"]


def test_it_tells_its_measures_and_changes_nothing(server):
    found = events(server, max_output_tokens=140, guard={**TROUBLED})
    measures = [event["guard"] for event in found if event["type"] == "runnel.guard"]
    assert len(measures) == 2  # after every 64 tokens
    for measure in measures:
        assert measure["log_probability"] < 0 and measure["entropy"] > 0 and measure["loops"] == 0
    assert 0 < measures[1]["sink_share"] <= 1
    notices = [event for event in found if event["type"] == "runnel.notice"]
    assert [(n["kind"], n["action"]) for n in notices] == [("likelihood", "tell")]
    assert re.search(r"unlikely, \d+\.\d\d nats", notices[0]["message"])
    unwatched = answer(server, max_output_tokens=140)
    assert text_of(found[-1]["response"]) == text_of(unwatched)


@pytest.mark.parametrize("bounds, kind", [
    (TROUBLED, "likelihood"), ({"most_entropy": 0.01}, "entropy"), ({"least_entropy": 20}, "entropy"),
    ({"least_sink_share": 1}, "sinks"),
])
def test_it_stops_and_says_why(server, bounds, kind):
    response = answer(server, max_output_tokens=400, guard={"on_drift": "stop", **bounds})
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": kind}
    least = 1 if kind == "sinks" else 45  # which are sampled by position
    assert least <= response["usage"]["output_tokens"] <= 130


def test_it_stops_a_loop(server):
    request = {"max_output_tokens": 3000, "temperature": 0, "repetition_penalty": 0.5}  # repeats what it sees
    told = events(server, **request, guard={"on_loop": "stop"})
    assert told[-1]["response"]["incomplete_details"] == {"reason": "loop"}
    assert [e["kind"] for e in told if e["type"] == "runnel.notice"] == ["loop"]
    heated = [e for e in events(server, **{**request, "max_output_tokens": 400}, guard={"on_loop": "heat"})
              if e["type"] == "runnel.notice"]
    assert heated[0]["action"] == "heat" and "temperature is now 1.00" in heated[0]["message"]


def test_a_cache_is_made_anew_and_the_stream_goes_on_where_it_was(server):
    found = events(server, max_output_tokens=200, guard={"on_drift": "rebuild", **TROUBLED})
    notices = [event for event in found if event["type"] == "runnel.notice"]
    assert {n["action"] for n in notices} == {"rebuild"}
    positions = [e["runnel"]["position"] for e in found if e["type"] == "response.output_text.delta"]
    assert positions == sorted(set(positions))
    place = found[-1]["runnel"]
    usage = found[-1]["response"]["usage"]
    assert place["position"] == usage["total_tokens"] and usage["output_tokens"] == 200
    assert place["evicted"] == place["position"] - place["pinned"] - WINDOW
    evictions = [(e["from"], e["to"]) for e in found if e["type"] == "runnel.evicted"]
    for (_, end), (begin, _) in zip(evictions, evictions[1:]):
        assert end == begin
    assert int(re.search(r"runnel_guard_rebuilt_total (\d+)", server.get("/metrics")).group(1)) >= 1


def test_the_server_has_bounds_of_its_own():
    with Server("--window", str(WINDOW), "--on-drift", "stop", "--least-likelihood", "-0.001") as strict:
        assert answer(strict, max_output_tokens=400)["incomplete_details"] == {"reason": "likelihood"}
        lenient = answer(strict, max_output_tokens=100, guard={"on_drift": "tell"})
        assert lenient["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("guard, field", [
    ({"on_loop": "pray"}, "guard.on_loop"), ({"on_drift": 3}, "on_drift"), ([], "guard"),
    ({"least_sink_share": 2}, "least_sink_share"), ({"least_likelihood": -3}, "guard.least_likelihood"),
])
def test_what_it_does_not_know_is_named(server, guard, field):
    with pytest.raises(urllib.error.HTTPError) as refused:
        answer(server, max_output_tokens=1, guard=guard)
    assert refused.value.code == 400
    assert field in json.load(refused.value)["error"]["message"]


CHAT = {"messages": [{"role": "user", "content": TEXT}]}
STATELESS = [
    ("/v1/chat/completions", {**CHAT, "max_tokens": 140, "ignore_eos": True}),
    ("/v1/completions", {"prompt": TEXT, "max_tokens": 140, "ignore_eos": True}),
    ("/v1/messages", {**CHAT, "max_tokens": 140, "ignore_eos": True}),
    ("/api/chat", {**CHAT, "options": {"num_predict": 140, "ignore_eos": True}}),
]


@pytest.mark.parametrize("path, body", STATELESS, ids=[path for path, _ in STATELESS])
def test_requests_that_bring_their_history_are_guarded_too(server, path, body):
    guard = {"on_drift": "stop", **TROUBLED}
    whole = json.loads(post(server, path, {**body, "guard": guard, "stream": False}))
    assert whole["runnel"]["stopped_by"] == "likelihood"
    assert [(n["kind"], n["action"]) for n in whole["runnel"]["notices"]] == [("likelihood", "stop")]
    lines = post(server, path, {**body, "guard": guard, "stream": True}).splitlines()
    told = [json.loads(line.removeprefix("data: "))["runnel"] for line in lines
            if line.removeprefix("data: ").startswith("{")]
    assert sum(len(place.get("notices", [])) for place in told) == 1
    assert told[-1]["stopped_by"] == "likelihood"
    only_told = json.loads(post(server, path, {**body, "guard": TROUBLED, "stream": False}))
    assert "stopped_by" not in only_told["runnel"] and only_told["runnel"]["guard"]["log_probability"] < 0
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, path, {**body, "guard": {"on_loop": "pray"}})
    assert refused.value.code == 400 and b"guard.on_loop" in refused.value.read()


def test_clients_read_streams_with_notices(server):
    client = server.client()
    chunks = list(client.chat.completions.create(
        model="m", **CHAT, max_tokens=140, stream=True,
        extra_body={"guard": {"on_drift": "stop", **TROUBLED}, "ignore_eos": True}))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].runnel["notices"][0]["kind"] == chunks[-1].runnel["stopped_by"] == "likelihood"


def test_a_cache_made_anew_outlives_the_server(tmp_path):
    texts = []
    for ending in (None, "stop", "kill"):
        state = tmp_path / str(ending)
        with Server("--window", str(WINDOW), state=state) as first:
            conversation = json.loads(post(first, "/v1/conversations", {}))["id"]
            answer(first, conversation=conversation, max_output_tokens=150,
                   guard={"on_drift": "rebuild", **TROUBLED})
            rest = {"conversation": conversation, "input": "And then?", "max_output_tokens": 60}
            if ending is None:
                texts.append(text_of(answer(first, **rest)))
                continue
            wait_for(lambda: (state / "streams" / f"{conversation}.state").exists())
            if ending == "kill":
                time.sleep(0.5)
                first.kill()
            else:
                assert first.stop() == 0
        with Server("--window", str(WINDOW), state=state) as second:
            texts.append(text_of(answer(second, **rest)))
    assert texts[1:] == texts[:1] * 2
