"""One score's histogram, orders, areas and curves against slower ways to the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from cfbd_core.method.score_column import HISTOGRAM_BINS, ScoreColumn

ODD = st.sampled_from([math.nan, 0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1e-40, -1e-40])
VALUES = st.lists(ODD | st.floats(-1, 1, width=32), min_size=1, max_size=60).map(
    lambda values: np.array(values, np.float32)
)


def column(values: np.ndarray, truth: np.ndarray | None = None) -> ScoreColumn:
    values = np.asarray(values, np.float32)
    return ScoreColumn(values, np.full(len(values), -1, np.int8) if truth is None else truth)


def judged(seed: int = 0, n: int = 400, levels: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, some of them NaN, and a truth that they follow; a tenth of it unknown."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.2).astype(np.int8)
    values = np.round((rng.normal(size=n) + truth) * levels / 4) / levels
    values[rng.random(n) < 0.05] = np.nan
    truth[rng.random(n) < 0.1] = -1
    return values.astype(np.float32), truth


# --- histogram ---------------------------------------------------------------------------------------------


def test_counts_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    middles = (rng.integers(0, HISTOGRAM_BINS, 5000) + rng.uniform(0.1, 0.9, 5000)) / HISTOGRAM_BINS
    values = np.concatenate([[0, 1], middles]).astype(np.float32)
    found = column(values)
    counts, edges = np.histogram(values, HISTOGRAM_BINS)
    np.testing.assert_allclose(found.edges, edges)
    np.testing.assert_array_equal(found.histogram(np.zeros(len(values), np.int8), 1)[0], counts)


@given(values=VALUES)
def test_a_value_lies_between_the_edges_of_its_bin(values: np.ndarray) -> None:
    found = column(values)
    rounding = 1e-4 * (found.edges[1] - found.edges[0])
    for value, place in zip(values.tolist(), found.bins.tolist(), strict=True):
        if math.isnan(value):
            assert place == HISTOGRAM_BINS
        else:
            assert found.edges[place] - rounding <= value <= found.edges[place + 1] + rounding


@given(values=VALUES, data=st.data())
def test_groups_are_counted_bin_by_bin(values: np.ndarray, data: st.DataObject) -> None:
    n, found = len(values), column(values)
    group = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int8)
    expected = np.zeros((3, HISTOGRAM_BINS), int)
    for place, number in zip(found.bins.tolist(), group.tolist(), strict=True):
        if place < HISTOGRAM_BINS and number >= 0:
            expected[number, place] += 1
    np.testing.assert_array_equal(found.histogram(group, 3), expected)


def test_pairs_at_positions_are_counted() -> None:
    found = column(np.array([0.0, 1.0, np.nan, 1.0, 0.5], np.float32))
    counts = found.histogram_of(np.array([1, 2, 3]))
    assert (counts[-1], counts.sum(), len(counts)) == (2, 2, HISTOGRAM_BINS)


@pytest.mark.parametrize("value", [0.3, 0.0, -1.0])
def test_equal_values_share_one_bin_in_the_middle(value: float) -> None:
    counts = column(np.full(9, value)).histogram(np.zeros(9, np.int8), 1)[0]
    assert counts[HISTOGRAM_BINS // 2 - 1 : HISTOGRAM_BINS // 2 + 1].sum() == counts.sum() == 9


def test_a_range_too_narrow_for_single_precision_is_one_value() -> None:
    found = column(np.array([0.0, 1e-40, np.nan], np.float32))
    counts = found.histogram(np.zeros(3, np.int8), 1)[0]
    assert counts.max() == counts.sum() == 2


def test_nothing_but_nan_has_empty_bins() -> None:
    found = column(np.full(4, np.nan))
    assert found.histogram(np.zeros(4, np.int8), 1).sum() == 0
    assert np.isfinite(found.edges).all()
    assert found.order.tolist() == found.rising.tolist() == [0, 1, 2, 3]


# --- order -------------------------------------------------------------------------------------------------


@settings(max_examples=150)  # each takes no time, and rare cases matter
@given(values=VALUES)
def test_orders_are_a_stable_sort_with_nan_last(values: np.ndarray) -> None:
    plain = values.tolist()
    rising = sorted(range(len(plain)), key=lambda at: (math.isnan(plain[at]), _or_zero(plain[at])))
    falling = sorted(range(len(plain)), key=lambda at: (math.isnan(plain[at]), -_or_zero(plain[at])))
    found = column(values)
    assert found.rising.tolist() == rising
    assert found.order.tolist() == falling


def test_a_nan_of_either_sign_is_last() -> None:
    values = np.array([np.nan, -np.nan, 0.5, -0.5], np.float32)
    values[1:2].view(np.uint32)[:] |= np.uint32(0x80000000)
    found = column(values)
    assert found.rising.tolist() == [3, 2, 0, 1]
    assert found.order.tolist() == [2, 3, 0, 1]


def test_orders_of_many_values() -> None:
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    np.testing.assert_array_equal(column(values).rising, np.argsort(values, kind="stable"))
    np.testing.assert_array_equal(column(values).order, np.argsort(-values, kind="stable"))


def test_what_was_asked_for_leaves_the_values_as_they_were() -> None:
    values, truth = judged()
    found, before = column(values, truth), values.copy()
    _ = found.bins, found.order, found.rising, found.roc, found.pr, found.areas
    np.testing.assert_array_equal(values, before)


# --- against the truth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    values, truth = judged(seed)
    known = (truth >= 0) & np.isfinite(values)
    auroc, auprc = column(values, truth).areas
    assert auroc == pytest.approx(roc_auc_score(truth[known], values[known]), abs=1e-12)
    assert auprc == pytest.approx(average_precision_score(truth[known], values[known]), abs=1e-12)


def test_curves_are_those_of_scikit_learn() -> None:
    values, truth = judged()
    known = (truth >= 0) & np.isfinite(values)
    found = column(values, truth)
    fpr, tpr, threshold = roc_curve(truth[known], values[known], drop_intermediate=False)
    np.testing.assert_allclose(found.roc["fpr"], fpr)
    np.testing.assert_allclose(found.roc["tpr"], tpr)
    np.testing.assert_allclose(found.roc["threshold"][1:], threshold[1:])
    precision, recall, threshold = precision_recall_curve(truth[known], values[known])
    np.testing.assert_allclose(found.pr["recall"], recall[::-1])
    np.testing.assert_allclose(found.pr["precision"], precision[::-1])
    np.testing.assert_allclose(found.pr["threshold"][1:], threshold[::-1])


@pytest.mark.parametrize("codes", [[1, 1, -1], [0, 0, -1], [-1, -1, -1]])
def test_with_one_class_there_is_nothing_to_draw(codes: list[int]) -> None:
    found = column(np.array([0.1, 0.2, 0.3]), np.array(codes, np.int8))
    assert found.areas is found.roc is found.pr is None


def test_the_only_scored_poison_being_nan_leaves_one_class() -> None:
    found = column(np.array([np.nan, 0.2, 0.3]), np.array([1, 0, 0], np.int8))
    assert found.areas is None


def test_equal_values_tell_nothing_apart() -> None:
    found = column(np.full(10, 0.4), np.array([1] * 3 + [0] * 7, np.int8))
    assert found.areas == pytest.approx((0.5, 0.3))


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
