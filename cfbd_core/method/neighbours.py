"""The pairs nearest to one pair, by caption or by image: what a reviewer compares it with."""

from __future__ import annotations

import numpy as np

from cfbd_core.method.scores import Rows, gather, products_with, shards_of, unit_rows


def nearest_rows(embeddings: Rows, row: int, count: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """Rows int64 (m,) of the at most ``count`` embeddings with the largest cosine to that of ``row``, nearest first.

    The row itself is left out, and so are rows without an embedding and those where ``allowed`` bool (N,) is False.
    Of equal ones the first. ``embeddings`` (N, d) is one array or shards.
    """
    shards = shards_of(embeddings)
    others = np.ones(sum(map(len, shards)), bool) if allowed is None else allowed.copy()
    others[row] = False
    return nearest_to(shards, gather(shards, np.array([row]))[0], count, others)


def nearest_to(
    embeddings: Rows, vector: np.ndarray, count: int, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Rows as :func:`nearest_rows` gives them, of those nearest to ``vector`` (d,); none for a vector of zeros."""
    return nearest_of(cosines_to(embeddings, vector), count, allowed)


def cosines_to(embeddings: Rows, vector: np.ndarray) -> np.ndarray:
    """Cosine of each of the ``embeddings`` (N, d) to ``vector`` (d,), float32 (N,); −inf where there is none."""
    shards = shards_of(embeddings)
    query = unit_rows(np.asarray(vector, np.float32)[None])[0]
    if not np.isfinite(query).all():
        return np.full(sum(map(len, shards)), -np.inf, np.float32)
    cosines: np.ndarray = np.nan_to_num(products_with(shards, query), nan=-np.inf)
    return cosines


def nearest_of(cosines: np.ndarray, count: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """Places int64 (m,) of the at most ``count`` largest ``cosines`` (N,) where ``allowed`` (N,), largest first."""
    if allowed is not None:
        cosines = np.where(allowed, cosines, np.float32(-np.inf))
    return largest(cosines, min(count, int((cosines > -np.inf).sum())))


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places int64 (m,) of the at most ``count`` largest of ``values`` (n,), falling; of equal ones the first."""
    if count <= 0 or not len(values):
        return np.empty(0, np.int64)
    count = min(count, len(values))
    least = np.partition(values, len(values) - count)[len(values) - count]
    enough = np.flatnonzero(values >= least)
    return enough[np.argsort(-values[enough], kind="stable")][:count]


def highest(positions: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the at most ``most`` of the ascending positions (m,) with the highest of ``values`` (n,), and the rest.

    Both ascend; positions whose value is NaN come last, of equal ones the first is chosen.
    """
    if len(positions) <= most:
        return positions, np.zeros(0, np.int64)
    chosen = np.zeros(len(positions), bool)
    chosen[largest(np.nan_to_num(values[positions], nan=-np.inf), most)] = True
    return positions[chosen], positions[~chosen]
