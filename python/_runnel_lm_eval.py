"""Makes "runnel" a model of lm-eval, so that its own command line knows it:

    lm_eval --model runnel --model_args path=model.gguf,window=252 --tasks TASK

lm-eval looks for models in a list of its own and nowhere else, so that the name has to be added when that list is
loaded. Python reads this file at its start (runnel-lm-eval.pth): it imports nothing, and nothing happens until
lm_eval.models is imported.
"""

import sys


def _register():
    from lm_eval.api import registry

    models = getattr(registry, "model_registry", None)
    if models is None:  # an lm-eval without names that are looked up later
        import runnel.lm_eval  # noqa: F401
    elif "runnel" not in models:
        models.register("runnel", target="runnel.lm_eval:Runnel")


class _AfterModels:
    """Finds lm_eval.models where it is, and has the name added behind it."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "lm_eval.models":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register
        return spec


sys.meta_path.insert(0, _AfterModels)
