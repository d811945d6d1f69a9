"""What to look at next: the riskiest pairs, those that teach most, and the control sample, shuffled together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.neighbours import largest
from cfbd_core.review.control import ControlSample
from cfbd_core.review.learner import Risk

Reason = Literal["riskiest", "undecidable", "least consistent", "control"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Shares:
    """How much of the queue each kind gets; parts of any sum. ``teaching`` pairs are those that teach most."""

    riskiest: float = 0.6
    teaching: float = 0.2
    control: float = 0.2

    def __post_init__(self) -> None:
        parts = (self.riskiest, self.teaching, self.control)
        if not all(np.isfinite(part) and part >= 0 for part in parts) or not sum(parts) > 0:
            raise ParameterError(f"shares {parts}: give numbers of at least 0, not all 0")


@dataclass(frozen=True)
class Queue:
    """Positions int64 (m,) in the order to show them, and why each is there."""

    positions: np.ndarray
    reasons: list[Reason]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs to choose from: their risk, c (n,), and ``decisions`` int8 (n,), places in ``DECISIONS``."""

    risk: Risk
    consistency: np.ndarray
    decisions: np.ndarray


def next_queue(
    pairs: Candidates,
    control: ControlSample | None = None,
    *,
    count: int = 20,
    shares: Shares | None = None,
    seed: int = 0,
) -> Queue:
    """Choose at most ``count`` of the pairs that nobody has decided on, none twice.

    *Riskiest*: the largest ``risk``. *Undecidable*: its chance nearest to ½, what the model is least sure of. While
    nothing is learned yet, *least consistent* stands in for it: the largest c (n,), which finds poisons that z
    does not. *Control*: the next of ``control``. Kinds take turns at random by their ``shares``, by the seed and the
    number of decisions alone, so its place does not give the kind of a pair away; where a kind has none left the
    riskiest follow, then the rest of the control sample. Pairs without a risk come by ``control`` alone. Raises
    ParameterError: ``count`` below 0.
    """
    if count < 0:
        raise ParameterError(f"a queue of {count} pairs: give 0 or more")
    shares = shares or Shares()
    risk, consistency, decisions = pairs.risk, pairs.consistency, pairs.decisions
    open_ones = np.flatnonzero((decisions == 0) & ~np.isnan(risk.values))
    values = risk.values[open_ones]
    if risk.learned:
        teaching, name = -np.abs(values - 0.5), REASONS[1]
    else:
        teaching, name = np.nan_to_num(consistency[open_ones].astype(np.float64), nan=-np.inf), REASONS[2]
    control_pairs = np.empty(0, np.int64) if control is None else control.pending(decisions)
    kinds: dict[Reason, list[int]] = {
        "riskiest": open_ones[largest(values, 2 * count)].tolist(),
        name: open_ones[largest(teaching, 2 * count)].tolist(),
        "control": control_pairs.tolist(),
    }
    parts = np.array([shares.riskiest, shares.teaching, shares.control]) / sum(
        (shares.riskiest, shares.teaching, shares.control)
    )
    decided = int(np.count_nonzero(decisions))
    taken: dict[int, Reason] = {}
    for place in range(decided, decided + count):
        turn = int(np.random.default_rng([seed, place]).choice(3, p=parts))
        for kind in (list(kinds)[turn], "riskiest", "control"):
            next_position = next((position for position in kinds[kind] if position not in taken), None)
            if next_position is not None:
                taken[next_position] = kind
                break
    return Queue(np.array(list(taken), np.int64), list(taken.values()))
