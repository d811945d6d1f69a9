"""The CLIP score as a detector."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.detectors import CosineSimilarity
from cfbd_core.detectors import cosine as module
from cfbd_core.detectors.cosine import pair_cosines
from tests.detectors.worlds import pairs_of, poisoned_world


def literal(image: np.ndarray, text: np.ndarray) -> list[float]:
    return [
        float(
            i.astype(float)
            @ t.astype(float)
            / np.linalg.norm(i.astype(float))
            / np.linalg.norm(t.astype(float))
        )
        for i, t in zip(image, text, strict=True)
    ]


@given(n=st.integers(1, 60), width=st.integers(2, 16), chunk=st.integers(1, 70), seed=st.integers(0, 99))
def test_cosines_are_unrectified_and_by_the_real_norms(n, width, chunk, seed):
    rng = np.random.default_rng(seed)
    image, text = rng.normal(size=(2, n, width)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_ROWS", chunk)
        found = pair_cosines(pairs_of(image, text))
    np.testing.assert_allclose(found, literal(image, text), atol=1e-6)


@given(n=st.integers(3, 200), kappa=st.floats(0.5, 8), seed=st.integers(0, 99))
def test_flagged_is_what_lies_kappa_deviations_above_the_median(n, kappa, seed):
    rng = np.random.default_rng(seed)
    image, text = rng.normal(size=(2, n, 8)).astype(np.float32)
    found = CosineSimilarity(kappa).detect(pairs_of(image, text))
    scores = [-value for value in literal(image, text)]
    median = statistics.median(scores)
    cut = median + kappa * 1.4826 * statistics.median(abs(score - median) for score in scores)
    assert found.info["cut"] == pytest.approx(cut, abs=1e-5)
    clear = np.abs(np.array(scores) - cut) > 1e-5
    np.testing.assert_array_equal(found.flagged[clear], (np.array(scores) > cut)[clear])


def test_pairs_that_point_apart_keep_their_order():
    image = np.tile([1, 0], (3, 1)).astype(np.float32)
    text = np.array([[-1, 1], [-1, 0], [1, 1]], np.float32)
    score = CosineSimilarity().detect(pairs_of(image, text)).score
    assert score[1] > score[0] > 0 > score[2]


def test_where_most_pairs_have_one_cosine_nothing_is_flagged():
    image = np.tile([1, 0], (9, 1)).astype(np.float32)
    text = image.copy()
    text[0] = [0, 1]
    found = CosineSimilarity().detect(pairs_of(image, text))
    assert found.info["cut"] is None
    assert not found.flagged.any()


def test_no_scored_pair_no_finding():
    nothing = np.zeros((4, 3), np.float32)
    found = CosineSimilarity().detect(pairs_of(nothing, nothing))
    assert np.isnan(found.score).all()
    assert not found.flagged.any()


def test_clean_pairs_are_left_alone():
    pairs, _ = poisoned_world(poisons=0)
    assert CosineSimilarity(kappa=8).detect(pairs).flagged.sum() <= 12
