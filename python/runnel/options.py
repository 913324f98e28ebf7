"""Keyword arguments to the engine's options."""

from __future__ import annotations

import operator
from typing import Any, Sequence

from . import _engine
from .errors import Error

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
            "presence_penalty", "seed")

_ENUMS: dict[str, dict[str, Any]] = {
    "policy": {p.name: p for p in _engine.Policy},
    "kv": {t.name: t for t in _engine.KvType},
    "softmax": {s.name.replace("_", "-"): s for s in _engine.Softmax},
}


def _one_of(name: str, value: str) -> Any:
    known = _ENUMS[name]
    if value not in known:
        raise Error(f"stream option {name}: want {', '.join(known)}, found {value!r}")
    return known[value]


def policies_of(names: Sequence[str]) -> list[Any]:
    return [_one_of("policy", name) for name in names]


# Of options whose default does not show it.
_KINDS = {"pin_tokens": "text or tokens", "kv_rotate": "bool"}


def _set(options: Any, name: str, value: Any) -> None:
    try:
        setattr(options, name, value)
    except (TypeError, OverflowError):
        kind = _KINDS.get(name) or type(getattr(options, name)).__name__
        raise Error(f"stream option {name}: want {kind}, found {value!r}") from None


def tokens_of(what: Any) -> list[int]:
    """Token numbers of a list, an array or whatever else gives them."""
    try:
        return [operator.index(token) for token in (what.tolist() if hasattr(what, "tolist") else what)]
    except TypeError:
        raise Error(f"tokens: want text or whole numbers, found {what!r}"[:200]) from None


def sampling_of(base: Any = None, **values: Any) -> Any:
    """SamplingOptions with these values in place of those of `base`, or of the defaults."""
    options = _engine.SamplingOptions()
    for name in SAMPLING:
        if base is not None:
            setattr(options, name, getattr(base, name))
        if name in values:
            _set(options, name, values.pop(name))
    if values:
        raise TypeError(f"unknown option: {', '.join(sorted(values))}")
    return options


def _windows(values: dict[str, Any]) -> dict[str, Any]:
    """`window` as a list, or as it is written on the command line, becomes layer_windows."""
    window = values.get("window")
    if isinstance(window, str):
        window = _engine.parse_layer_windows(window)
    if window is None or hasattr(window, "__index__"):
        return values
    try:
        windows = [operator.index(each) for each in window]
    except TypeError:
        raise Error(f"stream option window: want a number, a list of them or text, found {window!r}") from None
    return {**values, "window": None, "layer_windows": windows}


def stream_options(**values: Any) -> Any:
    sampling = {name: values.pop(name) for name in SAMPLING if name in values}
    options = _engine.StreamOptions()
    options.sampling = sampling_of(**sampling)
    pin = values.pop("pin", None)
    if pin is not None:
        _set(options, "pin" if isinstance(pin, str) else "pin_tokens", pin)
    for name, value in _windows(values).items():
        if value is None:
            continue
        if not hasattr(options, name):
            raise TypeError(f"unknown option: {name}")
        _set(options, name, _one_of(name, value) if name in _ENUMS else value)
    return options


def as_dict(options: Any) -> dict[str, Any]:
    """Resolved options as the keyword arguments that give them."""
    found: dict[str, Any] = {
        "policy": options.policy.name,
        "sinks": options.sinks,
        "window": list(options.layer_windows) or options.window,
        "kv": options.kv.name,
        "kv_rotate": options.kv_rotate,
        "softmax": options.softmax.name.replace("_", "-"),
        "chunk": options.chunk,
        "draft": options.draft,
        "start_position": options.start_position,
    }
    if options.pin_tokens:
        found["pin"] = list(options.pin_tokens)
    found.update({name: getattr(options.sampling, name) for name in SAMPLING})
    return found
