"""Ctrl-C and SIGTERM from a command's first moment to its last: one line, exit code 130, never a traceback.

Nothing here takes time to import: what takes long is imported after the signals are listened to.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn, Self

STOPPED = 130  # what a shell says of a command that Ctrl-C ended
AGAIN_SECONDS = 0.01
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DEFAULT = (signal.default_int_handler, signal.SIG_DFL)


class Stopping:
    """While entered, a signal to stop raises KeyboardInterrupt in the main thread; before ``working`` it ends at once.

    ``is_requested`` says that there was one: libraries turn KeyboardInterrupt into errors of their own, or lose it.
    ``whole_process``: the process is this command alone. Then a second signal does not wait for what the first
    began to tidy up, and at the end Ctrl-C has nothing left to stop. Else SIGTERM is left to whoever has the process.
    A signal that is ignored, as under nohup, stays so.
    """

    def __init__(self, whole_process: bool) -> None:
        self.is_requested = self.working = False
        self._whole, self._process = whole_process, os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS if self._whole else _SIGNALS[:1]:
                if signal.getsignal(number) in _DEFAULT:
                    self._before[number] = signal.signal(number, self._on_signal)
        if self._whole:
            sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._whole and number == signal.SIGINT else handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked just now
            os._exit(STOPPED)
        if self._whole and (self.is_requested or not self.working):
            _end(None if self.is_requested else "stopped")
        self.is_requested = True
        raise KeyboardInterrupt

    def _unraisable(self, lost: Any) -> None:
        """Let an interrupt through that came where Python cannot raise it, such as in a callback of C code."""
        if self.is_requested and isinstance(lost.exc_value, KeyboardInterrupt):
            self.is_requested = False
            threading.Timer(AGAIN_SECONDS, _thread.interrupt_main).start()  # not within this hook
        else:
            sys.__unraisablehook__(lost)


def _end(message: str | None) -> NoReturn:
    """End this process here and now; the system lets go of its locks."""
    if message is not None:
        with suppress(OSError):
            os.write(2, f"cfbd: {message}\n".encode())
    os._exit(STOPPED)
