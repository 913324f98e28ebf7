"""Dialogues in OpenAI's dicts. A dialogue is a stream: a call whose messages go on from the last answer feeds only
what they add, whatever the length of what came before."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from . import _engine
from .errors import Error

if TYPE_CHECKING:
    from .model import Model
    from .stream import Stream

Message = dict[str, Any]


def _content(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if part.get("type") != "text":
            raise Error(f"message content: want text, found a part of type {part.get('type')!r}")
        parts.append(part["text"])
    return "".join(parts)


def _as_tuple(message: Message) -> tuple[Any, ...]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Error(f"message: want a dict with a role, found {message!r}")
    calls = []
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        calls.append((call.get("id") or "", function["name"],
                      arguments if isinstance(arguments, str) else json.dumps(arguments)))
    return (message["role"], _content(message), message.get("reasoning_content") or "", calls,
            message.get("tool_call_id") or "", message.get("name") or "")


def _as_tuples(messages: Sequence[Message]) -> list[tuple[Any, ...]]:
    return [_as_tuple(message) for message in messages]


class Dialogue:
    """The stream of one conversation, and the messages that it has seen."""

    def __init__(self, model: "Model", template: Any, options: Any, stream_options: dict[str, Any]):
        self.model = model
        self.template = template
        self.options = options
        self.stream_options = stream_options
        self.seen: list[tuple[Any, ...]] = []
        self.stream: "Stream | None" = None

    def goes_on(self, messages: list[tuple[Any, ...]]) -> bool:
        n = len(self.seen)
        return self.stream is not None and n > 0 and len(messages) > n and messages[:n] == self.seen

    def feed(self, messages: list[tuple[Any, ...]]) -> int:
        """The number of tokens that were read for these messages."""
        if self.goes_on(messages):
            assert self.stream is not None
            added = self.template.turn(self.seen, messages[len(self.seen):], self.options)
            is_closed = bool(added) and self.stream.tokens[-1] == added[0]
            if is_closed and self.template.is_end(added[0]):  # the model wrote the answer's end
                added = added[1:]
            return self.stream.feed(added, progress=False)
        n_system = 0
        while n_system < len(messages) and messages[n_system][0] == "system":
            n_system += 1
        opening = self.template.opening(messages[:n_system], self.options)
        added = self.template.turn(messages[:n_system], messages[n_system:], self.options)
        self.stream = self.model.stream(**{"pin": opening or None, **self.stream_options})
        return len(opening) + self.stream.feed(added, progress=False)


class _Cut:
    """Passes text on, but for the first stop in it and for what may still become one."""

    def __init__(self, stops: Sequence[str]):
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_over = False

    def push(self, text: str) -> str:
        self._held += text
        ends = [at for at in map(self._held.find, self._stops) if at >= 0]
        if ends:
            self.is_over = True
            return self._take(min(ends))
        n_kept = max((n for stop in self._stops for n in range(1, len(stop))
                      if self._held.endswith(stop[:n])), default=0)
        return self._take(len(self._held) - n_kept)

    def flush(self) -> str:
        return "" if self.is_over else self._take(len(self._held))

    def _take(self, n: int) -> str:
        text, self._held = self._held[:n], self._held[n:]
        return text


def _write(dialogue: Dialogue, most: int | None, stops: Sequence[str],
           finish: dict[str, Any]) -> Iterator[str]:
    """The pieces of an answer; `finish` then says why it ended and how many tokens it took."""
    assert dialogue.stream is not None
    cut = _Cut([*stops, *dialogue.template.stops])
    finish.update(reason="length", tokens=0)
    while most is None or finish["tokens"] < most:
        step = dialogue.stream.next()
        finish["tokens"] += 1
        if dialogue.template.is_end(step.token):
            finish["reason"] = "stop"
            break
        yield cut.push(step.text)
        if cut.is_over:
            finish["reason"] = "stop"
            break
    yield cut.flush()


def _frame(model: "Model", kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()),
            "model": model.name}


def answer(dialogue: Dialogue, messages: Sequence[Message], most: int | None,
           stops: Sequence[str]) -> dict[str, Any]:
    seen = _as_tuples(messages)
    n_read = dialogue.feed(seen)
    finish: dict[str, Any] = {}
    text = "".join(_write(dialogue, most, stops, finish))
    dialogue.seen = [*seen, _as_tuple({"role": "assistant", "content": text})]
    return {
        **_frame(dialogue.model, "chat.completion"),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "finish_reason": finish["reason"]}],
        "usage": {"prompt_tokens": n_read, "completion_tokens": finish["tokens"],
                  "total_tokens": n_read + finish["tokens"]},
    }


def answer_in_pieces(dialogue: Dialogue, messages: Sequence[Message], most: int | None,
                     stops: Sequence[str]) -> Iterator[dict[str, Any]]:
    frame = _frame(dialogue.model, "chat.completion.chunk")

    def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    seen = _as_tuples(messages)
    dialogue.feed(seen)
    dialogue.seen = []  # an answer that is not taken to its end is nothing to go on from
    finish: dict[str, Any] = {}
    text = ""
    yield chunk({"role": "assistant"})
    for piece in _write(dialogue, most, stops, finish):
        text += piece
        if piece:
            yield chunk({"content": piece})
    dialogue.seen = [*seen, _as_tuple({"role": "assistant", "content": text})]
    yield chunk({}, finish["reason"])


def options_of(tools: Any, thinking: bool | None) -> Any:
    options = _engine.ChatOptions()
    options.tools = json.dumps(tools) if tools else ""
    options.enable_thinking = thinking
    return options
