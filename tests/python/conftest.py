"""What the tests of the Python module share. Without the module (RUNNEL_PYTHON=OFF, a build with sanitizers or for
another processor) those that import it are skipped."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "novella-7m-q8_0.gguf"
OPENING = "The old house stood at the end of the lane, and nobody had lived in it for years."


@pytest.fixture(scope="session")
def build() -> Path:
    return Path(os.environ.get("BUILD_DIR", ROOT / "build"))


@pytest.fixture(scope="session")
def program(build) -> str:
    return os.environ.get("RUNNEL", str(build / "runnel"))


@pytest.fixture(scope="session")
def m():
    runnel = pytest.importorskip("runnel", reason="the Python module is not built")
    return runnel.Model(MODEL, threads=1)
