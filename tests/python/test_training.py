"""The trainer at toy size: all three variants, continued, exported, and equal to runnel in likelihood."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (Debian: python3-torch)")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training"))

from runnel_training import VARIANTS, cli, config, data, tokenizer  # noqa: E402
from runnel_training.export import export  # noqa: E402
from runnel_training.train import Run, learning_rate  # noqa: E402

RUNNEL = os.environ.get("RUNNEL", str(ROOT / "build" / "runnel"))
STEPS = 24


def toy(folder: Path, **changes) -> config.Config:
    values = {
        "output": "out",
        "data": {"texts": [str(ROOT / "docs" / "tour.md"), str(ROOT / "docs" / "experiments.md")],
                 "held_out": [str(ROOT / "docs" / "performance.md")]},
        "tokenizer": {"size": 384},
        "model": {"dim": 32, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 96, "context": 32},
        "training": {"steps": STEPS, "batch": 4, "warmup": 4, "log_every": 8, "checkpoint_every": 10,
                     "rate": 1e-2, "device": "cpu"},
        "export": {"types": ["f32", "f16", "q8_0"]},
    }
    for section, settings in changes.items():
        values[section] = {**values[section], **settings} if isinstance(settings, dict) else settings
    return config.make(values, folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> config.Config:
    c = toy(tmp_path_factory.mktemp("toy"))
    assert cli.run(c)
    return c


def open_run(c: config.Config, variant: str) -> Run:
    return Run(c, variant, tokenizer.prepare(c), data.prepare(c, c.data.texts, "tokens"),
               data.prepare(c, c.data.held_out, "held-out"))


def held_out_tokens(c: config.Config, variant: str, n: int) -> list[int]:
    ids = [int(i) for i in data.prepare(c, c.data.held_out, "held-out")[:n]]
    return [tokenizer.prepare(c).bos, *ids] if variant == "sink" else ids


def runnel(*arguments) -> str:
    return subprocess.run([RUNNEL, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def runnel_nll(model: Path, tokens: list[int], folder: Path, *options) -> np.ndarray:
    (folder / "ids.json").write_text(json.dumps(tokens))
    runnel("ppl", model, "--tokens", folder / "ids.json", "--nll", folder / "nll.json", "--kv-type", "f32",
           "--threads", 1, *options)
    return np.array(json.loads((folder / "nll.json").read_text()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_runnel_gives_the_trainers_likelihoods(trained, variant, tmp_path):
    run = open_run(trained, variant)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():  # heads that look somewhere: a model so short trained hardly does
        for block in run.model.blk:
            for matrix in (block.attn_q, block.attn_k, block.attn_v, block.attn_output):
                matrix.weight.copy_(torch.randn(matrix.weight.shape, generator=random) * 0.3)
    model = tmp_path / "model.gguf"
    export(run.model, tokenizer.prepare(trained).path, model, "f32", 0)
    tokens = held_out_tokens(trained, variant, 120)
    values = {}
    for sinks, window in ((0, 20), (1, 20), (4, 24), (0, 200)):
        wanted = run.model.stream_nll(torch.tensor(tokens), sinks, window).numpy()
        found = runnel_nll(model, tokens, tmp_path, "--sinks", sinks, "--window", window)
        assert np.abs(found - wanted).max() < 1e-3
        values[sinks, window] = found
    assert np.abs(values[0, 20] - values[1, 20]).max() > 1e-2  # so that sinks count here,
    other = "standard" if variant == "zero" else "off-by-one"  # and so does the softmax
    changed = runnel_nll(model, tokens, tmp_path, "--sinks", 1, "--window", 20, "--softmax", other)
    assert np.abs(values[1, 20] - changed).max() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_says_how_it_is_run(trained, variant):
    file = trained.output_path / f"{variant}-f16.gguf"
    metadata = json.loads(runnel("info", file, "--json"))["metadata"]
    assert metadata["tokenizer.ggml.add_bos_token"] == (variant == "sink")
    assert metadata["runnel.attention.softmax"] == ("off-by-one" if variant == "zero" else "standard")
    first = runnel("tokenize", file, ROOT / "LICENSE").split()[0]
    assert (first == "1") == (variant == "sink")


@pytest.mark.parametrize("type_name, tolerance", [("f32", 1e-3), ("f16", 5e-3), ("q8_0", 5e-2)])
def test_every_type_of_file_runs(trained, type_name, tolerance, tmp_path):
    tokens = held_out_tokens(trained, "vanilla", 60)
    wanted = open_run(trained, "vanilla").model.stream_nll(torch.tensor(tokens), 4, 20).numpy()
    model = trained.output_path / f"vanilla-{type_name}.gguf"
    found = runnel_nll(model, tokens, tmp_path, "--sinks", 4, "--window", 20)
    assert np.abs(found - wanted).max() < tolerance


def test_untied_models_with_heads_of_their_own_size_run(tmp_path):
    c = toy(tmp_path, model={"tied": False, "head_dim": 16, "kv_heads": 4}, variants=["zero"],
            training={"steps": 3}, export={"types": ["f32"]})
    assert cli.run(c)
    tokens = held_out_tokens(c, "zero", 80)
    wanted = open_run(c, "zero").model.stream_nll(torch.tensor(tokens), 2, 20).numpy()
    found = runnel_nll(c.output_path / "zero-f32.gguf", tokens, tmp_path, "--sinks", 2, "--window", 20)
    assert np.abs(found - wanted).max() < 1e-3


def test_forward_is_the_stream_with_everything_in_view(trained):
    crop = torch.tensor(data.crops(data.prepare(trained, trained.data.texts, "tokens"), 0, 0, 1, 32))
    for variant in VARIANTS:
        model = open_run(trained, variant).model
        tokens = torch.cat((torch.tensor([1]), crop[0])) if variant == "sink" else crop[0]
        with torch.no_grad():
            loss = model(crop).item()
        assert loss == pytest.approx(model.stream_nll(tokens, 0, 100).mean().item(), abs=1e-5)


def test_training_learns(trained):
    with (trained.output_path / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["variant"] for r in rows] == [v for v in VARIANTS for _ in range(STEPS // 8)]
    for variant in VARIANTS:
        losses = [float(r["loss"]) for r in rows if r["variant"] == variant]
        held_out = [float(r["held_out_loss"]) for r in rows if r["variant"] == variant]
        assert losses[-1] < losses[0] - 0.5
        assert held_out[-1] < held_out[0]
    assert (trained.output_path / "losses.svg").read_text().count("<polyline") == 2 * len(VARIANTS)


def test_a_stopped_run_goes_on_to_the_same_bits(trained, tmp_path):
    for variant in VARIANTS:
        c = toy(tmp_path)
        c.output_path.mkdir(exist_ok=True)
        for step in (7, 13, STEPS):  # each time from the checkpoint; 7 is inside a line of the curve
            run = open_run(c, variant)
            assert run.train(until=step) == (step == STEPS)
        whole = open_run(trained, variant)
        for (name, weight), other in zip(whole.model.state_dict().items(), run.model.state_dict().values()):
            assert torch.equal(weight, other), name
        assert [p.loss for p in run.points] == [p.loss for p in whole.points]


def test_a_checkpoint_of_another_configuration_is_refused(trained, tmp_path):
    changed = toy(trained.folder, training={"seed": 1})
    with pytest.raises(config.ConfigError, match="another configuration"):
        open_run(changed, "zero")


def test_all_variants_begin_with_the_same_weights_and_see_the_same_crops(tmp_path):
    c = toy(tmp_path)
    c.output_path.mkdir()
    first, second = open_run(c, "vanilla"), open_run(c, "sink")
    for a, b in zip(first.model.parameters(), second.model.parameters()):
        assert torch.equal(a, b)
    ids = np.arange(1000)
    assert (data.crops(ids, 0, 5, 4, 8) == data.crops(ids, 0, 5, 4, 8)).all()
    assert (data.crops(ids, 0, 5, 4, 8) != data.crops(ids, 0, 6, 4, 8)).any()
    assert learning_rate(c.training, STEPS) < learning_rate(c.training, 4)


def test_the_tokenizer_of_a_model_is_taken_over(tmp_path):
    bundled = ROOT / "models" / "novella-7m-q8_0.gguf"
    c = toy(tmp_path, tokenizer={"gguf": str(bundled), "runnel": RUNNEL}, variants=["sink"],
            training={"steps": 2}, export={"types": ["f32"]})
    assert cli.run(c)
    out = c.output_path / "sink-f32.gguf"
    assert runnel("tokenize", out, ROOT / "LICENSE") == runnel("tokenize", bundled, ROOT / "LICENSE")
    assert runnel("generate", out, "-p", "Once", "-n", 3, "--temperature", 0)


def test_runnel_and_sentencepiece_cut_the_texts_alike(trained):
    text = Path(trained.data.texts[0])
    ids = runnel("tokenize", trained.output_path / "tokenizer.gguf", text, "--no-bos").split()
    assert [int(i) for i in ids] == tokenizer.encode(trained, text).tolist()


@pytest.mark.parametrize("changes, words", [
    ({"model": {"kv_heads": 3}}, "model.kv_heads: want a divisor of 4 heads, found 3"),
    ({"model": {"depth": 3}}, "model.depth: want one of dim, layers"),
    ({"training": {"steps": "many"}}, "training.steps: want int, found 'many'"),
    ({"variants": ["one"]}, "variants: want some of vanilla, zero, sink"),
    ({"model": {"dim": 40}}, "model.dim: want a multiple of 32"),
    ({"export": {"types": ["q4"]}}, "export.types: want some of"),
])
def test_a_bad_setting_is_named(changes, words, tmp_path):
    with pytest.raises(config.ConfigError) as error:
        toy(tmp_path, **changes)
    assert words in str(error.value)


def test_a_missing_text_is_named(tmp_path):
    c = toy(tmp_path, data={"texts": ["missing.txt"]})
    c.output_path.mkdir()
    with pytest.raises(config.ConfigError, match="missing.txt"):
        tokenizer.prepare(c)


def test_the_example_configuration_is_good():
    c = config.load(ROOT / "training" / "table3.toml")
    assert c.model.head_dim == 64
    assert c.training.steps == 6771
