"""The types that the package brings: its own files keep to them, and so does a program that uses it."""

import subprocess
import sys

import pytest

pytest.importorskip("runnel", reason="the Python module is not built")
pytest.importorskip("mypy", reason="mypy is not installed")

PROGRAM = """
import runnel

model = runnel.Model("model.gguf", device="gpu", device_layers=2)
stream = model.stream(sinks=4, window=100, seed=1)
count: int = stream.feed("text")
for step in stream:
    line: str = step.text + f"{step.token + 1} {step.logprob:.2f}"
steps: list[runnel.Step] = runnel.next([stream, stream.fork()])
shape: tuple[int, ...] = stream.attention(last=2).weights.shape
saved = stream.save()
wrong: int = model.name
"""


def mypy(*arguments, folder):
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", folder / "cache", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_package_keeps_to_its_types(tmp_path):
    done = mypy("-p", "runnel", folder=tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_program_sees_them(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = mypy("program.py", folder=tmp_path)
    assert done.stdout.count("error:") == 1 and 'program.py:12: error: Incompatible types in assignment' in done.stdout, done.stdout
