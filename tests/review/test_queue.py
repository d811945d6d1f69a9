"""The queue: the three kinds by their shares, none twice, deterministic, and calm when nothing is left."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.review import Risk, Shares, draw_control, next_queue
from cfbd_core.review.control import JudgedPairs
from cfbd_core.review.queue import Candidates
from cfbd_core.store.columns import KEEP

N = 300


def made(seed: int = 0, learned: bool = True):
    rng = np.random.default_rng(seed)
    values, c = rng.random(N), rng.random(N).astype(np.float32)
    decisions = rng.choice(np.array([0, 1, 2, 3], np.int8), N, p=[0.7, 0.1, 0.1, 0.1])
    control = draw_control(
        JudgedPairs(values, values > 0.8, decisions), kept_size=40, removed_size=10, seed=seed
    )
    return Risk(values, learned, 30, 30), c, decisions, control


def test_each_kind_is_the_best_of_its_kind() -> None:
    risk, c, decisions, control = made()
    queue = next_queue(Candidates(risk, c, decisions), control, count=30)
    of_kind = {
        kind: queue.positions[[reason == kind for reason in queue.reasons]] for kind in set(queue.reasons)
    }
    assert set(of_kind) == {"riskiest", "undecidable", "control"}
    left = np.flatnonzero(decisions == 0)
    ranked = {
        "riskiest": left[np.argsort(-risk.values[left])],
        "undecidable": left[np.argsort(np.abs(risk.values[left] - 0.5))],
        "control": control.pending(decisions),
    }
    for kind, positions in of_kind.items():
        others = set(queue.positions) - set(positions)
        best = [position for position in ranked[kind] if position not in others or position in positions]
        assert best[: len(positions)] == positions.tolist()


def test_before_anything_is_learned_the_least_consistent_come_too() -> None:
    risk, c, decisions, control = made(learned=False)
    queue = next_queue(Candidates(risk, c, decisions), control, shares=Shares(0, 1, 0), count=5)
    left = np.flatnonzero(decisions == 0)
    assert queue.positions.tolist() == left[np.argsort(-c[left])][:5].tolist()
    assert set(queue.reasons) == {"least consistent"}


def test_kinds_come_by_their_shares() -> None:
    risk, c, decisions, control = made()
    counts = Counter()
    for seed in range(100):
        counts.update(next_queue(Candidates(risk, c, decisions), control, count=20, seed=seed).reasons)
    assert counts["riskiest"] / 2000 == pytest.approx(0.6, abs=0.05)
    assert counts["control"] / 2000 == pytest.approx(0.2, abs=0.04)


@given(st.integers(0, 5), st.integers(0, 400), st.booleans(), st.booleans())
def test_undecided_once_each_and_the_same_again(seed, count, learned, controlled) -> None:
    risk, c, decisions, control = made(seed, learned)
    risk.values[3] = np.nan
    given_control = control if controlled else None
    queue = next_queue(Candidates(risk, c, decisions), given_control, count=count, seed=seed)
    again = next_queue(Candidates(risk, c, decisions), given_control, count=count, seed=seed)
    np.testing.assert_array_equal(queue.positions, again.positions)
    assert queue.reasons == again.reasons
    assert len(queue) == len(queue.reasons) == len(set(queue.positions.tolist()))
    assert (decisions[queue.positions] == 0).all()
    left = np.flatnonzero((decisions == 0) & ~np.isnan(risk.values))
    at_least = min(count, len(left))
    assert at_least <= len(queue) <= count


def test_all_decided_is_an_empty_queue_and_odd_requests_are_refused() -> None:
    risk, c, decisions, control = made()
    queue = next_queue(Candidates(risk, c, np.full(N, KEEP, np.int8)), control)
    assert (queue.positions.dtype, len(queue), queue.reasons) == (np.int64, 0, [])
    with pytest.raises(ParameterError, match="0 or more"):
        next_queue(Candidates(risk, c, decisions), control, count=-1)
    for shares in ((0, 0, 0), (-1, 1, 1), (float("nan"), 1, 1)):
        with pytest.raises(ParameterError, match="shares"):
            Shares(*shares)
