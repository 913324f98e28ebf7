"""The file that Python reads at its start, so that lm-eval's own command line knows the model; with an lm-eval of a
few lines, in which the same modules have the same parts."""

import subprocess
import sys

import pytest
from conftest import ROOT

REGISTRY = """
class Registry(dict):
    def register(self, name, target=None):
        self[name] = target

model_registry = Registry()
"""
MODELS = """
from lm_eval.api.registry import model_registry
model_registry.register("hf", target="lm_eval.models.huggingface:HFLM")
"""


@pytest.mark.parametrize("statement, wanted", [
    ("import lm_eval.models; print(sorted(model_registry))", "['hf', 'runnel']"),
    ("import lm_eval.models; print(model_registry['runnel'])", "runnel.lm_eval:Runnel"),
    ("print(sorted(model_registry), 'runnel' in sys.modules, 'numpy' in sys.modules)", "[] False False"),
])
def test_the_name_is_there_when_the_models_are(statement, wanted, tmp_path):
    for name, text in (("__init__", ""), ("api/__init__", ""), ("api/registry", REGISTRY), ("models/__init__", MODELS)):
        file = tmp_path / "lm_eval" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    script = (f"import site, sys; sys.path.insert(0, {str(tmp_path)!r}); site.addsitedir({str(ROOT / 'python')!r})\n"
              f"from lm_eval.api.registry import model_registry\n{statement}")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted
