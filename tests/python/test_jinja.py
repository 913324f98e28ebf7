"""The interpreter of chat templates against Python's jinja2.

RUNNEL_TEMPLATES: a folder of further templates (*.jinja) to try, as scripts/public-templates.sh makes it;
RUNNEL_CONVERSATIONS: how many conversations for each template (5,040 for the project's own by default)."""
import json
import os
import pathlib
import subprocess

import jinja_reference
import pytest
from jinja_cases import CASES

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build"))
PROGRAM = BUILD / "tests" / "runnel_jinja_lines"
N_CONVERSATIONS = int(os.environ.get("RUNNEL_CONVERSATIONS", "240"))


def template_files():
    folders = [ROOT / "tests" / "fixtures" / "templates"]
    if "RUNNEL_TEMPLATES" in os.environ:
        folders.append(pathlib.Path(os.environ["RUNNEL_TEMPLATES"]))
    return sorted(path for folder in folders for path in folder.glob("*.jinja"))


def ours(lines):
    """The interpreter's answers to (template, variables) pairs: text, or None for an error, and the error."""
    asked = "".join(json.dumps({"template": t, "variables": v}) + "\n" for t, v in lines)
    done = subprocess.run([PROGRAM], input=asked.encode(), stdout=subprocess.PIPE, check=True, timeout=600)
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == len(lines)
    return [(answer.get("text"), answer.get("error")) for answer in answers]


def theirs(lines):
    env = jinja_reference.environment()
    compiled, out = {}, []
    for template, variables in lines:
        try:
            if template not in compiled:
                compiled[template] = env.from_string(template)
            out.append((compiled[template].render(**variables), None))
        except Exception as error:  # any failure of a template counts as one
            out.append((None, f"{type(error).__name__}: {error}"))
    return out


def compare(lines):
    for (template, variables), (text, error), (wanted, wanted_error) in zip(lines, ours(lines), theirs(lines)):
        detail = f"\n{template[:2000]}\n{json.dumps(variables)[:2000]}\nours: {error}\ntheirs: {wanted_error}"
        assert text == wanted, detail
        assert (error is None) == (wanted_error is None), detail


VARIABLES = {"s": "Hello, world €", "n": 7, "x": 2.5, "t": True, "e": "", "nil": None, "l": [3, 1, 2],
             "d": {"b": 1, "a": {"c": [1, None, "x'y"]}}, "m": [{"r": "u", "v": 1}, {"r": "a", "v": 2}, {"r": "u", "v": 3}],
             "pad": " \t a b \n"}


@pytest.mark.parametrize("group", sorted(CASES))
def test_a_construct_gives_what_jinja_gives(group):
    compare([(template, VARIABLES) for template in CASES[group]])


@pytest.mark.parametrize("path", template_files(), ids=lambda path: path.stem)
def test_a_template_renders_conversations_as_jinja_does(path):
    template = path.read_text(encoding="utf8")
    lines = [(template, jinja_reference.conversation(f"{path.stem}/{i}")) for i in range(N_CONVERSATIONS)]
    compare(lines)
    is_own = path.parent.name == "templates" and path.is_relative_to(ROOT)
    assert not is_own or any(text for text, _ in theirs(lines)), "no conversation renders"
