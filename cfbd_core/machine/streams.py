"""The process's own streams, so that a job goes on where only its reports cannot be written."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path


def mend_streams() -> None:
    """Let stderr fail without a word, stdout say any letter, and what the caller has closed lead nowhere.

    Else ``cfbd run … 2>&1 | head`` would end the run with its first line, for its progress has no reader.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Lenient(
            sys.stderr.buffer, sys.stderr.encoding, errors="backslashreplace", line_buffering=True
        )


class _Lenient(io.TextIOWrapper):
    """A stream whose reader may go, or whose disk may be full."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()
