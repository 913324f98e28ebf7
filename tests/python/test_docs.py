"""Every block of code in the documents is run: Python here, ```sh by tests/docs_test.sh, commands in indented blocks here
too, on small models and with small numbers. A block that nobody runs fails the test."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import MODEL, ROOT
from doc_blocks import all_blocks
from serve_program import Server

runnel = pytest.importorskip("runnel", reason="the Python module is not built")
BLOCKS = all_blocks()
PYTHON = sorted({block.document for block in BLOCKS if block.kind == "python"} - {"README.md"})
COMMANDS = [(f"{block.place}: {line}", block.document, line) for block in BLOCKS if block.kind == "indented"
            for line in block.text.splitlines() if line.strip()]
TEXT = ROOT / "docs/tour.md"

# What stands for a file of the reader's in a command, and numbers that are for large models.
MODELS = {"MODEL", "model.gguf", "/elsewhere/model.gguf", "llama-2-7b.gguf", "llama-2-13b.gguf", "llama-2-7b-chat.gguf",
          "smollm2"}
TEXTS = {"TEXT", "TEXT...", "pg19/*.txt", "pg19-first-book.txt", "book.txt", "war_and_peace.txt"}
FOLDERS = {"FOLDER", "RESULTS", "results"}
SMALL = {"--limit": "300", "--window": "28", "--windows": "16,32", "--cache": "32", "--caches": "32,64", "--texts": "4",
         "--lines": "30", "--streams": "2", "--latency": "8", "--shape": "qwen2.5-0.5b"}
MORE = {"report": "--limit 1200", "ppl": "--limit 200 --recompute-tokens 5", "ablate": "--limit 200 --cache 32", "bench":
        "--runs 1 --ingest 16 --decode 4 --prompt 8", "generate": "-n 4", "latency": "--windows 16,32", "streameval":
        "--lines 30", "table3": "--limit 300 --caches 32,64 --texts 4"}


def run(*command, **options):
    options = {"timeout": 120, "cwd": ROOT, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace",
                          check=False, **options)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout[-500:]}{done.stderr[-1500:]}"
    return done.stdout


@pytest.fixture(scope="module")
def small(program, tmp_path_factory):
    """A folder with three models of random weights: of table3 by their names, of everything else the first."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("vanilla", "zero", "sink"):
        run(program, "make-model", folder / f"{name}.gguf", "--type", "f32")
    return folder


# ---- Python

@pytest.mark.parametrize("document", PYTHON)
def test_the_python_of_a_document_runs(document, monkeypatch, capsys):
    blocks = [block for block in BLOCKS if block.document == document and block.kind == "python"]
    if any("llguidance" in block.text for block in blocks):
        pytest.importorskip("llguidance")
    monkeypatch.chdir(ROOT)
    names = {}
    for block in blocks:
        exec(compile("\n" * block.line + block.text, block.document, "exec"), names)
    assert document != "docs/python.md" or "<runnel.Stream of" in capsys.readouterr().out


def test_the_python_of_the_readme_writes_until_it_is_stopped():
    (block,) = [block for block in BLOCKS if block.document == "README.md" and block.kind == "python"]
    process = subprocess.Popen([sys.executable, "-c", block.text], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(2000)) == 2000
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in errors and process.returncode != 0


def test_the_client_of_the_readme_talks_with_the_server():
    pytest.importorskip("openai")
    (block,) = [block for block in BLOCKS if block.document == "README.md" and block.text.startswith("from openai")]
    with Server("--window", "120", "--chat-template", "zephyr") as server:
        text = block.text.replace("http://127.0.0.1:8080", server.url).replace("max_output_tokens=60", "max_output_tokens=8")
        said = run(sys.executable, "-c", text)
    assert said.count("'pinned'") == 2 and "'position'" in said


# ---- commands

def made_small(words, small, tmp_path):
    found = []
    for before, word in zip(["", *words], words):
        word = SMALL.get(before, word)
        if word in MODELS:
            word = small / "vanilla.gguf"
        elif before == "table3":
            word = small
        elif word in TEXTS:
            word = TEXT
        elif word in FOLDERS:
            word = tmp_path / "results"
        elif before == "--device":
            word = "opencl:0"
        elif before == "-o":
            word = tmp_path / "results"
        found.append(str(word))
    for option, value in zip(*[iter(shlex.split(MORE.get(words[0], "")))] * 2):
        if option not in found:
            found += [option, value]
    return found


def run_program(words, program, small, tmp_path):
    if words[0] == "serve":
        port = words.index("--port") if "--port" in words else len(words)
        words = made_small(words[:port] + words[port + 2:], small, tmp_path)
        if "--cluster" in words:
            words = words[:words.index("--cluster")]  # with a cluster: test_serve_cluster.py
        with Server(*words[2:], model=words[1]):
            return None
    if words[0] == "pull":
        return run(program, "pull", "--list")  # fetching: tests/cli/pull_test.sh
    if "--device" in words and "opencl:0" not in run(program, "info", "--devices"):
        pytest.skip("no OpenCL device")
    if words[0] == "chat":
        return run(program, "chat", MODEL, "--chat-template", "zephyr", "-n", "8", input="Hello\n", stdin=None)
    if words[0] == "ablate" and "|" in words[1]:
        for kind in words[1].split("|"):
            run(program, *made_small(["ablate", kind, *words[2:]], small, tmp_path / kind))
        return None
    return run(program, *made_small(words, small, tmp_path))


def run_pip(words, tmp_path):
    pytest.importorskip("scikit_build_core")
    project = ROOT if words[-1] == "." else ROOT / words[-1]
    run(sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-build-isolation", "--no-index", project,
        cwd=tmp_path)


def run_clone(words, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    run(*[ROOT if word == "REPOSITORY" else word for word in words], cwd=tmp_path)
    assert (tmp_path / "runnel/Makefile").exists()


# Commands that are run elsewhere, by what they begin with: the file, and what stands there.
ELSEWHERE = {
    "cc endless.c": ("tests/cli/c_test.sh", "$(pkg-config --cflags --libs runnel)"),
    "redis-server": ("tests/python/test_serve_cluster.py", "redis-server"),
    "haproxy": ("tests/packaging_test.sh", "packaging/cluster/haproxy.cfg"),
    "lm_eval": ("tests/python/test_lm_eval.py", "the_line_of_the_document"),
    "bench/peers.sh": ("bench/peers.sh", "LLAMA_BENCH"),
    "runnel-train": ("tests/python/test_training.py", "runnel_training"),
}
# What programs write, and a grammar.
OUTPUT = re.compile(r"^(read \d+ tokens in|http -> page|list +=|item +=)")


@pytest.mark.parametrize("document, line", [case[1:] for case in COMMANDS], ids=[case[0] for case in COMMANDS])
def test_a_command_of_a_document_runs(document, line, program, small, tmp_path):
    block = next(block for block in BLOCKS if block.document == document and line in block.text.splitlines())
    if block.text.startswith("from openai") or OUTPUT.match(line):
        return
    words = [word for word in shlex.split(line, comments=True)]
    while "=" in words[0]:
        words = words[1:]  # settings of the environment
    command = " ".join(words)
    for begin, (file, text) in ELSEWHERE.items():
        if command.startswith(begin):
            assert text in (ROOT / file).read_text(), f"{file} does not run {begin}"
            return
    if words[0] in ("runnel", "build/runnel"):
        run_program(words[1:], program, small, tmp_path)
    elif words[0] == "make":
        if shutil.which("make") is None:
            pytest.skip("no make")
        run("make", "-n", *(word for word in words[1:] if word not in ("-C", "runnel")))
    elif words[0] == "pip":
        run_pip(words, tmp_path)
    elif words[:2] == ["git", "clone"]:
        run_clone(words, tmp_path)
    else:
        pytest.fail(f"{block.place}: nobody runs: {line}")


def test_every_other_block_is_run_by_somebody():
    run_by_script = re.findall(r"^for document in (.*); do$", (ROOT / "tests/docs_test.sh").read_text(), re.M)
    assert run_by_script == ["README.md docs/*.md"]
    examples = (ROOT / "examples/CMakeLists.txt").read_text() + (ROOT / "tests/cli/c_test.sh").read_text()
    for block in BLOCKS:
        if block.kind == "sh":
            assert re.fullmatch(r"README\.md|docs/[^/]+\.md", block.document), block.place
        elif block.kind == "c":
            assert block.text in (ROOT / "examples/endless.c").read_text(), block.place
        elif block.kind == "cpp":  # the README's: tests/docs_test.sh
            lines = block.text.splitlines()
            assert all(line.strip() in (ROOT / "examples/endless.cpp").read_text() for line in lines), block.place
        elif block.kind == "cmake":
            assert all(line in examples for line in block.text.splitlines()), block.place
        elif block.kind == "":
            assert not re.search(r"^(runnel|build/|make|pip|python) ", block.text, re.M), f"{block.place}: a command without ```sh"
        else:
            assert block.kind in ("python", "indented"), block.place
