"""The program runnel: beside this package, or on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import Error, FileError


def program() -> str:
    """Its path: $RUNNEL, or the one that came with the package, or the first on the PATH."""
    given = os.environ.get("RUNNEL")
    brought = Path(__file__).parent / "bin" / "runnel"
    found = given or (str(brought) if brought.exists() else shutil.which("runnel"))
    if not found:
        raise FileError(2, "runnel: the program is neither in the package nor on the PATH")
    return found


def pull(name: str) -> str:
    """Fetches one of the models that `runnel pull --list` shows, and returns the path of its file.

    A model that is here already is not fetched again. Progress goes to standard error.
    """
    done = subprocess.run([program(), "pull", name], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Error(f"pull {name!r}: runnel pull ended with exit code {done.returncode}")
    return done.stdout.strip().splitlines()[-1]
