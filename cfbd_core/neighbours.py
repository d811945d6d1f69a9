"""The pairs nearest to one pair, by caption or by image: what a reviewer compares it with."""

from __future__ import annotations

import numpy as np

from cfbd_core.scores import Rows, gather, shards_of, unit_rows

CHUNK = 1 << 16


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
    shards = shards_of(embeddings)
    query = unit_rows(np.asarray(vector, np.float32)[None])[0]
    if not np.isfinite(query).all():
        return np.empty(0, np.int64)
    cosine = np.full(sum(map(len, shards)), -np.inf, np.float32)
    start = 0
    for shard in shards:
        for first in range(0, len(shard), CHUNK):
            part = np.asarray(shard[first : first + CHUNK], np.float32)
            with np.errstate(invalid="ignore", divide="ignore"):
                found = (part @ query) / np.sqrt(np.einsum("ij,ij->i", part, part))
            cosine[start + first : start + first + len(part)] = np.nan_to_num(found, nan=-np.inf)
        start += len(shard)
    if allowed is not None:
        cosine[~allowed] = -np.inf
    count = min(count, int((cosine > -np.inf).sum()))
    if count <= 0:
        return np.empty(0, np.int64)
    least = np.partition(cosine, len(cosine) - count)[len(cosine) - count]
    near = np.flatnonzero(cosine >= least)
    return near[np.argsort(-cosine[near], kind="stable")][:count]
