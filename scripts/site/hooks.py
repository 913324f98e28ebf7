"""What mkdocs does here besides: the README is the first page, the headers become the reference, and whatever file of
the project a page links to is a page too."""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
from reference import page_of_headers  # noqa: E402

from mkdocs.structure.files import File, Files  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
LANGUAGES = {".cpp": "cpp", ".h": "cpp", ".inl": "cpp", ".c": "c", ".cl": "c", ".rs": "rust", ".py": "python", ".sh": "bash"}
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"
CPP = ["options.h", "runnel.h", "chat.h", "answer.h", "constraint.h", "error.h"]


def _source_page(path: Path) -> str:
    """The text of a file, or the list of a folder, as a page."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        rows = "".join(f"- {p.name}{'/' if p.is_dir() else ''}\n" for p in sorted(path.iterdir())
                       if not p.name.startswith((".", "__")))
        return f"{UNSEARCHED}# {name}/\n\n{rows}"
    fence = "`" * 8
    language = LANGUAGES.get(path.suffix, "text")
    return f"{UNSEARCHED}# {name}\n\n{fence}{{.{language} linenums=\"1\" title=\"{name}\"}}\n{path.read_text(errors='replace')}\n{fence}\n"


def _is_outside(target: Path) -> bool:
    return target.exists() and ROOT in target.parents and ROOT / "docs" not in target.parents


def _place_of(target: Path) -> str:
    """Where in the site a file outside of docs stands."""
    if target == ROOT / "README.md":
        return "index.md"
    name = target.relative_to(ROOT).as_posix()
    if target.is_dir():
        return f"source/{name}/index.md" if not (target / "index.md").exists() else f"source/{name}.md"
    return f"source/{name}" if target.suffix == ".md" else f"source/{name}.md"


def _rewritten(text: str, folder: Path, page: str, wanted: set) -> str:
    """Links of a document that stood in `folder` to files outside of docs, made links of `page` to their pages."""

    def place(match):
        head, target, anchor, tail = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = (folder / target).resolve()
        if _is_outside(path):
            wanted.add(path)
            to = _place_of(path)
            if path.suffix != ".md" and anchor and anchor.startswith("#L"):
                anchor = f"#__codelineno-0-{anchor[2:]}"
        elif ROOT / "docs" in path.parents:
            to = path.relative_to(ROOT / "docs").as_posix()
        else:
            return match.group(0)
        return f"{head}{os.path.relpath(to, os.path.dirname(page) or '.')}{anchor or ''}{tail}"

    return LINK.sub(place, text)


def on_files(files: Files, config) -> Files:
    made: dict[str, str] = {}
    wanted: set[Path] = set()

    def add(name: str, text: str, folder: Path) -> None:
        made[name] = _rewritten(text, folder, name, wanted)

    readme = (ROOT / "README.md").read_text()
    add("index.md", readme, ROOT)
    add("reference/cpp.md", page_of_headers("C++ reference", [ROOT / "include/runnel" / name for name in CPP]), ROOT)
    add("reference/c.md", page_of_headers("C reference", [ROOT / "include/runnel/runnel.c.h"]), ROOT)
    for file in files.documentation_pages():
        _rewritten(Path(file.abs_src_path).read_text(), Path(file.abs_src_path).parent, file.src_uri, wanted)
    done: set[Path] = set()
    while wanted - done:
        for path in sorted(wanted - done):
            done.add(path)
            name = _place_of(path)
            if name in made:
                continue
            if path.suffix == ".md":
                add(name, path.read_text(), path.parent)
            elif path.suffix in (".png", ".svg", ".gguf"):
                continue
            else:
                made[name] = _source_page(path)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    if page.file.generated_by:
        return markdown
    return _rewritten(markdown, Path(page.file.abs_src_path).parent, page.file.src_uri, set())
