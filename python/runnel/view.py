"""A stream as a notebook shows it: what it still sees, and how much it has forgotten."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stream import Stream

_SINK, _WINDOW, _FREE = "#c0504d", "#4f81bd", "#dddddd"
_MOST_SHOWN = 60  # tokens of the window's end


def _piece(stream: "Stream", token: int, color: str) -> str:
    text = stream.model.token_bytes(token).decode("utf-8", "replace")
    shown = escape(text).replace("\n", "⏎").replace(" ", "&nbsp;") or "·"
    return f'<span title="token {token}" style="border-bottom:2px solid {color}">{shown}</span>'


def _bar(stream: "Stream") -> str:
    """Sinks, window and free places of the cache, by their share."""
    options = stream._engine.options
    n_seen = len(stream.tokens)
    n_sinks = min(options.sinks, n_seen)
    capacity = n_seen if options.window is None else options.sinks + options.window
    parts = ((n_sinks, _SINK, "sinks"), (n_seen - n_sinks, _WINDOW, "window"),
             (capacity - n_seen, _FREE, "free"))
    cells = "".join(
        f'<div title="{n:,} {name}" style="width:{100 * n / max(capacity, 1):.3f}%;min-width:'
        f'{2 if n else 0}px;background:{color}"></div>' for n, color, name in parts)
    return f'<div style="display:flex;height:10px;width:100%;max-width:40em">{cells}</div>'


def html_of(stream: "Stream") -> str:
    options = stream._engine.options
    tokens = stream.tokens
    sinks = tokens[:options.sinks]
    window = tokens[options.sinks:]
    facts = (f"position {stream.position:,} · evicted {stream.evicted:,} · {len(sinks):,} sinks + "
             f"{len(window):,} of the window · {stream.nbytes / 2**20:.1f} MiB {options.kv.name}")
    gap = f" <i>… {stream.evicted:,} forgotten …</i> " if stream.evicted else ""
    skipped = " <i>…</i> " if len(window) > _MOST_SHOWN else ""
    text = ("".join(_piece(stream, token, _SINK) for token in sinks[:_MOST_SHOWN]) + gap + skipped +
            "".join(_piece(stream, token, _WINDOW) for token in window[-_MOST_SHOWN:]))
    return (f"<div><b>Stream</b> of {escape(stream.model.name)}, {options.policy.name}<br>"
            f"{_bar(stream)}<small>{facts}</small>"
            f'<div style="font-family:monospace;max-width:60em">{text}</div></div>')
