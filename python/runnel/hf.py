"""Folders of transformers without transformers: Llama, Mistral, Qwen, Gemma, Pythia, Falcon and MPT, as save_pretrained()
writes them. The interface is that of attention_sinks, so that

    from runnel.hf import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, attention_sink_size=4, attention_sink_window_size=1020)
    model.generate(input_ids, max_new_tokens=10_000)

writes without end in constant memory. Nothing is fetched: the folder has to be there. Arrays are numpy's; where torch
tensors come in, torch tensors go out.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from .errors import Error
from .model import Model
from .stream import Stream
from .stream import next as next_of_many


def load(folder: str | os.PathLike[str], **options: Any) -> Model:
    """The model of a folder; options as of runnel.Model."""
    if not os.path.isdir(folder):
        raise Error(f"{os.fspath(folder)}: want a folder with config.json, found none")
    return Model(folder, **options)


def _rows(input_ids: Any) -> list[list[int]]:
    rows = np.asarray(input_ids.cpu() if hasattr(input_ids, "cpu") else input_ids)
    if rows.ndim == 1:
        rows = rows[None]
    if rows.ndim != 2 or rows.size == 0:
        raise Error(f"input_ids: want [batch, tokens], found shape {rows.shape}")
    return rows.astype(np.int64).tolist()


def _as_given(array: np.ndarray, given: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return torch.from_numpy(array)
    return array


class AutoModelForCausalLM:
    """A model and the cache that its streams get."""

    def __init__(self, model: Model, sinks: int, window: int | None, **options: Any):
        self.model = model
        self._options = {"sinks": sinks, "window": window, **options}
        self._stream(temperature=0)  # options that are wrong are told now

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, attention_sink_size: int = 4,
                        attention_sink_window_size: int | None = None, threads: int = 0,
                        **options: Any) -> "AutoModelForCausalLM":
        """`options`: those of Model.stream() besides: kv, policy, softmax, chunk, draft."""
        return cls(load(folder, threads=threads), attention_sink_size, attention_sink_window_size,
                   **options)

    def _stream(self, **sampling: Any) -> Stream:
        return self.model.stream(**self._options, **sampling)

    def __call__(self, input_ids: Any, **_: Any) -> SimpleNamespace:
        """.logits [batch, tokens, vocabulary] of every token, each given what its stream still sees."""
        found = []
        for row in _rows(input_ids):
            stream = self._stream()
            logits = np.empty((len(row), self.model.vocabulary_size), np.float32)
            for i, token in enumerate(row):
                stream.feed([token], progress=False)
                logits[i] = stream.logits
            found.append(logits)
        return SimpleNamespace(logits=_as_given(np.stack(found), input_ids))

    def generate(self, input_ids: Any, *, max_new_tokens: int = 256, do_sample: bool = False,
                 temperature: float = 1.0, top_k: int = 50, top_p: float = 1.0, repetition_penalty: float = 1.0,
                 seed: int = 0, eos_token_id: int | None = None, pad_token_id: int | None = None,
                 streamer: Any = None) -> Any:
        """[batch, tokens]: the input and what follows it. `eos_token_id`: where a row ends (None: nowhere);
        shorter rows are filled with `pad_token_id`. `streamer` (of one row): put() and end() are called."""
        rows = _rows(input_ids)
        if streamer is not None and len(rows) != 1:
            raise Error(f"streamer: want one row, found {len(rows)}")
        sampling = dict(temperature=temperature if do_sample else 0.0, top_k=top_k, top_p=top_p,
                        min_p=0.0, repetition_penalty=repetition_penalty)
        streams = [self._stream(seed=seed + i, **sampling) for i in range(len(rows))]
        for stream, row in zip(streams, rows):
            stream.feed(row, progress=False)
        going = list(range(len(rows)))
        for _ in range(max_new_tokens):
            steps = next_of_many([streams[i] for i in going])
            for i, step in zip(going, steps):
                rows[i].append(step.token)
            if streamer is not None:
                streamer.put(np.array([steps[0].token]))
            going = [i for i, step in zip(going, steps) if step.token != eos_token_id]
            if not going:
                break
        if streamer is not None:
            streamer.end()
        pad = pad_token_id if pad_token_id is not None else eos_token_id or 0
        longest = max(map(len, rows))
        filled = [row + [pad] * (longest - len(row)) for row in rows]
        return _as_given(np.array(filled, np.int64), input_ids)
