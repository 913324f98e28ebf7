"""Folders of transformers: those of the fixtures, and, where transformers is installed, every kind of model made anew."""

import subprocess

import numpy as np
import pytest
from conftest import ROOT

runnel = pytest.importorskip("runnel", reason="the Python module is not built")
FIXTURES = ROOT / "tests/fixtures/hf"
TOKENS = [1, 7, 300, 42, 42, 5, 199, 260, 33, 8, 77, 140]


def worst_of(found, want):
    return np.abs(found - want).max() / np.abs(want).max()


@pytest.fixture
def llama():
    from runnel.hf import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FIXTURES / "llama", attention_sink_size=4, attention_sink_window_size=20)


def test_the_drop_in_gives_the_logits_of_transformers(llama):
    want = np.fromfile(FIXTURES / "llama/logits.f32", np.float32).reshape(1, len(TOKENS), -1)
    assert worst_of(llama([TOKENS]).logits, want) < 0.02


def test_generate_goes_on_past_its_window(llama):
    put = []

    class Streamer:
        def put(self, tokens):
            put.extend(tokens.tolist())

        def end(self):
            put.append("end")

    rows = np.array([TOKENS, TOKENS[::-1]])
    both = llama.generate(rows, max_new_tokens=60)
    assert both.shape == (2, len(TOKENS) + 60) and both[0, :len(TOKENS)].tolist() == TOKENS
    one = llama.generate(np.array(TOKENS), max_new_tokens=60, streamer=Streamer())
    assert one[0].tolist() == both[0].tolist() and put == [*one[0, len(TOKENS):].tolist(), "end"]
    eos = int(one[0, len(TOKENS) + 5])
    ended = llama.generate(np.array(TOKENS), max_new_tokens=60, eos_token_id=eos)
    assert ended.shape[1] <= len(TOKENS) + 6 and ended[0, -1] == eos
    drawn = [llama.generate(TOKENS, max_new_tokens=30, do_sample=True, seed=seed).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_command_line_takes_a_folder(program):
    done = subprocess.run([program, "generate", FIXTURES / "llama", "-p", "The old man", "-n", "5", "--json"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count('"id"') == 5, done.stderr


def test_a_saved_stream_asks_for_its_own_folder(tmp_path):
    saved = runnel.Model(FIXTURES / "mpt").stream(window=20)
    saved.feed(TOKENS)
    assert runnel.Model(FIXTURES / "mpt").resume(saved.save()).next().token == saved.next().token
    with pytest.raises(runnel.Error, match="another model"):
        runnel.Model(FIXTURES / "falcon").resume(saved.save())


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gptneox", "falcon", "falcon7b", "mpt"])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("float16", 0.02), ("bfloat16", 0.02)])
def test_logits_agree_with_transformers(kind, dtype, tolerance, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    torch = pytest.importorskip("torch")
    import hf_models

    if kind in ("falcon", "falcon7b", "mpt"):  # their GELU is by erf there and by tanh here, as in GGUF files
        tolerance = max(tolerance, 5e-4)
    hf_models.save(tmp_path, kind, getattr(torch, dtype))
    stream = runnel.Model(tmp_path, threads=1).stream(policy="dense", kv="f32")
    want = np.fromfile(tmp_path / "logits.f32", np.float32).reshape(len(TOKENS), -1)
    for token, logits in zip(TOKENS, want):
        stream.feed([token])
        assert np.abs(stream.logits - logits).max() < tolerance * np.abs(want).max()
