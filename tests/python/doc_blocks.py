"""The blocks of code in the project's documents, fenced or indented, with the line that they begin at."""

import re
import subprocess
from typing import NamedTuple

from conftest import ROOT


class Block(NamedTuple):
    document: str
    line: int
    kind: str  # "sh", "python", ... of a fence; "" of one without a name; "indented"
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[str]:
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.split() or ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def blocks_of(document: str) -> list[Block]:
    lines = (ROOT / document).read_text().splitlines()
    found, i = [], 0
    while i < len(lines):
        fence = re.match(r"```(\w*)$", lines[i])
        begin = i
        if fence:
            i = lines.index("```", i + 1)
            found.append(Block(document, begin + 1, fence[1], "\n".join(lines[begin + 1:i])))
        elif lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while i + 1 < len(lines) and (lines[i + 1].startswith("    ") or
                                          (not lines[i + 1].strip() and lines[i + 2:i + 3] and lines[i + 2].startswith("    "))):
                i += 1
            text = "\n".join(line[4:] for line in lines[begin:i + 1])
            found.append(Block(document, begin + 1, "indented", text))
        i += 1
    return found


def all_blocks() -> list[Block]:
    return [block for document in documents() for block in blocks_of(document)]
