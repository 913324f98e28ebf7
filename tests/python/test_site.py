"""The site of the documents: it builds without a warning, asks for nothing from elsewhere, and its reference has
every function and field of the headers."""

import html
import re
import subprocess
import sys
from functools import cache

import pytest
from conftest import ROOT

pytest.importorskip("material", reason="mkdocs-material is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
                          cwd=ROOT, capture_output=True, text=True, check=False, env={"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_the_pages_are_there_and_ask_for_nothing(site):
    for name in ("index", "first-stream", "chat", "many-streams", "coming-from", "python", "c", "reference/cpp", "reference/c",
                 "experiments", "performance", "architectures", "tour", "packages"):
        page = (site / f"{name}.html").read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', page)
        assert not re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="(?:https?:)?//', page)


@cache
def anchors_of(page):
    return {html.unescape(name) for name in re.findall(r'\b(?:id|name)="([^"]+)"', page.read_text())}


def test_links_lead_somewhere(site):
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target, anchor in re.findall(r'<a[^>]+href="([^"#:]*)(?:#([^"]*))?"', page.read_text()):
            there = page.parent / html.unescape(target) if target else page
            assert there.exists(), f"{page.relative_to(site)}: {target}"
            if anchor and there.suffix == ".html":
                assert html.unescape(anchor) in anchors_of(there), f"{page.relative_to(site)}: {target}#{anchor}"


def test_the_reference_has_every_name_of_the_headers(site):
    c = text_of(site / "reference/c.html")
    header = (ROOT / "include/runnel/runnel.c.h").read_text()
    for name in set(re.findall(r"\brunnel_\w+|RUNNEL_\w+", header)) - {"RUNNEL_C_H", "RUNNEL_API"}:
        assert name in c, name
    assert "[n_queries, layers, heads, n_positions]" in c
    cpp = text_of(site / "reference/cpp.html")
    headers = "".join(path.read_text() for path in (ROOT / "include/runnel").glob("*.h") if path.name != "runnel.c.h")
    for name in set(re.findall(r"^  (?:\w[\w:<>*&, ]* )?(\w+)\(", headers, re.M)) | set(re.findall(r"^struct (\w+) {", headers, re.M)):
        assert name in cpp or name in ("internals", "prepare", "snapshot", "resume"), name
    assert "[queries, layers, heads, positions]" in cpp
