"""The model for lm-eval, on a small task with data of its own. Skipped where lm-eval is not installed (it is large)."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import MODEL, OPENING, ROOT

pytest.importorskip("lm_eval", reason="lm-eval is not installed (pip install lm-eval)")
pytest.importorskip("runnel", reason="the Python module is not built")

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {output}
{rest}
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    choices = [{"question": "The sun rose in the", "choices": [" east", " zqxj"], "answer": 0},
               {"question": "Once upon a", "choices": [" vvkq", " time"], "answer": 1},
               {"question": "He opened the", "choices": [" door", " qqqz"], "answer": 0}]
    texts = [{"text": OPENING * 6}, {"text": "It was a dark night."}]
    for name, rows in (("choices", choices), ("texts", texts)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "choices.yaml").write_text(TASK.format(
        name="choices", data=tmp_path / "choices.jsonl", output="multiple_choice",
        rest='doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: answer\n'
             "target_delimiter: ''\nmetric_list: [{metric: acc}]"))
    (tmp_path / "texts.yaml").write_text(TASK.format(
        name="texts", data=tmp_path / "texts.jsonl", output="loglikelihood_rolling",
        rest='doc_to_text: ""\ndoc_to_target: "{{text}}"\nmetric_list: [{metric: byte_perplexity}]'))
    return tmp_path


def the_line_of_the_document():
    """The command of docs/python.md, with this model and these tasks."""
    (line,) = re.findall(r"^    (lm_eval .*)$", (ROOT / "docs/python.md").read_text(), re.M)
    return [f"path={MODEL},window=60" if word.startswith("path=") else "choices,texts" if word == "lambada_openai" else word
            for word in shlex.split(line)]


def test_lm_eval_runs_a_task_from_its_command_line(tasks, m):
    done = subprocess.run(
        [sys.executable, "-m", "runnel.lm_eval", *the_line_of_the_document()[1:], "--include_path", str(tasks),
         "--output_path", str(tasks / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tasks / "out").rglob("results*.json")
    results = json.loads(file.read_text())["results"]
    assert results["choices"]["acc,none"] == 1
    n_bytes, total = 0, 0.0
    for line in (tasks / "texts.jsonl").read_text().splitlines():
        text = json.loads(line)["text"]
        total += float(m.stream(window=60).score(m.tokenize(text)).astype(np.float64).sum())
        n_bytes += len(text.encode())
    assert results["texts"]["byte_perplexity,none"] == pytest.approx(np.exp(total / n_bytes), rel=1e-4)
