"""The notebook of the paper's figures runs from its first cell to its last: with SmolLM2 where it was pulled, else with
the bundled model, and on less text than it takes by itself."""

import os
import subprocess

import pytest
from conftest import MODEL, ROOT

pytest.importorskip("runnel", reason="the Python module is not built")
nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")


def pulled(program):
    listed = subprocess.run([program, "pull", "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    for line, behind in zip(listed, listed[1:]):
        if line.startswith("smollm2"):
            return next((part for part in behind.split() if part.endswith(".gguf") and os.path.exists(part)), None)


def test_the_papers_figures(program, tmp_path):
    notebook = nbformat.read(ROOT / "examples/paper_figures.ipynb", as_version=4)
    (parameters,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    model = pulled(program) or str(MODEL)
    window = 64
    notebook.cells.insert(parameters + 1, nbformat.v4.new_code_cell(
        f"model = {model!r}; n_sentences = 8; n_tokens = 420; cache = {window}"))
    notebook.cells.append(nbformat.v4.new_code_cell("print('numbers', *(past[name] for name in colors), share[0], share[-1])"))
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3",
                            resources={"metadata": {"path": str(ROOT / "examples")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    numbers = outputs[-1]["text"].split()
    dense, window, sink, recompute, first, last = map(float, numbers[1:])
    assert abs(sink - recompute) < 0.25 * recompute
    if "SmolLM2" in model:
        assert window > sink + 0.3 and last > 0.5 > first
