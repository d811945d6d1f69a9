"""Nearest pairs against a literal search."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.method import scores
from cfbd_core.method.neighbours import nearest_rows


def literal(vectors: np.ndarray, row: int, count: int, allowed: np.ndarray) -> list[int]:
    found = []
    for other, vector in enumerate(vectors):
        if other != row and allowed[other] and vector.any():
            cosine = vector @ vectors[row] / np.linalg.norm(vector) / np.linalg.norm(vectors[row])
            found.append((-round(float(cosine), 5), other))
    return [other for _, other in sorted(found)[:count]]


@given(st.integers(0, 1000), st.integers(0, 30), st.integers(0, 12), st.booleans())
def test_the_nearest_are_those_of_a_literal_search(seed, row, count, some) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(31, 6)).astype(np.float32)
    vectors[rng.integers(0, 31, 3)] = 0
    vectors[row] = rng.normal(size=6)
    allowed = rng.random(31) < 0.6 if some else np.ones(31, bool)
    shards = [vectors[:9], vectors[9:20], vectors[20:]]
    found = nearest_rows(shards, row, count, allowed if some else None)
    assert found.tolist() == literal(vectors, row, count, allowed)


def test_blocks_do_not_matter(monkeypatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    whole = nearest_rows(vectors, 7, 10)
    monkeypatch.setattr(scores, "CHUNK_VALUES", 12)
    assert nearest_rows(vectors, 7, 10).tolist() == whole.tolist()


def test_a_pair_without_an_embedding_has_no_neighbours() -> None:
    vectors = np.zeros((5, 4), np.float32)
    vectors[1:] = 1
    assert not len(nearest_rows(vectors, 0, 3))
