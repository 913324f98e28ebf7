"""A model: a GGUF file, or a folder of transformers, mapped and ready."""

from __future__ import annotations

import os
import weakref
from html import escape
from typing import Any, Sequence

from . import _engine
from .chat import Dialogue, Wishes, answer, answer_in_pieces
from .chat import options_of as chat_options
from .errors import Error
from .options import policies_of, stream_options, tokens_of
from .progress import Bar, Told
from .stream import Stream

_loaded: "weakref.WeakValueDictionary[tuple[Any, ...], Model]" = weakref.WeakValueDictionary()


class Model:
    """Loads a GGUF file, or a folder as transformers saves it.

    threads          0: one for each core that the process may use
    vocabulary_only  the tokenizer alone; such a model opens no streams
    device           who runs the layers: "cpu"; "gpu", the first that OpenCL has; an id of devices()
    device_layers    so many run there, the rest on the processor; None: as many as fit
    device_memory    bytes taken there at most; 0: what it has
    packed_cache     a folder where weights are kept as they were packed, to be mapped when the same
                     file is loaded again: sooner, and one copy in memory for all processes
    exact            quantised weights are multiplied with floats; several times slower
    progress         a bar, where somebody looks (None), always, never, or a function that is told
                     thousandths

    May be used by several threads; streams of one model take turns.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0,
                 vocabulary_only: bool = False, device: str = "cpu", device_layers: int | None = None,
                 device_memory: int = 0, exact: bool = False,
                 packed_cache: str | os.PathLike[str] | None = None, progress: bool | Told | None = None):
        self._path = os.path.abspath(os.fspath(path))
        self._options = (threads, vocabulary_only, device, device_layers, device_memory, exact,
                         "" if packed_cache is None else os.fspath(packed_cache))
        self._dialogue: Dialogue | None = None
        self._dialogue_key: tuple[Any, ...] = ()
        with Bar("loading", 1000, "‰", progress) as bar:
            self._engine = _engine.Model(os.fspath(path), *self._options, bar.told)
        _loaded.setdefault(self._key(), self)

    # ---- streams

    def stream(self, *, sinks: int | None = None,
               window: int | str | Sequence[int] | None = None,
               pin: str | Sequence[int] | None = None, policy: str = "sink", kv: str = "f16",
               kv_rotate: bool | None = None, softmax: str | None = None, chunk: int | None = None, draft: int | None = None,
               start_position: int | None = None, **sampling: Any) -> Stream:
        """Opens a stream, which takes its whole memory now (a dense one grows).

        sinks        first tokens kept for ever (4), or the pinned text's
        window       most recent tokens kept; None: what the trained context holds, at most 2043;
                     a list, or "2048,256x5": one for each layer, repeated over the layers
        pin          text (or tokens) at the start that is never forgotten
        policy       "sink", "window", "dense" or "recompute"
        kv           number format of the cache: "f16", "q8_0", "q4_0", "bf16", "f32"
        kv_rotate    keys and values are rotated before they are quantised, sinks stay in f16: of
                     q4_0 (None: yes) and q8_0 (None: no)
        softmax      "standard" or "off-by-one"; None: what the model was trained with
        chunk        tokens that pass the model together at most (256)
        draft        tokens guessed ahead and checked together; the same output (0: off)
        sampling     temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty,
                     presence_penalty, seed
        """
        options = stream_options(sinks=sinks, window=window, pin=pin, policy=policy, kv=kv,
                                 kv_rotate=kv_rotate, softmax=softmax, chunk=chunk, draft=draft,
                                 start_position=start_position, **sampling)
        return Stream(self, _engine.open(self._engine, options))

    def resume(self, saved: bytes | str | os.PathLike[str]) -> Stream:
        """A saved stream, from its file or its bytes: it goes on with the tokens it would have
        produced."""
        if isinstance(saved, (bytes, bytearray, memoryview)):
            return Stream(self, _engine.resume_bytes(self._engine, bytes(saved)))
        return Stream(self, _engine.resume_file(self._engine, os.fspath(saved)))

    def stream_bytes(self, **options: Any) -> int:
        """Bytes of the keys and values of a stream with these options."""
        return self._engine.stream_bytes(stream_options(**options))

    # ---- dialogues

    def chat(self, messages: Sequence[dict[str, Any]], *, stream: bool = False, max_tokens: int | None = None,
             stop: str | Sequence[str] = (), tools: Sequence[dict[str, Any]] | None = None,
             tool_choice: str | dict[str, Any] | None = None,
             response_format: dict[str, Any] | None = None,
             template: str = "", thinking: bool | None = None, **options: Any) -> Any:
        """An answer to the messages, as OpenAI's API gives it: a dict, or with stream=True an iterator
        of chunks. Messages that go on from the last answer go on with its stream, so that only what
        they add is read. `tools`, `tool_choice` and `response_format` are as there too. `template`: the model's own (""), another one of its file's, or a format by
        name. Other options as of stream()."""
        key = (template, str(tools), thinking, str(sorted(options.items(), key=str)))
        dialogue = self._dialogue
        if dialogue is None or self._dialogue_key != key:
            try:
                chosen = _engine.chat_template(self._engine, template)
            except Error as error:
                raise Error(str(error).replace("--chat-template", "template=")) from None
            dialogue = Dialogue(self, chosen, chat_options(tools, thinking), options)
            self._dialogue, self._dialogue_key = dialogue, key
        stops = [stop] if isinstance(stop, str) else list(stop)
        wishes = Wishes(max_tokens, stops, tool_choice, response_format)
        ask = answer_in_pieces if stream else answer
        return ask(dialogue, messages, wishes)

    def forget(self) -> None:
        """Lets go of the last dialogue and its stream."""
        self._dialogue = None

    # ---- text

    def tokenize(self, text: str, *, add_bos: bool = True, special: bool = False,
                 continues: bool = False) -> list[int]:
        """`special`: control tokens written in the text become tokens. `continues`: the text stands
        behind other text, so that neither BOS nor a space is put before it."""
        return self._engine.tokenize(text, add_bos, special, continues)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._engine.detokenize(tokens_of(tokens)).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """Of one token; may be half a character."""
        return self._engine.token_bytes(token)

    def is_end_of_generation(self, token: int) -> bool:
        return self._engine.is_end_of_generation(token)

    # ---- study

    def perplexity(self, text: str | Sequence[int], policies: Sequence[str] = ("sink",), *,
                   positions: bool = False, dense_tokens: int = 0, recompute_tokens: int = 1000,
                   progress: bool | Told | None = None, **options: Any) -> dict[str, list[Any]]:
        """Measures several policies over the same text; a dict of columns for pandas.DataFrame.

        A row for each policy; or, with positions=True, one for each token that was measured. The
        window policy keeps as many tokens as the sink policy in all. `dense_tokens`: where a dense
        stream ends (0: nowhere). `recompute_tokens`: tokens past the cache that are recomputed,
        evenly spread on a logarithmic scale (0: all). Other options as of stream().
        """
        tokens = self.tokenize(text) if isinstance(text, str) else tokens_of(text)
        if len(tokens) < 2:
            raise Error(f"text: want at least two tokens to measure, found {len(tokens)}")
        with Bar("perplexity", len(tokens), "tokens", progress) as bar:
            found = _engine.perplexity(self._engine, tokens, policies_of(policies),
                                       stream_options(**options), dense_tokens, recompute_tokens,
                                       bar.told)
        if positions:
            return {
                "policy": [s["policy"] for s in found for _ in range(len(s["nll"]))],
                "position": [p for s in found for p in s["positions"].tolist()],
                "nll": [v for s in found for v in s["nll"].tolist()],
            }
        rows = [{k: v for k, v in s.items() if k not in ("positions", "nll")} for s in found]
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}

    # ---- facts

    @property
    def path(self) -> str:
        return self._path

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def architecture(self) -> str:
        return self._engine.architecture

    @property
    def vocabulary_size(self) -> int:
        return self._engine.vocabulary_size

    @property
    def trained_context(self) -> int:
        """Tokens."""
        return self._engine.trained_context

    @property
    def layers(self) -> int:
        return self._engine.layers

    @property
    def threads(self) -> int:
        return self._engine.threads

    @property
    def nbytes(self) -> int:
        """Of the weights, as the file stores them."""
        return self._engine.weight_bytes

    @property
    def instruction_set(self) -> str:
        """Of the kernels that were chosen at start."""
        return self._engine.instruction_set

    @property
    def device(self) -> dict[str, Any]:
        """Who runs layers beside or instead of the processor, and what it has done so far: name,
        layers (0: all on the processor), memory_bytes, launches, seconds."""
        return self._engine.device

    @property
    def bos(self) -> int | None:
        return self._engine.bos

    @property
    def eos(self) -> int | None:
        return self._engine.eos

    # ---- pickling: the file's path, so that every process maps the file itself

    def _key(self) -> tuple[Any, ...]:
        return (self._path, *self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, self._key())

    def __repr__(self) -> str:
        if not self.architecture:
            return f"<runnel.Model {self.name!r}: vocabulary of {self.vocabulary_size:,} alone>"
        return (f"<runnel.Model {self.name!r}: {self.architecture}, {self.layers} layers, vocabulary "
                f"{self.vocabulary_size:,}, {self.nbytes / 2**20:.1f} MiB, {self.instruction_set}>")

    def _repr_html_(self) -> str:
        facts = {"architecture": self.architecture, "layers": self.layers,
                 "vocabulary": f"{self.vocabulary_size:,}",
                 "trained context": f"{self.trained_context:,}",
                 "weights": f"{self.nbytes / 2**20:.1f} MiB", "kernels": self.instruction_set,
                 "threads": self.threads, "file": self.path}
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
                       for name, value in facts.items())
        return f"<div><b>Model</b> {escape(self.name)}<table>{rows}</table></div>"


def _unpickle(path: str, threads: int, vocabulary_only: bool, device: str, device_layers: int | None,
              device_memory: int, exact: bool, packed_cache: str) -> Model:
    """The model of that file that is loaded already, or a new one."""
    found = _loaded.get((path, threads, vocabulary_only, device, device_layers, device_memory, exact,
                         packed_cache))
    return found if found is not None else Model(
        path, threads=threads, vocabulary_only=vocabulary_only, device=device,
        device_layers=device_layers, device_memory=device_memory, exact=exact,
        packed_cache=packed_cache or None)


def devices() -> list[dict[str, Any]]:
    """What OpenCL offers on this machine, GPUs first: id, name, driver, is_gpu, memory_bytes."""
    return _engine.devices()
