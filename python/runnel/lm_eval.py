"""A model for lm-eval (pip install lm-eval): any of its tasks through a stream of bounded memory.

    lm_eval --model runnel --model_args path=model.gguf,window=252 --tasks lambada_openai

works where the package is installed with pip. `python -m runnel.lm_eval` takes the same arguments wherever it is. In a
program, importing this module makes "runnel" a model of lm_eval.simple_evaluate(). `model_args`: path, threads, device,
device_layers, exact, and the options of Model.stream(). A text longer than sinks and window is read all the same; what
the model can no longer see is forgotten, as in use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from runnel.model import Model


@register_model("runnel")
class Runnel(TemplateLM):
    def __init__(self, path: str, threads: int = 0, batch_size: Any = 1, max_batch_size: Any = None,
                 device: str | None = None, device_layers: int | None = None, exact: bool = False,
                 max_gen_toks: int = 256, **options: Any):
        super().__init__()
        # lm-eval names one of PyTorch's devices ("cuda:0") where it is given none.
        ours = device if device is not None and (device == "gpu" or device.startswith("opencl:")) else "cpu"
        self._model = Model(path, threads=threads, device=ours, device_layers=device_layers, exact=exact,
                            progress=False)
        self._options = {"temperature": 0, **options}
        self._most_generated = max_gen_toks
        self._stream(self._options)  # wrong options are told now

    def _stream(self, options: dict[str, Any]) -> Any:
        return self._model.stream(**options)

    @property
    def eot_token_id(self) -> int:
        found = self._model.eos
        return found if found is not None else self.prefix_token_id

    @property
    def prefix_token_id(self) -> int:
        for token in (self._model.bos, self._model.eos):
            if token is not None:
                return token
        raise ValueError(f"{self._model.path}: the vocabulary has neither BOS nor EOS to begin with")

    @property
    def tokenizer_name(self) -> str:
        return self._model.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self._model.tokenize(string, add_bos=add_special_tokens is not False)

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = False,
                              **_: Any) -> list[tuple[float, bool]]:
        results: list[tuple[float, bool]] = []
        context_before: list[int] | None = None
        after_context: Any = None
        for _text, context, continuation in tqdm(requests, disable=disable_tqdm, desc="runnel"):
            if context != context_before:  # the choices of one question share what comes before
                after_context = self._stream(self._options)
                after_context.feed(context, progress=False)
                context_before = context
            results.append(_score(after_context.fork(), continuation))
        return results

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="runnel"):
            (text,) = request.args
            tokens = self._model.tokenize(text, add_bos=False)
            stream = self._stream(self._options)
            stream.feed([self.prefix_token_id], progress=False)
            results.append(-float(stream.score(tokens, progress=False).astype(np.float64).sum()))
        return results

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        return [self._generate(*request.args)
                for request in tqdm(requests, disable=disable_tqdm, desc="runnel")]

    def _generate(self, context: str, arguments: dict[str, Any]) -> str:
        stops = arguments.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        most = int(arguments.get("max_gen_toks", self._most_generated))
        sampling: dict[str, Any] = {
            name: arguments[name] for name in ("temperature", "top_p", "top_k")
            if name in arguments and arguments.get("do_sample", True)}
        stream = self._stream({**self._options, **sampling})
        stream.feed(context, progress=False)
        text = ""
        for _ in range(most):
            step = stream.next()
            if step.end_of_generation:
                break
            text += step.text
            ends = [text.find(stop) for stop in stops if stop and stop in text]
            if ends:
                return text[:min(ends)]
        return text


def _score(stream: Any, continuation: list[int]) -> tuple[float, bool]:
    """The log-likelihood of the continuation, and whether greedy decoding would give it."""
    total, is_greedy = 0.0, True
    for token in continuation:
        is_greedy = is_greedy and int(stream.logits.argmax()) == token
        total += float(stream.push(token).logprob)
    return total, is_greedy


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
