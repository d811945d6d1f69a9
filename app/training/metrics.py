"""What a training run has logged so far, read on from where the last look at it stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from cfbd_core.machine.json_shapes import parse
from cfbd_core.training.tracking import METRICS

LATEST_STEPS = 10  # logged steps that the rate is a mean of


@dataclass(frozen=True)
class Curves:
    """Columns of a run's log: of its logged steps, and of its evaluations (``asr`` may hold None)."""

    step: Sequence[int] = ()
    loss: Sequence[float | None] = ()
    rate: Sequence[float | None] = ()
    measured_at: Sequence[int] = ()
    ca: Sequence[float | None] = ()
    asr: Sequence[float | None] = ()

    @property
    def pairs_per_s(self) -> float | None:
        """The rate of the latest steps."""
        known = [rate for rate in self.rate[-LATEST_STEPS:] if rate]
        return sum(known) / len(known) if known else None


@dataclass
class _Log:
    """The log of one run; ``offset`` is how far it has been read."""

    offset: int = 0
    inode: int = 0
    steps: list[tuple[int, float | None, float | None]] = field(default_factory=list)
    measured: list[tuple[int, float | None, float | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read_on(self, path: Path) -> Curves:
        """Take in the whole lines that were added; a log that was begun anew is read anew."""
        with self.lock:
            try:
                with path.open("rb") as file:
                    stat = os.fstat(file.fileno())
                    if stat.st_ino != self.inode or stat.st_size < self.offset:
                        self.offset, self.inode = 0, stat.st_ino
                        self.steps.clear()
                        self.measured.clear()
                    file.seek(self.offset)
                    added = file.read()
            except OSError:
                return Curves()
            whole = added.rpartition(b"\n")[0]
            for line in whole.splitlines():
                self._take(line)
            self.offset += len(whole) + 1 if whole else 0
            return self._curves()

    def _take(self, line: bytes) -> None:
        try:
            entry = parse(line)
            if entry["kind"] == "step":
                _append(self.steps, (int(entry["step"]), entry.get("loss"), entry.get("pairs_per_s")))
            elif entry["kind"] == "eval":
                _append(self.measured, (int(entry["step"]), entry.get("ca"), entry.get("asr")))
        except (ValueError, LookupError, TypeError):
            return

    def _curves(self) -> Curves:
        steps = list(zip(*self.steps, strict=True)) or [(), (), ()]
        measured = list(zip(*self.measured, strict=True)) or [(), (), ()]
        return Curves(*steps, *measured)


def _append(lines: list[Any], line: tuple[int, Any, Any]) -> None:
    """Add a line; a run that was resumed from a checkpoint logs some steps again."""
    while lines and lines[-1][0] >= line[0]:
        lines.pop()
    lines.append(line)


def curves(run: Path) -> Curves:
    """Return what the run in this folder has logged so far; nothing where there is no log."""
    return _log(str(run)).read_on(run / METRICS)


@st.cache_resource(max_entries=64, show_spinner=False)
def _log(run: str) -> _Log:
    return _Log()
