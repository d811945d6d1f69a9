"""Ctrl-C and SIGTERM in training: never in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class Interrupts:
    """While entered, a signal raises KeyboardInterrupt at once, but in a ``hold`` block after it.

    A second signal there does not wait (``broke_in``). Elsewhere than in the main thread signals stay as they are.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.is_requested = self.broke_in = False
        self._depth = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let the block end before a signal counts; ``is_requested`` then says that there was one."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._depth and not self.is_requested:
            self.is_requested = True
            return
        self.broke_in = self._depth > 0
        raise KeyboardInterrupt
