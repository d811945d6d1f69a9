"""How many poisons the kept set still holds and how many clean pairs the removed one, with what certainty.

Only the control sample counts (:mod:`cfbd_core.review.control`). Each stratum has exact bounds on its hits
(Clopper & Pearson 1934, without replacement); they hold together by Bonferroni: a stratum that was not read whole
gets an equal share of the error allowed. What people have found in the pool since, by whatever way, is taken off.
A pair that was drawn and is not answered (not looked at, or unsure) counts as a hit in every upper bound and as none
in the lower. So bounds only narrow as answers come in, and may be watched; what looks at more pairs than were first
drawn (an extension, a new sample) is a new look, and the looks share the error: 4/5 of it for the first,
1/5 · 1/(k − 1)k for the k-th. People are taken to be right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.intervals import least_hits, most_hits
from cfbd_core.review.control import KEPT, REMOVED, ControlSample, extended
from cfbd_core.store.columns import DECISIONS, KEEP, REMOVE

CONFIDENCE = 0.95
UNSURE = DECISIONS.index("unsure")
HIT = {
    KEPT: REMOVE,
    REMOVED: KEEP,
}  # the decision that overrules a side: a poison among the kept, a clean pair removed


@dataclass(frozen=True)
class Left:
    """What is left in one side's pool after people's decisions.

    ``point`` is the estimate, None before an answer from every stratum; ``low`` and ``high`` the interval at the level
    asked for, ``at_most`` the one-sided bound at that level. ``drawn`` pairs are in the sample, of which ``answered``
    have a keep or remove, ``unsure`` an unsure and ``hits`` were overruled. ``pool`` pairs were undecided when it was
    drawn; ``found`` of them have been overruled since, drawn or not, and are not left.
    """

    point: float | None
    low: int
    high: int
    at_most: int
    pool: int
    drawn: int
    answered: int
    unsure: int
    hits: int
    found: int

    @property
    def pending(self) -> int:
        """Pairs drawn that nobody has looked at."""
        return self.drawn - self.answered - self.unsure


@dataclass(frozen=True)
class Estimate:
    """Poisons left in the kept set, clean pairs left in the removed one; each holds at ``level`` by itself."""

    kept: Left
    removed: Left
    level: float


def estimate(control: ControlSample, decisions: np.ndarray, level: float = CONFIDENCE) -> Estimate:
    """Estimate what is left from ``control`` and the ``decisions`` int8 (n,) so far.

    Raises ParameterError: a level outside (0, 1).
    """
    return Estimate(_left(control, decisions, KEPT, level), _left(control, decisions, REMOVED, level), level)


def allowed_error(level: float, look: int) -> float:
    """The chance of a wrong bound that the look with this number, counted from 1, may have; all sum to 1 − level."""
    if not 0 < level < 1:
        raise ParameterError(f"level {level}: give one between 0 and 1, e.g. 0.95")
    return (1 - level) * (0.8 if look == 1 else 0.2 / ((look - 1) * look))


def reviews_needed(
    control: ControlSample,
    decisions: np.ndarray,
    most: int,
    *,
    removed: bool = False,
    level: float = CONFIDENCE,
) -> int | None:
    """Return how many more control pairs have to be looked at to say "at most ``most`` are left" at ``level``.

    Of the kept side, or with ``removed`` of the removed one; pairs drawn but not looked at come first, in their order.
    It is the least there can be: every further answer is taken to confirm the verdict, and the sample to be extended
    once. None where even all pairs would not do: too many are unsure. Raises ParameterError as :func:`estimate` does,
    and for ``most`` below 0.
    """
    if most < 0:
        raise ParameterError(f"at most {most} left: give 0 or more")
    side = REMOVED if removed else KEPT

    def needed(more: int) -> int | None:
        larger = control if not more else extended(control, *((0, more) if removed else (more, 0)))
        drawn = larger.members_of(side)
        open_pairs = drawn[decisions[drawn] == 0]
        answered = decisions.copy()
        answered[open_pairs] = REMOVE + KEEP - HIT[side]
        return len(open_pairs) if _at_most(larger, answered, side, level) <= most else None

    if needed(0) is not None:
        return _of_the_drawn(control, decisions, most, side, level)
    mine = [number for number, its in enumerate(control.side) if its == side]
    low, high = 0, sum(control.sizes[number] - control.drawn[number] for number in mine)
    fewest = needed(high) if high else None
    while fewest is not None and high - low > 1:
        middle = (low + high) // 2
        fewer = needed(middle)
        low, high, fewest = (low, middle, fewer) if fewer is not None else (middle, high, fewest)
    return fewest


def _of_the_drawn(control: ControlSample, decisions: np.ndarray, most: int, side: int, level: float) -> int:
    """Return how many of the pairs drawn already have to be looked at, in their order, where all of them would do."""
    pending = control.pending(decisions)
    open_pairs = pending[np.isin(pending, control.members_of(side))]
    low, high = -1, len(open_pairs)
    while high - low > 1:
        middle = (low + high) // 2
        answered = decisions.copy()
        answered[open_pairs[:middle]] = REMOVE + KEEP - HIT[side]
        enough = _at_most(control, answered, side, level) <= most
        low, high = (low, middle) if enough else (middle, high)
    return high


def _at_most(control: ControlSample, decisions: np.ndarray, side: int, level: float) -> int:
    """``at_most`` of :func:`_left` alone, which is quicker."""
    hit, confirmed = HIT[side], REMOVE + KEEP - HIT[side]
    mine, error = _share_of_error(control, side, level)
    total = 0
    for number in mine:
        size, n, order = control.sizes[number], control.drawn[number], decisions[control.shuffled[number]]
        overruled, agreed = (int(np.count_nonzero(order == code)) for code in (hit, confirmed))
        misses = int(np.count_nonzero(order[:n] == confirmed))
        bound = most_hits(n - misses, n, size, error)
        total += min(max(bound - overruled, 0), size - overruled - agreed)
    return total


def _share_of_error(control: ControlSample, side: int, level: float) -> tuple[list[int], float]:
    """Return the strata of a side, and the error that each which is not read whole may have."""
    mine = [number for number, its in enumerate(control.side) if its == side]
    open_ones = sum(control.drawn[number] < control.sizes[number] for number in mine)
    return mine, allowed_error(level, control.look) / max(1, open_ones)


def _left(control: ControlSample, decisions: np.ndarray, side: int, level: float) -> Left:
    hit, confirmed = HIT[side], REMOVE + KEEP - HIT[side]
    mine, error = _share_of_error(control, side, level)
    point: float | None = 0.0
    at_most = _at_most(control, decisions, side, level)
    low = high = pool = drawn = answered = unsure = hits = overruled_pairs = 0
    for number in mine:
        size, n = control.sizes[number], control.drawn[number]
        in_pool, in_sample = decisions[control.stratum == number], decisions[control.members[number]]
        overruled, agreed = (int(np.count_nonzero(in_pool == code)) for code in (hit, confirmed))
        seen, misses = (int(np.count_nonzero(in_sample == code)) for code in (hit, confirmed))

        def left(
            hits_in_pool: float, overruled_pairs: int = overruled, still: int = size - overruled - agreed
        ) -> float:
            return min(max(hits_in_pool - overruled_pairs, 0), still)

        low += int(left(least_hits(seen, n, size, error / 2)))
        high += int(left(most_hits(n - misses, n, size, error / 2)))
        known = seen + misses
        point = None if point is None or not known else point + left(size * seen / known)
        pool += size
        drawn += n
        answered += known
        hits += seen
        overruled_pairs += overruled
        unsure += int(np.count_nonzero(in_sample == UNSURE))
    return Left(point, low, high, at_most, pool, drawn, answered, unsure, hits, overruled_pairs)
