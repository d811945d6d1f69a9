"""Scores of pairs: how well image and caption agree, and how alike a caption is to those of D_p.

Eqs. 1–4 and 6 of the paper as docs/METHOD.md §1 fixes them. Embeddings may be float16 or float32; every
product is taken in float32 and divided by the real norms, which half precision leaves near 1. A
pair whose embedding is a row of zeros (an unreadable image) or not finite has no score: NaN.

Rows are reduced one by one with ``einsum``: unlike a BLAS product its result does not depend on
where a row stands, so equal pairs get equal scores and ties stay ties.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cfbd_core.method.cosines import half_cosines

CHUNK_VALUES = 2**20  # embedding values handled at a time: 4 MB in float32 stay in the cache
LEAST_COMPILED_ROWS = 2**17  # rows: with fewer, compiling takes longer than the work
NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution in units of its MAD
HUBER = 1.345  # the usual constant: 95 % efficiency on normal errors
ROBUST_STEPS = 20
SAMPLE_PAIRS = 2**14  # pairs that say what all captions, or images, have in common

Rows = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Scores of n pairs, each float32 (n,); NaN where a pair has none.

    ``s_o`` and ``s_g`` are the original and the generated similarity, both rectified (Eqs. 1–3),
    ``consistency`` is |s_g − s_o| (Eq. 4), ``residual`` ⟨I, T̂⟩ − ⟨I, T⟩, signed and unrectified,
    ``intra`` 1 − ⟨T̂, T⟩.
    """

    s_o: np.ndarray
    s_g: np.ndarray
    consistency: np.ndarray
    residual: np.ndarray
    intra: np.ndarray


def consistency_scores(image: np.ndarray, text: np.ndarray, synthetic: np.ndarray) -> Scores:
    """Score pairs from their embeddings I, T and the synthetic text embedding T̂ = F(I), each (n, d)."""
    n = len(image)
    columns = [np.empty(n, np.float32) for _ in range(5)]
    for rows in _chunks(n, image.shape[1]):
        i, t, synth = unit_rows(image[rows]), unit_rows(text[rows]), unit_rows(synthetic[rows])
        original, generated = _dots(i, t), _dots(i, synth)
        s_o, s_g = np.maximum(original, 0), np.maximum(generated, 0)
        values_of_columns = (s_o, s_g, np.abs(s_g - s_o), generated - original, 1 - _dots(synth, t))
        for column, values in zip(columns, values_of_columns, strict=True):
            column[rows] = values
    unscored = np.isnan(columns[-1]) | np.isnan(columns[0])
    for column in columns:
        column[unscored] = np.nan
    return Scores(*columns)


def textual_correlation(text: Rows, probe: np.ndarray) -> np.ndarray:
    """Mean cosine z (N,) float32 of every caption to the captions of D_p (Eq. 6).

    ``text`` holds the caption embeddings (N, d) as one array or as shards, memory maps included;
    ``probe`` (q,) the rows of D_p. A member of D_p leaves itself out, so with q = 1 its z is NaN.
    """
    shards = shards_of(text)
    members = unit_rows(gather(shards, probe))
    embedded = np.isfinite(members).all(1)
    q = int(embedded.sum())
    total = members[embedded].sum(0, dtype=np.float64)
    if q == 0:
        return np.full(sum(map(len, shards)), np.nan, np.float32)
    z = products_with(shards, (total / q).astype(np.float32))
    z[probe] = (members @ total - 1) / (q - 1) if q > 1 else np.nan
    return z


def products_with(embeddings: Rows, direction: np.ndarray) -> np.ndarray:
    """⟨row / ‖row‖, direction⟩ of every row of embeddings (N, d), float32 (N,); NaN for one that is not usable.

    ``direction`` float32 (d,): of unit length, these are cosines.
    """
    shards = shards_of(embeddings)
    products = np.full(sum(map(len, shards)), np.nan, np.float32)
    if len(products) >= LEAST_COMPILED_ROWS and all(shard.dtype == np.float16 for shard in shards):
        half_cosines(shards, direction, products)
        return products
    start = 0
    for shard in shards:
        for rows in _chunks(len(shard), shard.shape[1]):
            products[start + rows.start : start + rows.stop] = np.einsum(
                "ij,j->i", unit_rows(shard[rows]), direction
            )
        start += len(shard)
    return products


def calibrated_residual(s_g: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return what a pair's similarity lacks of the usual one at its s_g; float32 (n,), about 0 for benign pairs.

    T̂ has unit length however unsure F is of it, so ⟨I, T̂⟩ overstates what ⟨I, T⟩ should be. A line
    ⟨I, T⟩ ≈ a + b·s_g is fitted through the bulk (Huber's M-estimate, so a few per cent of poison do
    not tilt it); the result is a + b·s_g − ⟨I, T⟩. ``residual`` is the raw one; NaN stays NaN.
    """
    original = np.asarray(s_g, np.float64) - residual
    known = np.isfinite(original)
    x, y = np.asarray(s_g, np.float64)[known], original[known]
    calibrated = np.full(len(original), np.nan, np.float32)
    if not len(x):
        return calibrated
    weights, before = np.ones(len(x)), np.inf
    for _ in range(ROBUST_STEPS):
        centre, level = np.average(x, weights=weights), np.average(y, weights=weights)
        spread = weights @ (x - centre) ** 2
        slope = (weights * (x - centre)) @ (y - level) / spread if spread > 1e-12 * len(x) else 0.0
        error = level + slope * (x - centre) - y
        scale = NORMAL_MAD * np.median(np.abs(error))
        if scale == 0 or abs(scale - before) < 1e-4 * scale:
            break
        before = scale
        weights = np.minimum(1, HUBER * scale / np.maximum(np.abs(error), 1e-30))
    calibrated[known] = error
    return calibrated


def centred(vectors: np.ndarray) -> np.ndarray:
    """Unit-length float32 (n, d) of embeddings less the mean of all usable ones; unusable rows become 0."""
    unit = unit_rows(vectors)
    usable = np.isfinite(unit).all(1)
    if not usable.any():
        return np.zeros_like(unit)
    mean = unit[usable].mean(0, dtype=np.float64).astype(np.float32)
    rows: np.ndarray = np.nan_to_num(unit_rows(unit - mean), copy=False)
    return rows


def shards_of(rows: Rows) -> Sequence[np.ndarray]:
    """Return embeddings given as one array (N, d) or as shards of it, as shards."""
    return [rows] if isinstance(rows, np.ndarray) else rows


def gather(rows: Rows, at: np.ndarray) -> np.ndarray:
    """Return the rows ``at`` (m,) of embeddings in shards, float32 (m, d), in that order."""
    shards = shards_of(rows)
    ends = np.cumsum([len(shard) for shard in shards])
    at = np.asarray(at)
    gathered = np.empty((len(at), shards[0].shape[1]), np.float32)
    shard_of = np.searchsorted(ends, at, side="right")
    for number in np.unique(shard_of):
        mine = shard_of == number
        shard = shards[number]
        gathered[mine] = shard[at[mine] - (ends[number] - len(shard))]
    return gathered


class LazyRows(ABC):
    """Vectors as if they were one array (N, d), float32; an index makes what it asks for alone.

    ``rows`` int64 (N,) number them where they come from. ``numpy.asarray`` gives all, anew each time.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, d)."""

    @abstractmethod
    def made(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of ``rows`` (m,), float32 (m, d), in that order."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what an index gives."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """The vectors that a slice, numbers (m,) or a mask (N,) choose, float32 (m, d); one number: (d,)."""
        chosen = self.rows[key]
        vectors = self.made(np.atleast_1d(chosen))
        return vectors[0] if np.ndim(chosen) == 0 else vectors

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class JoinedRows(LazyRows):
    """The embeddings at ``rows`` of ``shards``."""

    def __init__(self, shards: Sequence[np.ndarray], rows: np.ndarray) -> None:
        super().__init__(rows)
        self.shards = shards

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return len(self), int(self.shards[0].shape[1])

    def made(self, rows: np.ndarray) -> np.ndarray:
        """Return the embeddings of ``rows`` (m,), float32 (m, d)."""
        return gather(self.shards, rows)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Unit-length float32 rows; a row that is all zeros or not finite becomes NaN."""
    rows = np.asarray(vectors, np.float32)
    norms = np.sqrt(_dots(rows, rows))
    usable = np.isfinite(norms) & (norms > 0)
    unit: np.ndarray = rows / np.where(usable, norms, np.nan)[:, None]
    return unit


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    dots: np.ndarray = np.einsum("ij,ij->i", a, b)
    return dots


def _chunks(n: int, width: int) -> Iterator[slice]:
    size = max(1, CHUNK_VALUES // max(1, width))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def common_direction(shards: Rows, rows: np.ndarray) -> np.ndarray:
    """Mean unit vector float32 (d,) of at most ``SAMPLE_PAIRS`` of the embeddings at ``rows`` (n,), evenly spaced."""
    at = rows[np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE_PAIRS, len(rows))).astype(np.int64))]
    unit = unit_rows(gather(shards, at))
    usable = np.isfinite(unit).all(1)
    mean = unit[usable].mean(0, dtype=np.float64) if usable.any() else np.zeros(unit.shape[1])
    direction: np.ndarray = mean.astype(np.float32)
    return direction
