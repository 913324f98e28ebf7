"""A bar for long calls, through tqdm, where somebody looks: on a terminal or in a notebook."""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional

Told = Callable[[int], Any]


def _is_notebook() -> bool:
    try:
        from IPython import get_ipython  # type: ignore[import-not-found]
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _is_looked_at() -> bool:
    return _is_notebook() or (sys.stderr is not None and sys.stderr.isatty())


class Bar:
    """Of a call over `total` units; shows itself after a second. `wanted`: None asks whether
    somebody looks, a function is told each number instead."""

    def __init__(self, what: str, total: int, unit: str, wanted: bool | Told | None):
        self._told: Optional[Told] = wanted if callable(wanted) else None
        self._bar: Any = None
        if self._told is None and (wanted or (wanted is None and _is_looked_at())):
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, desc=what, unit=unit, delay=1, leave=False)
            self._told = self._show

    def _show(self, done: int) -> None:
        self._bar.update(done - self._bar.n)

    @property
    def told(self) -> Optional[Told]:
        """What the engine calls; None when nobody is to be told."""
        return self._told

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
