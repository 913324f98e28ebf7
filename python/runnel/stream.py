"""A stream: one endless sequence of tokens over a model."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, AsyncIterator, Iterator, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from . import _engine
from ._engine import Step
from .errors import Error
from .options import as_dict, sampling_of, tokens_of
from .progress import Bar, Told
from .view import html_of

if TYPE_CHECKING:
    from .model import Model


class Attention(NamedTuple):
    """What the last tokens of a stream looked at."""

    weights: npt.NDArray[np.float32]
    """[queries, layers, heads, positions]; 0 where a layer does not look; rows sum to one, or to
    less with a zero or learned sink."""
    queries: npt.NDArray[np.int64]
    """Positions of the tokens, ascending."""
    positions: npt.NDArray[np.int64]
    """Positions of the keys, ascending: sinks, window, the tokens themselves."""


class Stream:
    """Made by Model.stream() and Model.resume(). Iterating writes without end:

        for step in stream: print(step.text, end="")

    Its memory is taken when it is opened. One thread at a time may use it; long calls let other
    threads run, and Ctrl-C stops them between two chunks.
    """

    def __init__(self, model: "Model", engine: Any):
        self._model = model
        self._engine = engine

    # ---- reading

    def feed(self, what: str | Sequence[int], progress: bool | Told | None = None) -> int:
        """Reads text or tokens of any length; the first text begins the stream with BOS, where the
        model has one. Returns the number of tokens. Interrupted, what was read stays."""
        tokens = self._tokens(what)
        with Bar("reading", len(tokens), "tokens", progress) as bar:
            return self._read(self._engine.feed, tokens, bar)

    def score(self, what: str | Sequence[int],
              progress: bool | Told | None = None) -> npt.NDArray[np.float32]:
        """Reads it, and returns for each token its negative natural log-likelihood given all before
        it. A fresh stream's first token has none."""
        tokens = self._tokens(what)
        with Bar("scoring", len(tokens), "tokens", progress) as bar:
            return self._read(self._engine.score, tokens, bar)

    def _tokens(self, what: str | Sequence[int]) -> list[int]:
        if isinstance(what, str):
            return self._engine.tokenize(what)
        return what if isinstance(what, list) else tokens_of(what)

    def _read(self, call: Any, tokens: list[int], bar: Bar) -> Any:
        try:
            return call(tokens, bar.told)
        except TypeError:
            tokens_of(tokens)  # says what is no token
            raise

    # ---- writing

    def next(self) -> Step:
        """One token: sampled from what the stream has seen, then fed back to it."""
        return self._engine.next()

    def push(self, token: int) -> Step:
        """A token of your choice in place of a sampled one."""
        return self._engine.push(tokens_of([token])[0])

    def write(self, n: int) -> str:
        """The text of the next n tokens. Half a character at its end waits for the next call."""
        return "".join(self._engine.next().text for _ in range(n))

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        return self._engine.next()

    def __aiter__(self) -> AsyncIterator[Step]:
        return self

    async def __anext__(self) -> Step:
        return await asyncio.get_running_loop().run_in_executor(None, self._engine.next)

    def flush(self) -> str:
        """Text still waiting for the rest of a UTF-8 character."""
        return self._engine.flush_text()

    def set_sampling(self, **sampling: Any) -> None:
        """temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty,
        presence_penalty, seed; those not named stay."""
        self._engine.set_sampling(sampling_of(self._engine.options.sampling, **sampling))

    def set_json_schema(self, schema: str | dict[str, Any] | None) -> None:
        """From here on the stream writes JSON of this schema (and takes it by push), to its end and
        then a token that ends a generation; {}: any JSON; None: anything again. A fork has it too, a
        saved stream not. docs/templates.md says what part of JSON Schema holds."""
        text = "" if schema is None else schema if isinstance(schema, str) else json.dumps(schema)
        _engine.set_json_schema(self._model._engine, self._engine, text)

    # ---- looking

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Of the next token, [vocabulary]: a read-only view that each step writes anew, so copy what
        you keep. Empty before anything was fed."""
        return self._engine.logits

    def __dlpack__(self, **_: Any) -> Any:
        """The logits, for torch.from_dlpack(stream) and its like; only to be read."""
        return self._engine.logits_for_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def top(self, n: int = 10) -> list[tuple[int, float]]:
        """The likeliest next tokens with their natural log probabilities, likeliest first."""
        return self._engine.top_logprobs(n)

    def attention(self, last: int = 1) -> Attention:
        """What the last tokens looked at: arrays weights [queries, layers, heads, positions], queries
        [queries] and positions [positions]. They pass the model once more; the stream stays as it
        is."""
        return Attention(*_engine.attention(self._engine, last))

    @property
    def model(self) -> "Model":
        return self._model

    @property
    def position(self) -> int:
        """Tokens the stream has seen: the position of the next one."""
        return self._engine.position

    @property
    def evicted(self) -> int:
        """Tokens that are no longer visible."""
        return self._engine.evicted

    @property
    def horizon(self) -> int:
        """The oldest position, sinks aside, that the next token will see."""
        return self._engine.horizon

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values."""
        return self._engine.nbytes

    @property
    def tokens(self) -> list[int]:
        """The visible ones: sinks, then window, in order of position."""
        return self._engine.visible_tokens

    @property
    def options(self) -> dict[str, Any]:
        """With every default filled in: m.stream(**s.options) opens such a stream."""
        return as_dict(self._engine.options)

    @property
    def guessed(self) -> tuple[int, int]:
        """Tokens guessed ahead so far (draft=), and those of them that came."""
        return (self._engine.guessed, self._engine.guessed_right)

    # ---- keeping

    def fork(self) -> "Stream":
        """A stream of its own that goes on exactly as this one would."""
        return Stream(self._model, _engine.fork(self._model._engine, self._engine))

    def save(self, path: str | os.PathLike[str] | None = None) -> bytes | None:
        """Everything that decides what comes next, to a file (whole or not at all), or as bytes."""
        if path is None:
            return self._engine.save_bytes()
        self._engine.save_file(os.fspath(path))
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, (self._model, self._engine.save_bytes()))

    def __copy__(self) -> "Stream":
        return self.fork()

    def __deepcopy__(self, _: Any) -> "Stream":
        return self.fork()

    # ---- showing

    def __repr__(self) -> str:
        options = self._engine.options
        window = "" if options.window is None else f", window={options.window}"
        return (f"<runnel.Stream of {self._model.name!r}: {options.policy.name}, sinks={options.sinks}"
                f"{window}, kv={options.kv.name}; position {self.position:,}, evicted "
                f"{self.evicted:,}, {self.nbytes / 2**20:.1f} MiB>")

    def _repr_html_(self) -> str:
        return html_of(self)


def _unpickle(model: "Model", saved: bytes) -> Stream:
    return model.resume(saved)


def next(streams: Sequence[Stream]) -> list[Step]:
    """One token for each of several different streams of one model, in one step: the weights are
    read once for all. Each gets what its own next() would have given."""
    for stream in streams:
        if not isinstance(stream, Stream):
            raise Error(f"streams: want runnel.Stream, found {type(stream).__name__}")
    return _engine.next([stream._engine for stream in streams])


__all__ = ["Attention", "Stream", "next"]
