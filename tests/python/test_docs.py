"""The Python of the documents runs, block after block."""

import re

import pytest
from conftest import ROOT

pytest.importorskip("runnel", reason="the Python module is not built")


@pytest.mark.parametrize("document", ["docs/python.md", "docs/many-streams.md", "docs/coming-from.md"])
def test_the_blocks_of_a_document_run(document, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)
    assert blocks
    if any("llguidance" in block for block in blocks):
        pytest.importorskip("llguidance")
    monkeypatch.chdir(ROOT)
    names = {}
    for i, block in enumerate(blocks):
        exec(compile(block, f"{document}, block {i + 1}", "exec"), names)
    assert document != "docs/python.md" or "<runnel.Stream of" in capsys.readouterr().out


def test_the_c_of_the_documents_is_that_of_the_example():
    example = (ROOT / "examples/endless.c").read_text()
    (block,) = re.findall(r"^```c\n(.*?)^```", (ROOT / "docs/c.md").read_text(), re.M | re.S)
    assert block in example
