"""Learning from decisions: it ranks better than z, falls back to z, is calibrated and never foolish."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cfbd_core.method.metrics import areas_under
from cfbd_core.review import ReviewPairs, learn
from cfbd_core.review.learner import LEAST_DECISIONS_OF_EACH, _platt, _sigmoid
from cfbd_core.store.columns import KEEP, REMOVE
from tests.review.made import poisoned_pairs

UNSURE = 3


def decided(truth: np.ndarray, at: np.ndarray) -> np.ndarray:
    decisions = np.zeros(len(truth), np.int8)
    decisions[at] = np.where(truth[at], REMOVE, KEEP)
    return decisions


def test_what_is_left_is_ranked_better_than_by_z() -> None:
    pairs, truth, z, c = poisoned_pairs(poisons=60)
    decisions = decided(truth, np.argsort(-c)[:60])
    risk = learn(pairs, decisions, z)
    left = decisions == 0
    assert risk.learned
    assert risk.kept + risk.removed == 60
    assert areas_under(truth[left], risk.values[left])[1] > areas_under(truth[left], z[left])[1] + 0.2
    assert ((risk.values >= 0) & (risk.values <= 1)).all()


@pytest.mark.parametrize("poisons_seen", [0, LEAST_DECISIONS_OF_EACH - 1])
def test_too_few_of_a_kind_leave_the_order_of_z(poisons_seen: int) -> None:
    pairs, truth, z, _ = poisoned_pairs()
    z[7] = np.nan
    at = np.concatenate([np.flatnonzero(truth)[:poisons_seen], np.flatnonzero(~truth)[:50]])
    risk = learn(pairs, decided(truth, at), z)
    assert not risk.learned
    assert (risk.removed, risk.kept) == (poisons_seen, 50)
    assert risk.values[7] == -np.inf
    known = np.isfinite(z)
    np.testing.assert_array_equal(risk.values[known], z[known].astype(np.float64))
    assert "by z" in risk.sentence


def test_one_class_only_and_unsure_ones_teach_nothing() -> None:
    pairs, truth, z, _ = poisoned_pairs()
    every = np.full(len(truth), REMOVE, np.int8)
    assert not learn(pairs, every, z).learned
    decisions = decided(truth, np.argsort(-z)[:80])
    unsure = decisions.copy()
    unsure[np.flatnonzero(decisions == KEEP)] = UNSURE
    assert not learn(pairs, unsure, z).learned
    assert not learn(pairs, np.zeros(len(truth), np.int8), z).learned


def test_all_decided_and_none_usable_are_fine() -> None:
    pairs, truth, z, _ = poisoned_pairs()
    risk = learn(pairs, decided(truth, np.arange(len(truth))), z)
    assert risk.learned
    assert np.isfinite(risk.values).all()
    blank = ReviewPairs.from_scores(np.full((20, 2), np.nan), np.zeros((20, 4)), np.zeros((20, 4)))
    risk = learn(blank, np.array([KEEP, REMOVE] * 10, np.int8), np.full(20, np.nan))
    assert not risk.learned
    assert np.isnan(risk.values).all()


def test_a_pair_without_scores_has_no_risk() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 2)).astype(np.float32)
    scores[9] = np.nan
    text = rng.normal(size=(60, 8))
    decisions = decided(scores[:, 0] > 0, np.arange(40))
    decisions[9] = REMOVE
    risk = learn(ReviewPairs.from_scores(scores, text, text), decisions, scores[:, 0])
    assert risk.learned
    assert np.flatnonzero(np.isnan(risk.values)).tolist() == [9]


def test_the_same_arguments_give_the_same_values() -> None:
    pairs, truth, z, _ = poisoned_pairs(poisons=60)
    decisions = decided(truth, np.argsort(-z)[:150])
    np.testing.assert_array_equal(learn(pairs, decisions, z, 3).values, learn(pairs, decisions, z, 3).values)


def test_few_decisions_are_not_believed_too_far() -> None:
    """Noise alone: five of each must not make the model sure of anything."""
    rng = np.random.default_rng(0)
    pairs = ReviewPairs.from_scores(
        rng.normal(size=(2000, 6)), rng.normal(size=(2000, 64)), rng.normal(size=(2000, 64))
    )
    decisions = np.zeros(2000, np.int8)
    decisions[:5], decisions[5:10] = REMOVE, KEEP
    values = learn(pairs, decisions, np.zeros(2000)).values
    assert np.median(values) < 0.5
    assert values.max() < 0.9


def test_chances_are_calibrated() -> None:
    """Over many audits, of the undecided pairs with a chance about p a share of about p is poisoned."""
    told, held = np.zeros(2), np.zeros(2)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(3000, 3))
        truth = rng.random(3000) < _sigmoid(2 * scores[:, 0] + scores[:, 1] - 3.5)
        pairs = ReviewPairs.from_scores(scores, rng.normal(size=(3000, 8)), rng.normal(size=(3000, 8)))
        risky = np.argsort(-scores[:, 0])[:150]
        decisions = decided(truth, np.union1d(risky, rng.choice(3000, 250, replace=False)))
        values, left = learn(pairs, decisions, scores[:, 0], seed).values, decisions == 0
        for at, part in enumerate((left & (values < 0.3), left & (values >= 0.3))):
            told[at] += values[part].sum()
            held[at] += truth[part].sum()
    np.testing.assert_allclose(told, held, rtol=0.35)


def test_platt_finds_slope_and_offset_and_stays_finite_where_kinds_are_apart() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    slope, offset = _platt(logits, rng.random(20_000) < _sigmoid(0.5 * logits - 1))
    assert (slope, offset) == pytest.approx((0.5, -1), abs=0.1)
    apart = np.array([-1.0] * 10 + [1.0] * 10)
    slope, offset = _platt(apart, apart > 0)
    target = 11 / 12
    best = minimize_scalar(
        lambda a: np.logaddexp(0, a) - target * a, bounds=(0, 50), method="bounded"
    ).x  # the two sides are alike: one line is left
    assert slope == pytest.approx(best, rel=1e-3)
    assert offset == pytest.approx(0, abs=1e-3)
    slope, _ = _platt(-apart, apart > 0)
    assert slope > 0
