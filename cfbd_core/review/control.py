"""The control sample: undecided pairs drawn at random, from which alone is estimated what the rest hides.

Pairs that were picked because they looked risky say nothing about those that were not. So at one moment the pairs
without a keep or remove are frozen as the *pool*, cut into strata (kept or removed, and by z), and of each stratum the
first few of a random order are drawn. Who decides on a drawn pair, when and why does not matter: it was drawn by
chance. What is kept of a sample (:func:`write_control`) is the pool's strata, how many were drawn, and the seed; who
was drawn follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.checked_files import load_arrays, report_damage
from cfbd_core.machine.files import report_in_one_line, written_beside
from cfbd_core.store.columns import KEEP, REMOVE

KEPT, REMOVED = 0, 1
TOP_SHARES = {KEPT: (0.05,), REMOVED: ()}  # of a side's pool by falling z: where the strata are cut
NOT_IN_POOL = -1
WAY_OUT = "delete it and draw a new control sample"
HEADERS, BYTES_A_PAIR = (
    1 << 16,
    17,
)  # at most, of a sample's file: row, stratum, and once more the row if drawn


@dataclass(frozen=True, eq=False)
class ControlSample:
    """A pool and what was drawn from it.

    ``stratum`` int8 (n,): each pair's stratum, −1 outside the pool; ``side`` (H,) is the stratum's ``KEPT`` or
    ``REMOVED``, ``drawn`` (H,) how many of it are in the sample. ``look`` counts from 1 how often a sample has been
    drawn or extended: each look at chance has to share the error that is allowed.
    """

    stratum: np.ndarray
    side: tuple[int, ...]
    drawn: tuple[int, ...]
    seed: int
    look: int = 1

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Pairs of the pool in each stratum, (H,)."""
        counts = np.bincount(self.stratum[self.stratum >= 0], minlength=len(self.side))
        return tuple(int(count) for count in counts)

    @cached_property
    def shuffled(self) -> tuple[np.ndarray, ...]:
        """All positions of each stratum, in the order of drawing."""
        return tuple(
            np.random.default_rng([self.seed, number]).permutation(np.flatnonzero(self.stratum == number))
            for number in range(len(self.side))
        )

    @cached_property
    def members(self) -> tuple[np.ndarray, ...]:
        """Positions drawn from each stratum, in the order of drawing."""
        return tuple(order[:count] for order, count in zip(self.shuffled, self.drawn, strict=True))

    def members_of(self, side: int) -> np.ndarray:
        """Positions drawn from all strata of ``KEPT`` or ``REMOVED``."""
        return _joined([part for part, its in zip(self.members, self.side, strict=True) if its == side])

    @cached_property
    def order(self) -> np.ndarray:
        """All positions drawn, (m,), shuffled: the order says nothing about z or the verdict."""
        every = _joined(self.members)
        shuffled: np.ndarray = np.random.default_rng([self.seed, len(self.side)]).permutation(every)
        return shuffled

    def pending(self, decisions: np.ndarray) -> np.ndarray:
        """Positions drawn that nobody has looked at yet (m,), in the order to show them."""
        waiting: np.ndarray = self.order[decisions[self.order] == 0]
        return waiting

    def strayed(self, removed: np.ndarray) -> int:
        """Return how many pairs of the pool have changed sides since: ``removed`` bool (n,) is the verdict now.

        Where they are many, the estimate is of sets that are no more; draw anew.
        """
        sides = np.array([*self.side, -1])[self.stratum]
        return int(np.count_nonzero((sides >= 0) & (sides != removed)))


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """Scored pairs: z (n,), the verdict ``removed`` bool (n,), ``decisions`` int8 (n,), places in ``DECISIONS``."""

    z: np.ndarray
    removed: np.ndarray
    decisions: np.ndarray


def draw_control(
    pairs: JudgedPairs,
    *,
    kept_size: int = 200,
    removed_size: int = 60,
    seed: int = 0,
    after: ControlSample | None = None,
) -> ControlSample:
    """Freeze the pairs without keep or remove as the pool, and draw from both sides.

    z makes the strata (NaN is lowest). A side is drawn from in proportion to
    the square roots of its strata's sizes, which with nothing found gives the least bound. ``after`` is the sample
    before this one: its looks count on. Raises ParameterError for a size below 0.
    """
    if kept_size < 0 or removed_size < 0:
        raise ParameterError(f"a control sample of {min(kept_size, removed_size)} pairs: give 0 or more")
    z, removed, decisions = pairs.z, pairs.removed, pairs.decisions
    pool = (decisions != KEEP) & (decisions != REMOVE)
    stratum = np.full(len(z), NOT_IN_POOL, np.int8)
    sides: list[int] = []
    drawn: list[int] = []
    for side, size in ((KEPT, kept_size), (REMOVED, removed_size)):
        mine = np.flatnonzero(pool & (removed == (side == REMOVED)))
        falling = mine[np.argsort(-np.nan_to_num(z[mine], nan=-np.inf), kind="stable")]
        cuts = [round(share * len(mine)) for share in TOP_SHARES[side]]
        parts = [part for part in np.split(falling, cuts) if len(part)]
        for part in parts:
            stratum[part] = len(sides)
            sides.append(side)
        drawn += allocated([len(part) for part in parts], size)
    return ControlSample(stratum, tuple(sides), tuple(drawn), seed, 1 + (after.look if after else 0))


def extended(control: ControlSample, kept_more: int = 0, removed_more: int = 0) -> ControlSample:
    """Draw more from the same pool; what was drawn stays. Raises ParameterError for less than 0."""
    if kept_more < 0 or removed_more < 0:
        raise ParameterError("a control sample can only grow; draw a new one")
    drawn = list(control.drawn)
    for side, more in ((KEPT, kept_more), (REMOVED, removed_more)):
        mine = [number for number, its in enumerate(control.side) if its == side]
        counts = [drawn[number] for number in mine]
        grown = allocated([control.sizes[number] for number in mine], sum(counts) + more, counts)
        for number, count in zip(mine, grown, strict=True):
            drawn[number] = count
    larger = replace(control, drawn=tuple(drawn), look=control.look + 1)
    for name in ("shuffled", "sizes"):  # of the pool, and so the same; what has been worked out goes along
        if name in vars(control):
            vars(larger)[name] = vars(control)[name]
    return larger


def allocated(sizes: list[int], total: int, least: list[int] | None = None) -> list[int]:
    """Share ``total`` draws over strata in proportion to √size: at least ``least`` of each, at most its size.

    They sum to ``total``, or to all there are; ``least`` may ask for no more than that.
    """
    floor = np.array(least if least else [0] * len(sizes), np.int64)
    most, roots = np.array(sizes, np.int64), np.sqrt(np.array(sizes, np.float64))
    total = min(total, int(most.sum()))

    def at(level: float) -> np.ndarray:
        return np.clip(np.floor(level * roots).astype(np.int64), floor, most)

    low, high = 0.0, float(roots.max(initial=0.0)) + 1
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() <= total else (low, middle)
    given = at(low)
    while given.sum() < total:
        open_ones = np.flatnonzero(given < most)
        given[open_ones[np.argmin((given[open_ones] + 0.5) / roots[open_ones])]] += 1
    return [int(count) for count in given]


def write_control(path: Path, control: ControlSample, rows: np.ndarray) -> None:
    """Keep a sample in a file; ``rows`` int64 (n,) are the pairs' rows in the audit, which outlive a new scoring."""
    inside = control.stratum >= 0
    with report_in_one_line(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside, beside.open("wb") as file:
            np.savez_compressed(
                file,
                rows=rows[inside],
                members=rows[_joined(control.members)],
                stratum=control.stratum[inside],
                side=np.array(control.side, np.int8),
                drawn=np.array(control.drawn, np.int64),
                about=np.array([control.seed, control.look], np.int64),
            )


def read_control(path: Path, rows: np.ndarray) -> ControlSample | None:
    """Read the sample of the audit whose pairs are at ``rows`` int64 (n,), ascending; None where there is none.

    Raises AuditError: damaged, or of other pairs than these.
    """
    arrays = {
        "rows": ("i8", (None,)),
        "members": ("i8", (None,)),
        "stratum": ("i1", (None,)),
        "side": ("i1", (None,)),
        "drawn": ("i8", (None,)),
        "about": ("i8", (2,)),
    }
    if not path.exists():
        return None
    with report_damage(path, WAY_OUT):
        control = _control(load_arrays(path, HEADERS + BYTES_A_PAIR * len(rows), arrays), rows)
    if control is None:
        raise AuditError(
            f"{path}: drawn from other pairs than the audit holds; delete it and draw a new sample"
        )
    return control


def _control(columns: dict[str, np.ndarray], rows: np.ndarray) -> ControlSample | None:
    """Return the sample in these arrays; None where its pairs are not at ``rows``. Raises ValueError: damaged."""
    side, drawn = (tuple(int(value) for value in columns[name]) for name in ("side", "drawn"))
    seed, look = (int(value) for value in columns["about"])
    strata = columns["stratum"]
    sizes = np.bincount(strata[strata >= 0], minlength=len(side))
    if len(strata) != len(columns["rows"]) or len(sizes) != len(side) or (strata < 0).any():
        raise ValueError("its strata are not those of its pairs")
    if len(drawn) != len(side) or any(not 0 <= n <= size for n, size in zip(drawn, sizes, strict=True)):
        raise ValueError("more is drawn than there is")
    if not set(side) <= {KEPT, REMOVED} or seed < 0 or look < 1:
        raise ValueError("its sides, seed or count of looks")
    at = np.minimum(np.searchsorted(rows, columns["rows"]), max(len(rows) - 1, 0))
    if not len(rows) or not (rows[at] == columns["rows"]).all() or not (np.diff(at) > 0).all():
        return None
    stratum = np.full(len(rows), NOT_IN_POOL, np.int8)
    stratum[at] = strata
    control = ControlSample(stratum, side, drawn, seed, look)
    return control if np.array_equal(rows[_joined(control.members)], columns["members"]) else None


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    whole: np.ndarray = np.concatenate([np.empty(0, np.int64), *parts])
    return whole
