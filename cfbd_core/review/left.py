"""What is left, of one audit: the control sample that its folder keeps, and the estimate in sentences.

The sample lies in ``DIR/review/control.npz``. It is drawn once and grows; a new one is drawn only when asked for.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.review.control import (
    KEPT,
    REMOVED,
    ControlSample,
    JudgedPairs,
    draw_control,
    extended,
    read_control,
    write_control,
)
from cfbd_core.review.estimate import CONFIDENCE, Estimate, Left, estimate, reviews_needed
from cfbd_core.store.columns import KEEP, REMOVE, removed
from cfbd_core.wording import counted, has_or_have, is_or_are

CONTROL_NAME = Path("review", "control.npz")
DRAWN_FIRST, OF_REMOVED = 260, 60 / 260  # pairs drawn, and the share of them from the removed side
TARGETS = (50, 100, 500)  # poisons left that one may want to promise


class KeptControl:
    """The control sample of the pairs at ``rows`` int64 (n,), ascending, of the audit in ``folder``.

    Safe to use from many threads and processes: a draw sees what others have drawn before it.
    """

    def __init__(self, folder: Path, rows: np.ndarray) -> None:
        self.path, self._rows = folder / CONTROL_NAME, rows
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, ...] | None, ControlSample | None] = (None, None)

    def get(self) -> ControlSample | None:
        """Return the sample, None before the first draw. Raises AuditError as :func:`read_control` does."""
        with self._lock:
            stamp = self._stamp()
            if stamp is None:
                return None
            if stamp != self._read[0]:
                self._read = stamp, read_control(self.path, self._rows)
            return self._read[1]

    def draw(
        self,
        pairs: JudgedPairs,
        total: int = DRAWN_FIRST,
        *,
        anew: bool = False,
        seed: int = 0,
    ) -> ControlSample:
        """Draw ``total`` of the pairs, or return the sample that is there; ``anew`` puts another in its place.

        Looks at the sample before count on, unless its file is
        damaged. Raises ParameterError: fewer than 1 pair.
        """
        _check(total)
        with self._alone():
            try:
                sample = self.get()
            except AuditError:
                if not anew:
                    raise
                sample = None
            if sample is not None and not anew:
                return sample
            removed, decisions = pairs.removed, pairs.decisions
            undecided = (decisions != KEEP) & (decisions != REMOVE)
            kept_size, of_removed = _shared(
                total, int((undecided & ~removed).sum()), int((undecided & removed).sum())
            )
            drawn = draw_control(pairs, kept_size=kept_size, removed_size=of_removed, seed=seed, after=sample)
            write_control(self.path, drawn, self._rows)
            return drawn

    def draw_more(self, more: int) -> ControlSample:
        """Draw ``more`` pairs from the same pool, or all that it still has.

        Raises ParameterError: fewer than 1, no sample to extend, or nothing left to draw.
        """
        _check(more)
        with self._alone():
            sample = self.get()
            if sample is None:
                raise ParameterError("there is no control sample to extend; draw one first")
            room = _room(sample)
            if not sum(room):
                raise ParameterError(
                    "every pair of the control sample's pool is drawn; draw a new sample "
                    "(`cfbd estimate --draw N --anew`)"
                )
            drawn = extended(sample, *_shared(more, *room))
            write_control(self.path, drawn, self._rows)
            return drawn

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AuditError(f"{self.path}: not readable ({error.strerror})") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other draw, of this process or another, runs in the block."""
        folder = self.path.parent
        with report_in_one_line(folder):
            folder.mkdir(exist_ok=True)
            with (folder / "control.lock").open("a+", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                lock.truncate(0)
                lock.write("held while a control sample is drawn\n")
                lock.flush()
                yield


@dataclass(frozen=True, eq=False)
class WhatIsLeft:
    """The estimate from one control sample under ``decisions`` int8 (n,).

    ``kept`` and ``removed`` are the pairs of either side by the split that the sample was drawn under and people's
    decisions since. ``moved`` pairs of its pool have changed sides since, or lost the decision that kept them out.
    """

    control: ControlSample
    decisions: np.ndarray
    kept: int
    removed: int
    moved: int

    @classmethod
    def from_control(cls, control: ControlSample, flagged: np.ndarray, decisions: np.ndarray) -> WhatIsLeft:
        """``flagged`` bool (n,) is the verdict now."""
        sides = np.array([*control.side, -1])[control.stratum]
        then = np.where(sides < 0, flagged, sides == REMOVED)
        out = int(np.count_nonzero(removed(then, decisions)))
        freed = int(np.count_nonzero((sides < 0) & (decisions != KEEP) & (decisions != REMOVE)))
        return cls(control, decisions, len(flagged) - out, out, control.strayed(flagged) + freed)

    @cached_property
    def both_sides(self) -> Estimate:
        """The bounds and best guesses at 95 %."""
        return estimate(self.control, self.decisions, CONFIDENCE)

    @property
    def drawn(self) -> int:
        """Pairs in the sample."""
        return sum(self.control.drawn)

    @property
    def pending(self) -> int:
        """Pairs in the sample that nobody has looked at."""
        return self.both_sides.kept.pending + self.both_sides.removed.pending

    @property
    def unsure(self) -> int:
        """Pairs in the sample that were looked at without an answer."""
        return self.both_sides.kept.unsure + self.both_sides.removed.unsure

    @property
    def undrawn(self) -> int:
        """Pairs of the pool that more could be drawn from."""
        return sum(_room(self.control))

    def needed(self, most: int) -> int | None:
        """How many more reviews it takes to say "at most ``most`` poisons are left"; see :func:`reviews_needed`."""
        return reviews_needed(self.control, self.decisions, most, level=CONFIDENCE)

    @property
    def sentences(self) -> tuple[str, str]:
        """The bounds, and the best guess with its interval, in plain words."""
        kept, removed = self.both_sides.kept, self.both_sides.removed
        level = f"{100 * CONFIDENCE:g} %"
        looked = self.drawn - self.pending
        unsure = f", {self.unsure:,} of them unsure" if self.unsure else ""
        return (
            f"At most {counted(kept.at_most, 'poison')} {is_or_are(kept.at_most)} left among the {self.kept:,} kept "
            f"pairs ({level}), and at most {counted(removed.at_most, 'clean pair')} among the {self.removed:,} removed "
            f"({level}); from {counted(self.drawn, 'random pair')}, {looked:,} looked at{unsure}.",
            f"Best guess: {_guess(kept, 'poison')}, and {_guess(removed, 'clean pair')}; in brackets the {level} "
            "intervals.",
        )

    def needed_sentence(self, targets: tuple[int, ...] = TARGETS) -> str:
        """Return how many more reviews would allow to promise each of ``targets``."""
        parts = []
        for most in targets:
            count = self.needed(most)
            if count is None:
                parts.append(f"at most {most:,}: no number, too many are unsure or poisons")
            else:
                parts.append(f"at most {most:,}: {f'{count:,} more' if count else 'can be said now'}")
        return "Reviews to say how many poisons are left, if none is found: " + "; ".join(parts) + "."

    @property
    def moved_sentence(self) -> str:
        """What it means that pairs have moved since; empty where none has."""
        if not self.moved:
            return ""
        return (
            f"{counted(self.moved, 'pair')} {has_or_have(self.moved)} changed sides since the sample was drawn: the "
            "numbers are about the split of then, with your decisions since. Draw a new sample to ask "
            "about the split of now."
        )

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        sides = {name: asdict(getattr(self.both_sides, name)) for name in ("kept", "removed")}
        return {
            "level": CONFIDENCE,
            "kept_pairs": self.kept,
            "removed_pairs": self.removed,
            **sides,
            "drawn": self.drawn,
            "pending": self.pending,
            "unsure": self.unsure,
            "moved": self.moved,
            "look": self.control.look,
            "reviews_needed": {str(most): self.needed(most) for most in TARGETS},
        }


def _check(count: int) -> None:
    if count < 1:
        raise ParameterError(f"a control sample of {count} pairs: give at least 1")


def _room(control: ControlSample) -> tuple[int, int]:
    """Return pairs of the pool that are not drawn, of the kept and of the removed side."""
    kept_room, removed = (
        sum(
            size - drawn
            for size, drawn, its in zip(control.sizes, control.drawn, control.side, strict=True)
            if its == side
        )
        for side in (KEPT, REMOVED)
    )
    return kept_room, removed


def _shared(total: int, kept_room: int, removed: int) -> tuple[int, int]:
    """Return how many of ``total`` to draw from either side, of which so many are there."""
    of_removed = min(round(total * OF_REMOVED), removed)
    of_kept = min(total - of_removed, kept_room)
    return of_kept, min(total - of_kept, removed)


def _guess(left: Left, word: str) -> str:
    bounds = f"({left.low:,} to {left.high:,})"
    if left.point is None:
        return f"none yet for {word}s {bounds}, too few are looked at"
    return f"{counted(round(left.point), word)} {bounds}"
