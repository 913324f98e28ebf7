"""Large language models on endless streams, in constant memory and at constant speed.

    import runnel

    m = runnel.Model("model.gguf")
    s = m.stream(sinks=4, window=2043, seed=1)
    s.feed("It was a dark and stormy night")
    for step in s:
        print(step.text, end="", flush=True)
"""

from ._engine import Step
from .errors import Error, FileError
from .model import Model, devices
from .program import pull
from .stream import Attention, Stream, next

__all__ = ["Attention", "Error", "FileError", "Model", "Step", "Stream", "devices", "next", "pull"]
__version__ = "0.1.0"
