"""Metrics against counting by hand and against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cfbd_core.method.metrics import detection_metrics, pr_curve, roc_curve


def pairwise_auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """The chance that a poison outranks a clean pair, ties counting half."""
    wins = [(p > c) + 0.5 * (p == c) for p in score[truth] for c in score[~truth]]
    return float(np.mean(wins))


def test_a_case_counted_by_hand() -> None:
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    flagged = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    consistency = np.array([0.9, 0.8, 0.2, 0.3, 0.1, 0.1, 0.0, 0.1])
    z = np.array([0.9, 0.8, 0.7, 0.75, 0.1, 0.2, 0.3, 0.0])
    in_benign = np.array([0, 0, 1, 0, 1, 1, 1, 1], bool)
    found = detection_metrics(truth, flagged, consistency, z, in_benign)
    assert found["poisons"] == 3
    assert found["tpr"] == pytest.approx(2 / 3)
    assert found["fpr"] == pytest.approx(1 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["auroc_z"] == pytest.approx(14 / 15)
    assert found["auprc_z"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["fpr_at_95_tpr"] == pytest.approx(1 / 5)
    assert found["tpr_at_0_1_fpr"] == found["tpr_at_1_fpr"] == pytest.approx(2 / 3)
    assert (found["poisons_in_benign"], found["poisons_kept"], found["benign_removed"]) == (1, 1, 1)


@given(n=st.integers(4, 60), levels=st.integers(2, 50), seed=st.integers(0, 99))
def test_rankings_match_counting_pairs(n: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, bool)
    truth[: rng.integers(1, n)] = True
    c, z = rng.integers(levels, size=(2, n)) / levels
    flagged = rng.random(n) < 0.5
    found = detection_metrics(truth, flagged, c, z)
    assert found["auroc_consistency"] == pytest.approx(pairwise_auroc(truth, c))
    assert found["auroc_z"] == pytest.approx(pairwise_auroc(truth, z))
    assert found["auprc_z"] == pytest.approx(average_precision_score(truth, z))
    assert found["auprc_consistency"] == pytest.approx(average_precision_score(truth, c))
    assert found["poisons_in_benign"] is None
    # kept + removed = all, on both sides of the truth
    assert found["poisons_kept"] + round(found["tpr"] * truth.sum()) == truth.sum()
    assert found["benign_removed"] + found["poisons"] - found["poisons_kept"] == flagged.sum()
    order = rng.permutation(n)
    assert detection_metrics(truth[order], flagged[order], c[order], z[order]) == pytest.approx(found)


@pytest.mark.parametrize("truth", [np.zeros(5, bool), np.ones(5, bool), np.zeros(0, bool)])
def test_what_is_not_defined_is_none(truth: np.ndarray) -> None:
    n = len(truth)
    found = detection_metrics(truth, np.zeros(n, bool), np.linspace(0, 1, n), np.linspace(0, 1, n))
    json.dumps(found, allow_nan=False)
    assert found["auroc_z"] is found["auprc_consistency"] is found["precision"] is None
    assert (found["tpr"] is None) == (not truth.any())
    assert roc_curve(truth, np.linspace(0, 1, n)) is pr_curve(truth, np.linspace(0, 1, n)) is None


def test_unscored_pairs_are_left_out_and_no_z_ranks_last() -> None:
    truth = np.array([1, 0, 0, 1, 0], bool)
    consistency = np.array([0.9, 0.1, 0.2, np.nan, np.nan])
    z = np.array([np.nan, 0.1, 0.2, 0.9, np.nan])
    found = detection_metrics(truth, np.array([0, 0, 1, 1, 1], bool), consistency, z)
    assert found["poisons"] == 1
    assert found["auroc_consistency"] == 1
    assert found["auroc_z"] == 0
    assert found["fpr"] == 0.5
    json.dumps(found, allow_nan=False)
    no_z = detection_metrics(truth[:3], np.zeros(3, bool), consistency[:3], np.full(3, np.nan))
    assert no_z["auroc_z"] == 0.5


def test_thinned_curves_keep_their_area_and_ends() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.02
    score = rng.normal(size=20_000) + 2 * truth
    roc, pr = roc_curve(truth, score, 200), pr_curve(truth, score, 200)
    assert roc is not None
    assert pr is not None
    assert len(roc["fpr"]) <= 200
    assert len(pr["recall"]) <= 200
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(roc_auc_score(truth, score), abs=0.002)
    area = np.trapezoid(pr["precision"], pr["recall"])
    assert area == pytest.approx(average_precision_score(truth, score), abs=0.01)
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert (pr["recall"][0], pr["recall"][-1], pr["precision"][0]) == (0, 1, 1)
    at = 100
    flagged = score >= roc["threshold"][at]
    assert roc["tpr"][at] == pytest.approx(flagged[truth].mean())
    assert roc["fpr"][at] == pytest.approx(flagged[~truth].mean())
    flagged = score >= pr["threshold"][at]
    assert pr["recall"][at] == pytest.approx(flagged[truth].mean())
    assert pr["precision"][at] == pytest.approx(truth[flagged].mean())
    for curve in (roc, pr):
        json.dumps(curve, allow_nan=False)
        assert len({len(column) for column in curve.values()}) == 1
