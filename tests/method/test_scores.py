"""Scores against literal loops over the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.method.scores import calibrated_residual, consistency_scores, gather, textual_correlation


def embeddings(n: int, d: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def literal_scores(image: np.ndarray, text: np.ndarray, synthetic: np.ndarray) -> list[tuple[float, ...]]:
    found = []
    for i, t, t_hat in zip(image, text, synthetic, strict=True):
        s_o, s_g = max(cosine(i, t), 0.0), max(cosine(i, t_hat), 0.0)
        found.append((s_o, s_g, abs(s_g - s_o), cosine(i, t_hat) - cosine(i, t), 1 - cosine(t_hat, t)))
    return found


def literal_correlation(text: np.ndarray, probe: list[int]) -> list[float]:
    z = []
    for u in range(len(text)):
        others = [j for j in probe if j != u]
        z.append(float(np.mean([cosine(text[u], text[j]) for j in others])) if others else float("nan"))
    return z


@given(n=st.integers(1, 30), d=st.integers(1, 20), seed=st.integers(0, 99), half=st.booleans())
def test_scores_are_the_formulas(n: int, d: int, seed: int, half: bool) -> None:
    dtype = np.float16 if half else np.float32
    image, text, synthetic = (embeddings(n, d, 3 * seed + i, dtype) for i in range(3))
    scores = consistency_scores(image, text, synthetic)
    found = np.stack([scores.s_o, scores.s_g, scores.consistency, scores.residual, scores.intra], axis=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, literal_scores(image, text, synthetic), atol=2e-6)


@given(n=st.integers(2, 40), q=st.integers(1, 12), seed=st.integers(0, 99), cut=st.integers(0, 40))
def test_correlation_is_the_mean_cosine_without_oneself(n: int, q: int, seed: int, cut: int) -> None:
    # Norms that are not 1: z divides by the real ones.
    text = embeddings(n, 7, seed) * np.random.default_rng(seed).uniform(0.5, 2, (n, 1)).astype(np.float32)
    probe = np.random.default_rng(seed).permutation(n)[: min(q, n)]
    expected = literal_correlation(text, probe.tolist())
    np.testing.assert_allclose(textual_correlation(text, probe), expected, atol=2e-6)
    shards = [text[: min(cut, n)], text[min(cut, n) :]]
    np.testing.assert_array_equal(textual_correlation(shards, probe), textual_correlation(text, probe))


def test_rows_across_chunks_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    image, text, synthetic = (embeddings(500, 24, seed, np.float16) for seed in range(3))
    probe = np.arange(3, 60, 4)
    whole, z = consistency_scores(image, text, synthetic), textual_correlation(text, probe)
    order = np.random.default_rng(0).permutation(500)
    monkeypatch.setattr("cfbd_core.method.scores.CHUNK_VALUES", 24 * 7)
    shuffled = consistency_scores(image[order], text[order], synthetic[order])
    np.testing.assert_array_equal(shuffled.consistency, whole.consistency[order])
    np.testing.assert_array_equal(textual_correlation(text[order], np.argsort(order)[probe]), z[order])


def test_unreadable_rows_have_no_score_and_no_part_in_z() -> None:
    image, text, synthetic = (embeddings(6, 8, seed) for seed in range(3))
    image[1], text[2], text[3, 0] = 0, 0, np.nan
    text[4] = np.inf
    scores = consistency_scores(image, text, synthetic)
    for column in (scores.s_o, scores.s_g, scores.consistency, scores.residual, scores.intra):
        assert np.isnan(column).tolist() == [False, True, True, True, True, False]
    z = textual_correlation(text, np.array([0, 2, 5]))
    assert np.isnan(z).tolist() == [False, False, True, True, True, False]
    np.testing.assert_allclose(
        z[[0, 1, 5]], np.array(literal_correlation(text[[0, 1, 5]], [0, 2])), atol=1e-6
    )


def test_one_member_has_no_z() -> None:
    z = textual_correlation(embeddings(5, 8, 0), np.array([2]))
    assert np.isnan(z).tolist() == [False, False, True, False, False]
    assert np.isnan(textual_correlation(np.zeros((3, 4), np.float16), np.array([0, 1]))).all()


def test_gather_reads_rows_in_the_order_asked_for() -> None:
    rows = embeddings(20, 3, 0)
    at = np.array([19, 0, 7, 7, 8, 3])
    np.testing.assert_array_equal(gather([rows[:8], rows[8:8], rows[8:19], rows[19:]], at), rows[at])


def test_calibrated_residual_centres_the_bulk_and_keeps_outliers() -> None:
    rng = np.random.default_rng(0)
    s_g = rng.uniform(0.4, 0.9, 2000).astype(np.float32)
    original = 0.1 + 0.6 * s_g + rng.normal(0, 0.02, 2000).astype(np.float32)
    original[:40] -= 0.5  # 2 % of mismatched pairs
    residual = s_g - original
    residual[50] = np.nan
    calibrated = calibrated_residual(s_g, residual)
    assert np.isnan(calibrated).nonzero()[0].tolist() == [50]
    bulk = np.delete(calibrated, np.r_[:40, 50])
    assert abs(np.median(bulk)) < 0.003
    assert abs(np.corrcoef(bulk, np.delete(s_g, np.r_[:40, 50]))[0, 1]) < 0.05
    assert calibrated[:40].min() > 10 * bulk.std()


def test_calibrated_residual_of_nothing_and_of_equal_values() -> None:
    assert calibrated_residual(np.empty(0, np.float32), np.empty(0, np.float32)).shape == (0,)
    np.testing.assert_allclose(
        calibrated_residual(np.full(9, 0.5, np.float32), np.full(9, 0.1, np.float32)), 0, atol=1e-6
    )
