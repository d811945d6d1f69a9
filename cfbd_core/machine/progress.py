"""How far a long piece of work is: it calls a function of the caller's, which draws a bar or writes a file."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A function that long work calls again and again as it goes on."""

    def __call__(self, stage: str, done: int, total: int | None, note: str = "", /) -> None:
        """Take in that ``done`` of ``total`` are done in ``stage``; ``total`` is None where nobody knows it.

        ``note`` is what a person may want to read beside it, such as ``cosine=0.912``.
        """


def no_progress(_stage: str, _done: int, _total: int | None, _note: str = "", /) -> None:
    """Report to nobody: the default of every parameter ``progress``."""


def as_stage(progress: Progress, stage: str) -> Progress:
    """Return a function for a part of the work: what it reports goes to ``progress`` under the name ``stage``."""

    def report(_own: str, done: int, total: int | None, note: str = "", /) -> None:
        progress(stage, done, total, note)

    return report


class Counter:
    """Adds up what is done of one stage, and reports the sum to ``progress``."""

    def __init__(self, progress: Progress = no_progress, stage: str = "", total: int | None = None) -> None:
        self._progress, self._stage, self._total = progress, stage, total
        self._done = 0

    def add(self, count: int) -> None:
        """Report that ``count`` more are done."""
        self._done += count
        self._progress(self._stage, self._done, self._total)
