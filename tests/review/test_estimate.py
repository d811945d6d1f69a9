"""The estimate: bounds as exact as written out, right in at least 95 % of many audits, narrowing as answers come."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.method.intervals import clopper_pearson, least_hits, most_hits
from cfbd_core.review import draw_control, estimate, extended, reviews_needed
from cfbd_core.review.control import JudgedPairs
from cfbd_core.review.estimate import allowed_error
from cfbd_core.store.columns import KEEP, REMOVE

UNSURE = 3


def literal_most(hits: int, n: int, pool: int, tail: float) -> int:
    """The largest number for which as few hits are likelier than ``tail``, each tried and counted."""

    def chance(inside: int) -> float:
        ways = sum(comb(inside, k) * comb(pool - inside, n - k) for k in range(hits + 1))
        return ways / comb(pool, n)

    return max(inside for inside in range(hits, pool - (n - hits) + 1) if chance(inside) > tail)


CASES = st.integers(1, 40).flatmap(
    lambda pool: st.integers(0, pool).flatmap(
        lambda n: st.tuples(st.integers(0, n), st.just(n), st.just(pool))
    )
)


@settings(max_examples=200)  # each takes no time, and rare cases matter
@given(CASES, st.sampled_from([0.00501, 0.02493, 0.09871]))
def test_bounds_of_a_pool_are_those_counted_out(case, tail) -> None:
    hits, n, pool = case
    assert most_hits(hits, n, pool, tail) == literal_most(hits, n, pool, tail)
    assert least_hits(hits, n, pool, tail) == pool - literal_most(n - hits, n, pool, tail)


def test_bounds_of_a_large_pool_are_clopper_and_pearsons() -> None:
    low, high = clopper_pearson(4, 200)
    assert most_hits(4, 200, 3_000_000, 0.025) == pytest.approx(3_000_000 * high, rel=1e-3)
    assert least_hits(4, 200, 3_000_000, 0.025) == pytest.approx(3_000_000 * low, rel=1e-3)
    assert most_hits(4, 200, 200, 1e-6) == least_hits(4, 200, 200, 1e-6) == 4
    with pytest.raises(ValueError, match="no share"):
        most_hits(3, 2, 10, 0.05)


def answered(truth: np.ndarray, decisions: np.ndarray, at: np.ndarray) -> np.ndarray:
    decisions = decisions.copy()
    decisions[at] = np.where(truth[at], REMOVE, KEEP)
    return decisions


def world(seed: int, n: int = 3000, poisons: int = 40, told: float = 1.0):
    """Truth bool (n,), z, verdict: ``told`` is how far z tells poisons."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, bool)
    truth[rng.choice(n, poisons, replace=False)] = True
    z = (rng.normal(size=n) + told * truth).astype(np.float32)
    return truth, z, z > np.quantile(z, 0.985)


@pytest.mark.parametrize(
    ("poisons", "told", "risky"),
    [(0, 0.0, 0), (3, 0.0, 0), (40, 1.0, 0), (40, 1.0, 200), (300, 0.5, 100), (300, 2.0, 300)],
)
def test_bounds_hold_in_at_least_95_percent_of_audits(poisons: int, told: float, risky: int) -> None:
    """Before and after the draw pairs are also decided because they look risky: that must not matter."""
    wrong = np.zeros(4)
    seeds = 400
    for seed in range(seeds):
        truth, z, removed = world(seed, poisons=poisons, told=told)
        order = np.argsort(-z)
        decisions = answered(truth, np.zeros(len(z), np.int8), order[:risky])
        control = draw_control(JudgedPairs(z, removed, decisions), kept_size=60, removed_size=15, seed=seed)
        decisions = answered(truth, decisions, order[risky : 2 * risky])
        decisions = answered(truth, decisions, control.order)
        found = estimate(control, decisions)
        kept = int((truth & ~removed & (decisions == 0)).sum())
        clean = int((~truth & removed & (decisions == 0)).sum())
        wrong += [
            not found.kept.low <= kept <= found.kept.high,
            kept > found.kept.at_most,
            not found.removed.low <= clean <= found.removed.high,
            clean > found.removed.at_most,
        ]
    assert (wrong / seeds <= 0.05).all(), wrong / seeds


@pytest.mark.slow
def test_looking_again_and_again_stays_within_the_error() -> None:
    """Someone extends the sample until the bound suits: it is wrong in 5 % of audits at most all the same."""
    wrong = 0
    for seed in range(200):
        truth, z, removed = world(seed, n=1500, poisons=60, told=0.0)
        decisions = np.zeros(len(z), np.int8)
        control = draw_control(JudgedPairs(z, removed, decisions), kept_size=30, removed_size=0, seed=seed)
        for _ in range(8):
            decisions = answered(truth, decisions, control.order)
            left = int((truth & ~removed & (decisions == 0)).sum())
            if estimate(control, decisions).kept.at_most < left:
                wrong += 1
                break
            control = extended(control, kept_more=30)
    assert wrong / 200 <= 0.05
    assert sum(allowed_error(0.95, look) for look in range(1, 5000)) == pytest.approx(0.05, rel=1e-3)


def test_the_point_estimate_is_right_on_average() -> None:
    points, lefts = [], []
    for seed in range(300):
        truth, z, removed = world(seed, poisons=200)
        control = draw_control(JudgedPairs(z, removed, np.zeros(len(z), np.int8)), kept_size=100, seed=seed)
        decisions = answered(truth, np.zeros(len(z), np.int8), control.order)
        points.append(estimate(control, decisions).kept.point)
        lefts.append((truth & ~removed & (decisions == 0)).sum())
    assert np.mean(points) == pytest.approx(np.mean(lefts), rel=0.06)


def test_bounds_only_narrow_as_answers_come_in() -> None:
    truth, z, removed = world(1, poisons=200)
    decisions = np.zeros(len(z), np.int8)
    control = draw_control(JudgedPairs(z, removed, decisions))
    before = estimate(control, decisions)
    assert before.kept.point is None
    assert before.kept.pending == before.kept.drawn == 200
    for position in control.order:
        decisions = answered(truth, decisions, np.array([position]))
        now = estimate(control, decisions)
        for was, held in ((before.kept, now.kept), (before.removed, now.removed)):
            assert held.high <= was.high
            assert held.at_most <= was.at_most
            assert held.low + held.found >= was.low + was.found
        before = now
    assert before.kept.pending == 0


def test_unsure_ones_count_against_both_bounds() -> None:
    truth, z, removed = world(2, poisons=0)
    decisions = np.zeros(len(z), np.int8)
    control = draw_control(JudgedPairs(z, removed, decisions))
    decisions = answered(truth, decisions, control.order)
    certain = estimate(control, decisions).kept
    decisions[control.members[1][:3]] = UNSURE
    doubtful = estimate(control, decisions).kept
    assert (doubtful.unsure, doubtful.pending, doubtful.hits) == (3, 0, 0)
    assert doubtful.at_most > certain.at_most
    assert doubtful.low == certain.low == 0
    assert doubtful.point == 0


def test_a_pool_read_whole_is_known_exactly() -> None:
    truth, z, removed = world(3, n=400, poisons=30)
    decisions = np.zeros(len(z), np.int8)
    control = draw_control(JudgedPairs(z, removed, decisions), kept_size=10_000, removed_size=10_000)
    found = estimate(control, answered(truth, decisions, control.order))
    for side in (found.kept, found.removed):
        assert (side.point, side.low, side.high, side.at_most) == (0, 0, 0, 0)
        assert side.answered == side.drawn == side.pool
    assert found.kept.hits == found.kept.found == (truth & ~removed).sum()
    assert found.removed.found == (~truth & removed).sum()


def test_no_pairs_no_sample_no_truth() -> None:
    z, removed, decisions = np.zeros(10), np.zeros(10, bool), np.full(10, KEEP, np.int8)
    nothing = estimate(draw_control(JudgedPairs(z, removed, decisions)), decisions).kept
    assert (nothing.point, nothing.low, nothing.high, nothing.at_most, nothing.pool) == (0, 0, 0, 0, 0)
    undrawn = draw_control(JudgedPairs(z, removed, decisions * 0), kept_size=0, removed_size=0)
    left = estimate(undrawn, decisions * 0).kept
    assert (left.point, left.low, left.high) == (None, 0, 10)
    with pytest.raises(ParameterError, match="level"):
        estimate(undrawn, decisions, level=1.0)


@pytest.mark.parametrize("most", [0, 5, 40, 400, 5000])
def test_so_many_reviews_suffice_and_fewer_do_not(most: int) -> None:
    truth, z, removed = world(4, n=2000, poisons=0)
    decisions = np.zeros(len(z), np.int8)
    control = draw_control(JudgedPairs(z, removed, decisions), kept_size=40, removed_size=10)
    needed = reviews_needed(control, decisions, most)
    assert needed is not None

    kept = control.order[~removed[control.order]]

    def bound(looked: int) -> int:
        """After so many reviews, of the pairs drawn first."""
        larger = extended(control, kept_more=looked - 40) if looked > 40 else control
        seen = larger.order if looked > 40 else kept[:looked]
        return estimate(larger, answered(truth, decisions, seen)).kept.at_most

    assert bound(needed) <= most
    if needed:
        assert bound(needed - 1) > most


def test_reviews_needed_of_the_removed_and_where_none_suffice() -> None:
    truth, z, removed = world(5, n=2000)
    decisions = np.zeros(len(z), np.int8)
    control = draw_control(JudgedPairs(z, removed, decisions))
    all_of_them = reviews_needed(control, decisions, 0, removed=True)
    assert all_of_them == (removed & (control.stratum >= 0)).sum()
    settled = answered(truth, decisions, np.arange(len(z)))
    assert reviews_needed(control, settled, 0) == 0
    doubtful = settled.copy()
    doubtful[np.flatnonzero(~removed)[:4]] = UNSURE
    assert reviews_needed(control, doubtful, 3) is None
    assert reviews_needed(control, doubtful, 4) == 0
    with pytest.raises(ParameterError, match="0 or more"):
        reviews_needed(control, decisions, -1)
