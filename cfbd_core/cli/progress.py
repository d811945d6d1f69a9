"""Progress on stderr: pairs a second and time left (tqdm); silent where stderr is no terminal and short.

A job that another process watches (:mod:`cfbd_core.jobs.jobs`) names a file in ``CFBD_PROGRESS_FILE``; the
same numbers go there.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tqdm import tqdm

from cfbd_core.jobs.process import PROGRESS_VARIABLE
from cfbd_core.machine.files import write_json

WRITE_SECONDS = 0.5
DELAY_SECONDS = 0.5  # what is over sooner shows no bar


class Bar:
    """A bar over pairs; without a total it counts."""

    def __init__(self, what: str, total: int | None = None, unit: str = "pairs", leave: bool = True) -> None:
        self._bar = tqdm(
            total=total, desc=what, unit=f" {unit}", mininterval=0.5, leave=leave, delay=DELAY_SECONDS
        )
        self._stage, self._written = what, 0.0
        self._write()

    def update(self, pairs: int) -> None:
        """Count ``pairs`` more."""
        self._bar.update(pairs)
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self._write()

    def report(self, _stage: str, done: int, _total: int | None, _note: str = "", /) -> None:
        """Show how many are done; stage and total stay those of the bar."""
        self.update(done - self._bar.n)

    def go_on(self) -> None:
        """Leave the time since the last update out of rate and time left: other work was done in it."""
        self._bar.unpause()
        self._written = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._bar.n:
            self._write()

    def _write(self) -> None:
        """Write the state for a watcher; one that cannot be written is no reason to stop the work."""
        path = os.environ.get(PROGRESS_VARIABLE)
        if not path:
            return
        self._written = time.monotonic()
        shown = self._bar.format_dict
        done, total, seconds = shown["n"], shown["total"], shown["elapsed"]
        rate = shown["rate"] or (done / seconds if seconds else 0.0)
        state = {
            "stage": self._stage,
            "done": done,
            "total": total,
            "rate": rate,
            "seconds_left": max(0, total - done) / rate if total is not None and rate else None,
            "updated": datetime.now(UTC).isoformat(),
        }
        with suppress(OSError):
            write_json(Path(path), state)


class TrainBar(Bar):
    """A bar over the epochs of F's training; it shows from the first epoch on, for there may be none."""

    def __init__(self, what: str) -> None:
        self._bar = tqdm(desc=what, unit=" epochs", mininterval=0.5, leave=True, delay=DELAY_SECONDS)
        self._stage, self._written = what, 0.0

    def report(self, stage: str, done: int, total: int | None, note: str = "", /) -> None:
        """Show the epoch and the held-out cosine."""
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        super().report(stage, done, total)


class StageBars:
    """One bar after another, for work with several stages; a context manager."""

    def __init__(self, units: dict[str, str], *, leave: bool = True) -> None:
        self._units, self._leave, self._stage, self._done = units, leave, "", 0
        self._bar: Bar | None = None
        self._aside: StageBars | None = None

    def report(self, stage: str, done: int, total: int | None, _note: str = "", /) -> None:
        """Show how far ``stage`` is; the stage before has ended. Stages without a unit count in pairs."""
        self._end_aside()
        if self._bar is None or stage != self._stage or done < self._done:
            self._close()
            self._stage, self._done = stage, 0
            self._bar = Bar(stage, total, self._units.get(stage, "pairs"), self._leave)
        self._bar.update(done - self._done)
        self._done = done

    def aside(self, stage: str, done: int, total: int | None, _note: str = "", /) -> None:
        """Show how far a stage is that comes in between: the one that is shown goes on after it."""
        if self._aside is None:
            self._aside = StageBars(self._units, leave=False)
        self._aside.report(stage, done, total)

    def _end_aside(self) -> None:
        if self._aside is None:
            return
        self._aside._close()
        self._aside = None
        if self._bar is not None:
            self._bar.go_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._end_aside()
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
