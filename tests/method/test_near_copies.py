"""Near duplicates: all pairs compared one by one; what the buckets miss stays within the bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.method import near_copies as near
from cfbd_core.method.near_copies import near_clusters


def literal(vectors: np.ndarray, threshold: float) -> list[int]:
    """The first member of each one's cluster, by walking from row to row."""
    unit = near.unit_rows(vectors)
    n, first = len(vectors), [-1] * len(vectors)
    for start in range(n):
        if first[start] >= 0:
            continue
        first[start], waiting = start, [start]
        while waiting:
            row = waiting.pop()
            for other in range(n):
                if first[other] < 0 and unit[row] @ unit[other] >= threshold:
                    first[other] = start
                    waiting.append(other)
    return first


def crowd(n: int, width: int, seed: int, cone: float = 0.0) -> np.ndarray:
    """Rows of which most have a near duplicate, at all distances; ``cone`` pulls all towards one direction."""
    rng = np.random.default_rng(seed)
    rows = near.unit_rows(rng.normal(size=(n // 2, width)))
    noise = rng.normal(size=rows.shape) / np.sqrt(width) * rng.uniform(0.05, 0.6, (len(rows), 1))
    every = np.concatenate([rows, rows + noise])
    every[:, 0] += cone
    return near.unit_rows(every).astype(np.float32)


@given(st.integers(2, 40), st.sampled_from([0.9, 0.97, 1.0]), st.integers(0, 10_000))
def test_exact_clusters_are_those_of_walking(n, threshold, seed) -> None:
    vectors = crowd(2 * (n // 2), 6, seed)
    vectors[-1] = vectors[0]
    if n > 8:
        vectors[3] = 0
        vectors[4, 2] = np.nan
    found = near_clusters(vectors, threshold)
    wanted = literal(vectors, threshold)
    if threshold < 1:  # at 1 rounding decides
        assert found.first_of.tolist() == wanted
    assert found.first_of[len(vectors) - 1] == 0


@pytest.mark.parametrize("cone", [0.0, 1.5])
@pytest.mark.parametrize("threshold", [0.95, 0.98])
def test_buckets_find_as_many_links_as_promised(cone: float, threshold: float) -> None:
    unit = crowd(4000, 64, 1, cone)
    every = {pair for one, other in near._all_links(unit, threshold) for pair in zip(one, other, strict=True)}
    met: set = set()
    for one, other in near._links(unit, threshold, 0.95, seed=0):
        met.update(zip(np.minimum(one, other), np.maximum(one, other), strict=True))
    assert len(every) > 300
    assert met <= every
    assert len(met) / len(every) >= 0.95


def test_large_buckets_are_compared_whole() -> None:
    rng = np.random.default_rng(0)
    centres = near.unit_rows(rng.normal(size=(8, 16)))
    vectors = near.unit_rows(np.repeat(centres, 150, axis=0) + 0.02 * rng.normal(size=(1200, 16)))
    found = near_clusters(vectors, 0.98, exact_up_to=0)
    assert found.sizes.tolist() == [150] * 8


def test_links_are_merged_in_parts_as_all_at_once(monkeypatch) -> None:
    vectors = crowd(600, 8, 2)
    whole = near_clusters(vectors, 0.95).numbers
    monkeypatch.setattr(near, "BLOCK_VALUES", 700)
    np.testing.assert_array_equal(near_clusters(vectors, 0.95).numbers, whole)


def test_half_precision_repeats_zeros_and_nothing() -> None:
    vectors = crowd(40, 8, 0).astype(np.float16)
    vectors[5:8], vectors[10:13] = vectors[5], 0
    found = near_clusters(vectors, 0.9999)
    assert (found.first_of[5:8] == 5).all()
    assert found.first_of[10:13].tolist() == [10, 11, 12]
    assert len(near_clusters(np.empty((0, 4), np.float16), 0.9)) == 0
    assert near_clusters(np.ones((1, 4)), 0.9, exact_up_to=0).numbers.tolist() == [0]
    assert len(near_clusters(np.zeros((3, 4)), 0.9)) == 3


def test_odd_requests_are_refused() -> None:
    for threshold in (0, 1.1, float("nan")):
        with pytest.raises(ParameterError, match="threshold"):
            near_clusters(np.ones((2, 2)), threshold)
    with pytest.raises(ParameterError, match="recall"):
        near_clusters(np.ones((2, 2)), 0.9, recall=1)
    with pytest.raises(ParameterError, match="too low"):
        near.tables_for(0.3, 1.0, 20, 0.95)
    assert near.tables_for(1.0, 1.0, 20, 0.95) == 1
