"""Models in Python, and what the package brings."""

import pickle
import signal
import subprocess
import sys
import threading
import time
from importlib import resources

import numpy as np
import pytest
from conftest import MODEL, OPENING

runnel = pytest.importorskip("runnel", reason="the Python module is not built")


def test_a_model_knows_its_facts(m):
    assert (m.architecture, m.vocabulary_size, m.trained_context, m.layers) == ("llama", 4096, 256, 8)
    assert m.is_end_of_generation(m.eos) and not m.is_end_of_generation(m.tokenize("the")[-1])
    assert "llama" in repr(m) and str(MODEL) in m._repr_html_()
    assert runnel.Model(MODEL, vocabulary_only=True).tokenize(OPENING) == m.tokenize(OPENING)


def test_text_becomes_tokens_and_text_again(m):
    for text in [OPENING, "Grüße, 世界 🙂", "", " two  spaces"]:
        assert m.detokenize(m.tokenize(text, add_bos=False)) == text
    assert m.tokenize("x")[0] == m.bos
    assert b"".join(m.token_bytes(t) for t in m.tokenize("hello", add_bos=False)).strip() == b"hello"


def test_errors_name_the_thing(m, tmp_path):
    with pytest.raises(OSError, match="absent.gguf") as caught:
        runnel.Model(tmp_path / "absent.gguf")
    assert caught.value.errno == 2 and isinstance(caught.value, runnel.Error)
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(ValueError, match="text.gguf"):
        runnel.Model(tmp_path / "text.gguf")
    with pytest.raises(OSError, match="absent.stream"):
        m.resume(tmp_path / "absent.stream")
    with pytest.raises(ValueError, match="saved stream"):
        m.resume(b"nothing of the kind")
    with pytest.raises(OSError, match="nowhere"):
        m.stream().save("/nowhere/at.all")


def test_loading_tells_its_progress_and_can_be_stopped():
    told = []
    runnel.Model(MODEL, progress=told.append)
    assert told == sorted(told) and told[-1] == 1000

    def stops(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runnel.Model(MODEL, progress=stops)


def test_pickled_models_are_the_same_file(m):
    assert pickle.loads(pickle.dumps(m)) is m


def test_perplexity_is_a_table_of_columns(m):
    text = OPENING * 12
    table = m.perplexity(text, policies=["sink", "window", "recompute"], window=30, recompute_tokens=20)
    assert table["policy"] == ["sink", "window", "recompute"]
    assert table["window"] == [30, 34, 30] and table["sinks"] == [4, 0, 4]
    assert table["tokens"][0] == len(m.tokenize(text)) - 1
    assert {len(column) for column in table.values()} == {3}
    nll = m.stream(window=30).score(m.tokenize(text))
    assert table["perplexity"][0] == pytest.approx(float(np.exp(nll.astype(np.float64).mean())))
    long = m.perplexity(text, window=30, positions=True)
    assert long["position"][:3] == [1, 2, 3] and np.allclose(long["nll"], nll)
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(table).set_index("policy").loc["sink", "tokens"] == table["tokens"][0]


def test_two_threads_run_two_streams_at_once(m):
    other = runnel.Model(MODEL, threads=1)
    streams = [m.stream(seed=1), other.stream(seed=2), m.stream(seed=3)]
    alone = [m.stream(seed=1), m.stream(seed=2), m.stream(seed=3)]
    found = {}

    def run(i):
        streams[i].feed(OPENING)
        found[i] = [streams[i].next().token for _ in range(120)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, stream in enumerate(alone):
        stream.feed(OPENING)
        assert found[i] == [stream.next().token for _ in range(120)]


def test_other_threads_run_during_a_long_call(m):
    stream = m.stream()
    ticks, is_done = 0, threading.Event()

    def feed():
        stream.feed([300] * 6000)
        is_done.set()

    thread = threading.Thread(target=feed)
    thread.start()
    while not is_done.is_set():
        time.sleep(0.001)
        ticks += 1
    thread.join()
    assert ticks > 10


def test_a_stream_in_use_refuses_a_second_thread(m):
    stream = m.stream()
    is_inside = threading.Event()
    may_go = threading.Event()

    def wait(_):
        is_inside.set()
        may_go.wait(20)

    thread = threading.Thread(target=stream.feed, args=([300, 301],), kwargs={"progress": wait})
    thread.start()
    assert is_inside.wait(20)
    with pytest.raises(runnel.Error, match="in use by another"):
        stream.next()
    may_go.set()
    thread.join()
    stream.next()


def test_ctrl_c_stops_a_long_call(tmp_path):
    script = f"""
import runnel, sys
m = runnel.Model({str(MODEL)!r}, threads=1)
s = m.stream()
print("ready", flush=True)
try:
    s.feed([300] * 10_000_000)
except KeyboardInterrupt:
    assert s.position > 0 and s.position % 256 == 0
    n = s.position
    s.next()
    assert s.position == n + 1
    print("stopped", flush=True)
try:
    for step in s: pass
except KeyboardInterrupt:
    print("stopped", s.next().token >= 0, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "stopped\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "stopped True\n"
    assert child.wait(30) == 0


def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_memory_is_flat_over_a_thousand_streams_and_many_models(m):
    def use_streams(n):
        for i in range(n):
            stream = m.stream(window=20, seed=i)
            stream.push(300)
            stream.fork().save()
            assert stream.logits.size and stream.attention().weights.size

    def use_models(n):
        for _ in range(n):
            runnel.Model(MODEL, threads=1).stream(window=20).push(300)

    use_streams(200)
    use_models(5)
    before = resident_kib()
    use_streams(1000)
    use_models(40)
    assert resident_kib() - before < 4096


def test_types_come_with_the_package():
    package = resources.files("runnel")
    assert (package / "py.typed").is_file()
    stub = (package / "_engine.pyi").read_text()
    assert "class Stream" in stub and "def feed" in stub


def test_pull_runs_the_program(monkeypatch, tmp_path):
    fake = tmp_path / "runnel"
    fake.write_text('#!/bin/sh\n[ "$1 $2" = "pull small" ] || exit 2\necho /models/small.gguf\n')
    fake.chmod(0o755)
    monkeypatch.setenv("RUNNEL", str(fake))
    assert runnel.pull("small") == "/models/small.gguf"
    with pytest.raises(runnel.Error, match="pull 'other': runnel pull ended with exit code 2"):
        runnel.pull("other")


def test_layers_run_where_they_are_told(m):
    assert m.device["layers"] == 0
    with pytest.raises(runnel.Error, match="want cpu, gpu or opencl:N, found tpu"):
        runnel.Model(MODEL, device="tpu")
    found = runnel.devices()
    if not found:
        pytest.skip("no OpenCL device")
    other = runnel.Model(MODEL, threads=1, device=found[0]["id"], device_layers=2)
    assert other.device["layers"] == 2 and other.device["memory_bytes"] > 0
    assert pickle.loads(pickle.dumps(other)) is other
    streams = [model.stream(window=40, temperature=0) for model in (m, other)]
    for stream in streams:
        stream.feed(OPENING)
    assert np.allclose(streams[0].logits, streams[1].logits, atol=0.5)  # int8 inputs, cut otherwise
    exact = runnel.Model(MODEL, threads=1, exact=True).stream()
    exact.feed(OPENING)
    assert 0 < np.abs(exact.logits - streams[0].logits).max() < 1
