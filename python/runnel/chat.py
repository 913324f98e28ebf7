"""Dialogues in OpenAI's dicts. A dialogue is a stream: a call whose messages go on from the last answer feeds only
what they add, whatever the length of what came before. Calls of tools and thoughts are taken out of the answer's text."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple, Sequence

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


def _said(message: tuple[Any, ...]) -> tuple[Any, ...]:
    """A message without its thoughts, which clients leave out when they send it back."""
    return (*message[:2], *message[3:])


def _as_tuples(messages: Sequence[Message]) -> list[tuple[Any, ...]]:
    if not messages:
        raise Error("messages: want at least one, found none")
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
        is_longer = self.stream is not None and n > 0 and len(messages) > n
        return is_longer and list(map(_said, messages[:n])) == list(map(_said, self.seen))

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


class Wishes(NamedTuple):
    """What one answer is asked for, as OpenAI's API has it."""

    most: int | None  # tokens
    stops: Sequence[str]
    tool_choice: Any
    response_format: Any

    def schema(self) -> Any:
        """Of the JSON that is wanted; None: any text."""
        given = self.response_format or {"type": "text"}
        if given.get("type") == "json_object":
            return {"type": "object"}
        if given.get("type") == "json_schema":
            return given["json_schema"].get("schema", {})
        if given.get("type") != "text":
            raise Error(f"response_format: want text, json_object or json_schema, found {given!r}")
        return None

    def tool(self) -> str | None:
        """The tool that has to be called; "": any of them; None: as the model likes."""
        if self.tool_choice in (None, "auto", "none"):
            return None
        if self.tool_choice == "required":
            return ""
        try:
            return self.tool_choice["function"]["name"]
        except (TypeError, KeyError):
            raise Error(f"tool_choice: want auto, none, required or a function's name, found "
                        f"{self.tool_choice!r}") from None


class _Answer:
    """What the model writes, as OpenAI's deltas; afterwards the whole message, why it ended, and its tokens."""

    def __init__(self, dialogue: Dialogue, wishes: Wishes):
        self.message: dict[str, Any] = {"role": "assistant", "content": ""}
        self.reason = "length"
        self.n_tokens = 0
        self._dialogue = dialogue
        self._most = wishes.most
        self._marked = _Cut(dialogue.template.stops)  # marks that are text, which end a turn
        self._stopped = _Cut(wishes.stops)
        form = dialogue.template.answer_form(dialogue.options)
        self._parser = None if form.is_plain or wishes.tool_choice == "none" else _engine.AnswerParser(form)
        assert dialogue.stream is not None
        schema, tool = wishes.schema(), wishes.tool()
        if tool is not None:
            _engine.set_tool_call(dialogue.model._engine, dialogue.stream._engine, form, dialogue.options.tools, tool)
        else:
            dialogue.stream.set_json_schema(schema)

    def deltas(self) -> Iterator[dict[str, Any]]:
        stream, template = self._dialogue.stream, self._dialogue.template
        assert stream is not None
        while self._most is None or self.n_tokens < self._most:
            step = stream.next()
            self.n_tokens += 1
            if template.is_end(step.token):
                self.reason = "stop"
                break
            yield from self._take(self._marked.push(step.text), step.token)
            if self._marked.is_over or self._stopped.is_over:
                self.reason = "stop"
                break
        if not self._stopped.is_over:
            yield from self._take(self._marked.flush(), None)
        yield from self._content(self._stopped.flush())
        if self.message.get("tool_calls") and self.reason == "stop":
            self.reason = "tool_calls"

    def _take(self, text: str, token: int | None) -> Iterator[dict[str, Any]]:
        if self._parser is None:
            yield from self._content(self._stopped.push(text))
            return
        events = self._parser.push(text)
        mark = None if token is None else _engine.mark_of(self._dialogue.model._engine, token)
        if mark is not None:
            events += self._parser.push_mark(mark)
        if token is None:
            events += self._parser.finish()
        for event in events:
            yield from self._told(*event)

    def _told(self, kind: str, text: str, index: int, given_id: str, name: str) -> Iterator[dict[str, Any]]:
        if kind == "text":
            yield from self._content(self._stopped.push(text))
        elif kind == "reasoning" and text:
            self.message["reasoning_content"] = self.message.get("reasoning_content", "") + text
            yield {"reasoning_content": text}
        elif kind == "call":
            head = {"id": given_id or f"call_{uuid.uuid4().hex[:24]}", "type": "function"}
            function = {"name": name, "arguments": ""}
            self.message.setdefault("tool_calls", []).append({**head, "function": function})
            yield {"tool_calls": [{"index": index, **head, "function": dict(function)}]}
        elif kind == "arguments":
            self.message["tool_calls"][-1]["function"]["arguments"] += text
            yield {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    def _content(self, text: str) -> Iterator[dict[str, Any]]:
        if text:
            self.message["content"] += text
            yield {"content": text}


def _frame(model: "Model", kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()),
            "model": model.name}


def answer(dialogue: Dialogue, messages: Sequence[Message], wishes: Wishes) -> dict[str, Any]:
    seen = _as_tuples(messages)
    n_read = dialogue.feed(seen)
    found = _Answer(dialogue, wishes)
    for _ in found.deltas():
        pass
    dialogue.seen = [*seen, _as_tuple(found.message)]
    return {
        **_frame(dialogue.model, "chat.completion"),
        "choices": [{"index": 0, "message": found.message, "finish_reason": found.reason}],
        "usage": {"prompt_tokens": n_read, "completion_tokens": found.n_tokens,
                  "total_tokens": n_read + found.n_tokens},
    }


def answer_in_pieces(dialogue: Dialogue, messages: Sequence[Message], wishes: Wishes) -> Iterator[dict[str, Any]]:
    frame = _frame(dialogue.model, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    seen = _as_tuples(messages)
    dialogue.feed(seen)
    dialogue.seen = []  # an answer that is not taken to its end is nothing to go on from
    found = _Answer(dialogue, wishes)
    yield chunk({"role": "assistant"})
    for delta in found.deltas():
        yield chunk(delta)
    dialogue.seen = [*seen, _as_tuple(found.message)]
    yield chunk({}, found.reason)


def options_of(tools: Any, thinking: bool | None) -> Any:
    options = _engine.ChatOptions()
    options.tools = json.dumps(tools) if tools else ""
    options.enable_thinking = thinking
    return options
