"""The pairs that one person reviews, in order, and where they stand: a key costs the same however many there are."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from cfbd_core.workbench.decided_pairs import DecidedPairs

PAIRS_AT_FIRST = 256  # pairs looked through for an undecided one at first, then twice as many, and so on


@dataclass(eq=False)
class ReviewQueue:
    """``rows`` int64 (m,), none twice, of which the one at ``at`` is shown; ``reasons`` (m,) why each is here, or none.

    ``subject`` is what it was made of, ``note`` how it came about. ``made`` counts the decisions of this session,
    ``is_over`` says that none is left to decide. Rows, not positions: a new scoring may move those meanwhile.
    """

    subject: Hashable
    rows: np.ndarray
    reasons: Sequence[str] = ()
    note: str = ""
    at: int = 0
    made: int = 0
    is_over: bool = False
    began: float = field(default_factory=time.monotonic)
    _placed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @classmethod
    def begun(
        cls,
        subject: Hashable,
        pairs: DecidedPairs,
        positions: np.ndarray,
        reasons: Sequence[str] = (),
        note: str = "",
    ) -> ReviewQueue:
        """Return the pairs at ``positions`` (m,), at the first that is undecided, or the first of all."""
        queue = cls(subject, pairs.rows[positions], reasons, note)
        queue._placed = pairs.rows, positions, pairs.mask_of(positions)
        queue.at = queue._undecided(pairs, 0, len(queue)) or 0
        return queue

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def row(self) -> int:
        """The row of the pair that is shown."""
        return int(self.rows[self.at])

    def reason_of(self, row: int) -> str:
        """Why the pair at ``row`` is here; empty where nobody said why."""
        return self.reasons[int(np.flatnonzero(self.rows == row)[0])] if self.reasons else ""

    def position(self, pairs: DecidedPairs) -> int:
        """Return the position of the pair that is shown; −1 where it is no longer in the audit."""
        return int(self._places(pairs)[0][self.at])

    def decided(self, pairs: DecidedPairs) -> int:
        """How many are decided, by whomever: a look at one byte a pair of the audit, milliseconds for millions."""
        return int(np.count_nonzero((pairs.decisions > 0) & self._places(pairs)[1]))

    def go(self, step: int) -> None:
        """Go on or back by ``step`` pairs, decided or not; back from the end of the queue to the last one shown."""
        at = self.at if self.is_over and step < 0 else self.at + step
        self.at, self.is_over = max(0, min(at, len(self) - 1)), False

    def go_to(self, row: int) -> None:
        """Go to the pair at ``row``; one that is not in the queue, as it was of the one before, comes in here."""
        places = np.flatnonzero(self.rows == row)
        if len(places):
            self.at = int(places[0])
        else:
            self.rows = np.insert(self.rows, self.at, row)
            self.reasons = [*self.reasons[: self.at], "", *self.reasons[self.at :]] if self.reasons else ()
            self._placed = None
        self.is_over = False

    def go_on(self, pairs: DecidedPairs) -> None:
        """Go to the next undecided pair after this, else to the first of all; where none is left the queue is over."""
        next_place = next(self._next(pairs), None)
        self.at, self.is_over = (self.at, True) if next_place is None else (next_place, False)

    def following(self, pairs: DecidedPairs, most: int) -> list[int]:
        """Return the positions of the pairs that :meth:`go_on` would go to one after the other, at most so many."""
        return [int(self._places(pairs)[0][place]) for place in islice(self._next(pairs), most)]

    def _next(self, pairs: DecidedPairs) -> Iterator[int]:
        """Yield the places of the undecided pairs after this, then of those before it."""
        for start, stop in ((self.at + 1, len(self)), (0, self.at)):
            at = start
            while (place := self._undecided(pairs, at, stop)) is not None:
                yield place
                at = place + 1

    def _undecided(self, pairs: DecidedPairs, start: int, stop: int) -> int | None:
        """Return the first place from ``start`` and before ``stop`` whose pair is there and undecided."""
        positions, decisions, block = self._places(pairs)[0], pairs.decisions, PAIRS_AT_FIRST
        while start < stop:
            part = positions[start : min(start + block, stop)]
            places = np.flatnonzero((part >= 0) & (decisions[part] == 0))
            if len(places):
                return start + int(places[0])
            start, block = start + block, 2 * block
        return None

    def _places(self, pairs: DecidedPairs) -> tuple[np.ndarray, np.ndarray]:
        """Positions (m,), −1 for a pair that is gone, and which pairs of the audit are in the queue, bool (n,)."""
        if self._placed is None or self._placed[0] is not pairs.rows:  # else looked up: seconds for millions
            positions = pairs.positions_of(self.rows)
            self._placed = pairs.rows, positions, pairs.mask_of(positions)
        return self._placed[1:]
