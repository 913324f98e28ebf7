"""Folders of transformers: those of the fixtures, and, where a Python has transformers and torch, every kind of model made
anew: $RUNNEL_TRANSFORMERS, the environment that `make venv` makes beside that of the tests, or the tests' own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hf_kinds import CONFIGS, GELU_BY_ERF

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


@pytest.fixture(scope="session")
def made(build, tmp_path_factory):
    """folder/KIND/TYPE of every kind that this transformers has, with its logits."""
    beside = build / "venv-transformers/bin/python"
    python = os.environ.get("RUNNEL_TRANSFORMERS") or (beside if beside.exists() else sys.executable)
    has_both = subprocess.run([python, "-c", "import transformers, torch"], capture_output=True, check=False)
    if has_both.returncode != 0:
        pytest.skip(f"{python} has no transformers and torch")
    folder = tmp_path_factory.mktemp("transformers")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or "RUNNEL_TRANSFORMERS" in os.environ}
    done = subprocess.run([python, ROOT / "tests/python/hf_models.py", "--all", folder], capture_output=True, text=True,
                          check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("float16", 0.02), ("bfloat16", 0.02)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_agree_with_transformers(kind, dtype, tolerance, made):
    folder = made / kind / dtype
    if not (folder / "logits.f32").exists():
        pytest.skip(f"this transformers has no {kind}")
    if kind in GELU_BY_ERF:
        tolerance = max(tolerance, 5e-4)
    stream = runnel.Model(folder, threads=1).stream(policy="dense", kv="f32")
    want = np.fromfile(folder / "logits.f32", np.float32).reshape(len(TOKENS), -1)
    for token, logits in zip(TOKENS, want):
        stream.feed([token])
        assert np.abs(stream.logits - logits).max() < tolerance * np.abs(want).max()
