"""Streams in Python."""

import asyncio
import copy
import ctypes
import json
import pickle
import subprocess

import numpy as np
import pytest
from conftest import MODEL, OPENING

runnel = pytest.importorskip("runnel", reason="the Python module is not built")


def tokens_of(stream, n):
    return [stream.next().token for _ in range(n)]


def opened(m, **options):
    stream = m.stream(**{"window": 40, "seed": 7, **options})
    stream.feed(OPENING)
    return stream


class CStep(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("token", ctypes.c_int32), ("end", ctypes.c_int32),
                ("text", ctypes.c_char_p), ("text_bytes", ctypes.c_size_t), ("logprob", ctypes.c_float)]


def tokens_in_c(build, n):
    c = ctypes.CDLL(str(build / "librunnel.so"))
    model, stream = ctypes.c_void_p(), ctypes.c_void_p()
    assert c.runnel_model_load(str(MODEL).encode(), None, ctypes.byref(model)) == 0
    assert c.runnel_stream_open(model, None, ctypes.byref(stream)) == 0
    text = OPENING.encode()
    assert c.runnel_stream_feed(stream, text, ctypes.c_size_t(len(text)), None, None, None) == 0
    step = CStep(size=ctypes.sizeof(CStep))
    tokens = []
    for _ in range(n):
        assert c.runnel_stream_next(stream, ctypes.byref(step)) == 0
        tokens.append(step.token)
    c.runnel_stream_close(stream)
    c.runnel_model_close(model)
    return tokens


def test_python_c_and_the_command_line_write_the_same_tokens(m, build, program):
    stream = m.stream()
    stream.feed(OPENING)
    found = tokens_of(stream, 300)
    lines = subprocess.run([program, "generate", str(MODEL), "-p", OPENING, "-n", "300", "--json"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == [step["id"] for step in map(json.loads, lines) if "id" in step]
    assert found == tokens_in_c(build, 300)
    assert stream.evicted > 0


def test_iterating_writes_without_end(m):
    stream = opened(m)
    twin = opened(m)
    steps = [step for step, _ in zip(stream, range(60))]
    assert [step.token for step in steps] == tokens_of(twin, 60)[:60]
    assert "".join(step.text for step in steps).strip()
    assert all(isinstance(step.text, str) and step.logprob <= 0 for step in steps)
    assert "Step(token=" in repr(steps[0])


def test_async_for_writes_the_same(m):
    async def written():
        steps = []
        async for step in opened(m):
            steps.append(step.token)
            if len(steps) == 30:
                return steps

    assert asyncio.run(written()) == tokens_of(opened(m), 30)


def test_streams_together_get_what_they_get_alone(m):
    options = [dict(seed=1), dict(seed=2, kv="q8_0"), dict(kv="q4_0"), dict(policy="dense", window=None), dict(draft=4)]
    together = [opened(m, **o) for o in options]
    alone = [opened(m, **o) for o in options]
    for _ in range(30):
        steps = runnel.next(together)
        assert [step.token for step in steps] == [stream.next().token for stream in alone]
    with pytest.raises(runnel.Error, match="want each once"):
        runnel.next([alone[0], alone[0]])


@pytest.mark.parametrize("options", [dict(), dict(kv="q8_0"), dict(kv="q4_0"), dict(kv="q8_0", kv_rotate=True),
                                     dict(window="60,9x2"), dict(window=[9, 60], kv="q4_0"), dict(policy="dense", window=None), dict(draft=5),
                                     dict(policy="recompute", window=12), dict(policy="window")])
def test_copies_go_on_as_the_original(m, options, tmp_path):
    stream = opened(m, **options)
    tokens_of(stream, 25)
    stream.save(tmp_path / "saved.stream")
    copies = [stream.fork(), m.resume(stream.save()), m.resume(tmp_path / "saved.stream"),
              pickle.loads(pickle.dumps(stream)), copy.deepcopy(stream)]
    want = tokens_of(stream, 30)
    for one in copies:
        assert one.model is m
        assert tokens_of(one, 30) == want


def test_push_takes_a_token_as_next_would(m):
    stream, pushed = opened(m), opened(m)
    for _ in range(50):
        want = stream.next()
        step = pushed.push(want.token)
        assert (step.token, step.text, step.logprob) == (want.token, want.text, want.logprob)
    assert np.array_equal(stream.logits, pushed.logits)
    with pytest.raises(ValueError, match="token: want 0 to 4095, found 99999"):
        stream.push(99999)


def test_logits_are_a_read_only_view(m):
    stream = m.stream()
    assert stream.logits.shape == (0,)
    stream.feed(OPENING)
    view = stream.logits
    assert view.shape == (m.vocabulary_size,) and view.dtype == np.float32
    with pytest.raises(ValueError):
        view[0] = 0
    before = view.copy()
    stream.next()
    assert not np.array_equal(view, before) and np.shares_memory(view, stream.logits)
    assert np.array_equal(np.from_dlpack(stream), view)
    top = stream.top(5)
    log_softmax = view - np.log(np.exp(view - view.max(), dtype=np.float64).sum()) - view.max()
    assert [token for token, _ in top] == np.argsort(-view, kind="stable")[:5].tolist()
    assert np.allclose([logprob for _, logprob in top], log_softmax[[token for token, _ in top]], atol=1e-4)


def test_a_sampler_of_ones_own_is_the_engines_greedy_one(m):
    stream, greedy = opened(m), opened(m, temperature=0)
    mine = [stream.push(int(stream.logits.argmax())).token for _ in range(40)]
    assert mine == tokens_of(greedy, 40)


def test_attention_is_of_the_last_tokens(m):
    stream = opened(m)
    tokens_of(stream, 40)
    twin = stream.fork()
    weights, queries, positions = stream.attention(3)
    assert weights.shape == (3, m.layers, weights.shape[2], len(positions))
    assert np.allclose(weights.sum(-1), 1, atol=1e-4)
    assert queries.tolist() == list(range(stream.position - 3, stream.position))
    assert positions[:4].tolist() == [0, 1, 2, 3] and positions[-1] == stream.position - 1
    assert tokens_of(stream, 10) == tokens_of(twin, 10)
    with pytest.raises(runnel.Error, match="attention: want 1 to 40"):
        stream.attention(41)


def test_score_gives_the_likelihood_of_each_token(m):
    tokens = m.tokenize(OPENING * 8)
    stream, fed = m.stream(window=30), m.stream(window=30)
    nll = stream.score(tokens)
    assert nll.shape == (len(tokens) - 1,) and nll.dtype == np.float32
    fed.feed(tokens[:50])
    logits = fed.logits.astype(np.float64)
    want = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[tokens[50]]
    assert nll[49] == pytest.approx(want, abs=1e-4)


def test_a_stream_shows_itself(m):
    stream = opened(m, pin="<Never> & always.", seed=3)
    tokens_of(stream, 60)
    assert "sink" in repr(stream) and f"position {stream.position}" in repr(stream)
    html = stream._repr_html_()
    assert "forgotten" in html and "&lt;" in html and "<Never>" not in html
    assert stream.horizon == stream.position - 40
    assert stream.evicted == stream.position - len(stream.tokens)
    assert stream.nbytes == m.stream_bytes(**stream.options)
    assert m.stream(**stream.options).options == stream.options


def test_progress_is_told_and_feeding_counts(m):
    told = []
    stream = m.stream(chunk=64)
    assert stream.feed([300] * 200, progress=told.append) == 200
    assert told == [64, 128, 192, 200]

    def stops(done):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        stream.feed([300] * 200, progress=stops)
    assert stream.position == 264


def test_options_that_are_wrong_are_named(m):
    for options, message in [(dict(window=-1), "window"), (dict(policy="sinks"), "policy: want dense, window"),
                             (dict(kv="q4"), "kv: want f32"), (dict(sinks="many"), "sinks: want int"),
                             (dict(top_p=7), "top-p"), (dict(seed=-1), "seed")]:
        with pytest.raises(ValueError, match=message):
            m.stream(**options)
    with pytest.raises(TypeError, match="unknown option: heat"):
        m.stream(heat=1)


def test_a_stream_keeps_to_json_of_a_schema(m):
    schema = {"type": "object", "properties": {"dark": {"type": "boolean"}}, "required": ["dark"]}
    s = m.stream(seed=4, window=100)
    s.feed("It was a dark night.")
    s.set_json_schema(schema)
    copy = s.fork()
    for stream in (s, copy):
        text = ""
        while not (step := stream.next()).end_of_generation:
            text += step.text
        assert isinstance(json.loads(text)["dark"], bool)
    s.set_json_schema(None)
    assert len(s.write(30)) > 30
    with pytest.raises(runnel.Error, match="schema"):
        s.set_json_schema({"type": "oracle"})
    with pytest.raises(runnel.Error):
        s.set_json_schema("no JSON")


def test_windows_are_numbers_lists_or_text(m):
    assert m.stream(window=np.int64(60)).options["window"] == 60
    assert m.stream(window="60,9x2").options == m.stream(window=(60, 9, 9)).options
    for wrong in (1.5, [1.5], object()):
        with pytest.raises(runnel.Error, match="window: want"):
            m.stream(window=wrong)


def test_what_is_no_token_is_named(m):
    s = m.stream()
    for wrong in (5, [1.5], ["a"], None):
        with pytest.raises(runnel.Error, match="want text or whole numbers"):
            s.feed(wrong)
    with pytest.raises(runnel.Error, match="found \\['x'\\]"):
        s.push("x")
    assert s.feed(np.array([5, 6], np.int64)) == 2 and s.feed((7, np.int32(8))) == 2 and s.position == 4
    with pytest.raises(runnel.Error, match="a fresh one"):
        m.stream().attention()
