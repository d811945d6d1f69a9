"""Features: one direction a tower says the same as the features written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core import SplitParams
from cfbd_core.review import ReviewPairs, learn
from cfbd_core.review.features import CLIP_DEVIATIONS, standardised
from cfbd_core.workbench.explorer import Explorer
from tests.explored import scored_audit
from tests.review.made import poisoned_pairs


def test_a_models_score_is_features_times_weights() -> None:
    pairs, *_ = poisoned_pairs()
    features = pairs.of_pairs(np.arange(len(pairs)))
    weights = np.random.default_rng(1).normal(size=features.shape[1])
    np.testing.assert_allclose(pairs.times(weights), features @ weights, atol=2e-5)


def test_coordinates_are_principal_components_of_a_mean_square_of_one() -> None:
    pairs, *_ = poisoned_pairs()
    found = pairs.text.coordinates(np.arange(len(pairs)))
    covariance = found.T @ found / len(found)
    assert np.trace(covariance) / found.shape[1] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-6)
    assert (np.diff(np.diag(covariance)) <= 1e-9).all()


def test_shards_and_rows_with_gaps_give_the_same(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(80, 3)).astype(np.float32)
    text, image = (rng.normal(size=(80, 12)).astype(np.float16) for _ in range(2))
    plain = ReviewPairs.from_scores(scores, text, image)
    weights = rng.normal(size=plain.of_pairs(np.arange(1)).shape[1])
    rows = np.sort(rng.choice(120, 80, replace=False))
    wide = [np.zeros((120, 12), np.float16) for _ in range(2)]
    for whole, held in zip(wide, (text, image), strict=True):
        whole[rows] = held
    parts = [[side[:50], side[50:51], side[51:]] for side in wide]
    found = ReviewPairs.from_scores(scores, *parts, rows=rows).times(weights)
    np.testing.assert_allclose(found, plain.times(weights), atol=1e-6)
    monkeypatch.setattr("cfbd_core.method.scores.LEAST_COMPILED_ROWS", 1)
    np.testing.assert_allclose(
        ReviewPairs.from_scores(scores, *parts, rows=rows).times(weights), found, atol=1e-5
    )


def test_pairs_without_scores_or_embeddings_are_neutral() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 2)).astype(np.float32)
    scores[3], scores[4, 0] = np.nan, np.nan
    text = rng.normal(size=(40, 8)).astype(np.float16)
    text[5] = 0
    pairs = ReviewPairs.from_scores(scores, text, text)
    assert not pairs.usable[3]
    assert pairs.usable.sum() == 39
    assert (pairs.scores[3] == 0).all()
    assert pairs.scores[4, 0] == 0
    assert (pairs.of_pairs(np.array([5]))[0, 2:] == 0).all()
    assert np.isfinite(pairs.times(np.ones(2 + 8 + 8))).all()


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=50))
def test_standardised_is_centred_clipped_and_keeps_the_order(values) -> None:
    column = np.array(values, np.float32)
    found = standardised(column)
    assert found.shape == column.shape
    assert (np.abs(found) <= CLIP_DEVIATIONS).all()
    assert (found[np.isnan(column)] == 0).all()
    known = ~np.isnan(column)
    order = np.argsort(column[known], kind="stable")
    assert (np.diff(found[known][order]) >= 0).all()


def test_an_audits_features_are_its_scores_and_embeddings(tmp_path) -> None:
    explorer = Explorer(scored_audit(tmp_path / "made"))
    preview = explorer.preview(SplitParams(q=20))
    pairs = preview.review_pairs
    assert len(pairs) == len(explorer)
    np.testing.assert_array_equal(pairs.scores[:, 0], standardised(preview.z.values))
    np.testing.assert_array_equal(pairs.scores[:, 1], standardised(explorer.consistency))
    np.testing.assert_array_equal(pairs.scores[:, 5], standardised(explorer.consistency))  # scored_audit's m
    text = np.concatenate(list(explorer.texts))[explorer.rows]
    image = np.concatenate(list(explorer.audit.shards.images()))[explorer.rows]
    at = np.arange(0, len(pairs), 7)
    plain = ReviewPairs.from_scores(np.column_stack([preview.z.values] * 6), text, image)
    np.testing.assert_allclose(pairs.of_pairs(at)[:, 6:], plain.of_pairs(at)[:, 6:], atol=1e-6)
    risk = learn(pairs, explorer.decisions, preview.z.values)
    assert not risk.learned
