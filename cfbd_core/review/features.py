"""What a pair looks like to the model that learns from the auditor: its scores, and where its embeddings lie.

Everything is linear in the unit-length embeddings, so a model's score of millions of pairs is one direction a tower
and one pass over the shards; no (n, features) array is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfbd_core.method.scores import NORMAL_MAD, Rows, gather, products_with, shards_of, unit_rows

AXES_A_TOWER = 32  # principal components of each tower
SAMPLE_PAIRS = 20_000  # pairs that centre, spread and components are taken from
CLIP_DEVIATIONS = 6.0  # robust standard deviations: what lies farther is an outlier, not a trend


@dataclass(frozen=True)
class Tower:
    """Embeddings of one side and their principal components.

    ``embeddings`` (N, d) or shards of it; ``rows`` int64 (n,) are the pairs' rows there. A unit-length embedding u
    has the coordinates (u − ``mean``) @ ``axes``, ``axes`` (d, p) being scaled so that a coordinate has a mean square
    of about 1.
    """

    embeddings: Rows
    rows: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def from_embeddings(cls, embeddings: Rows, rows: np.ndarray, usable: np.ndarray, seed: int = 0) -> Tower:
        """Find mean and components from at most ``SAMPLE_PAIRS`` of the pairs that ``usable`` bool (n,) marks."""
        chosen = rows[usable]
        if len(chosen) > SAMPLE_PAIRS:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, SAMPLE_PAIRS, replace=False))
        unit = unit_rows(gather(embeddings, chosen)).astype(np.float64)
        unit = unit[np.isfinite(unit).all(1)]
        width = shards_of(embeddings)[0].shape[1]
        if len(unit) < 2:
            return cls(embeddings, rows, np.zeros(width), np.zeros((width, 0)))
        mean = unit.mean(0)
        values, vectors = np.linalg.eigh((unit - mean).T @ (unit - mean) / len(unit))
        count = min(AXES_A_TOWER, len(unit) - 1, width)
        spread = float(np.sqrt(max(values[-count:].mean(), 0)))
        axes = vectors[:, ::-1][:, :count] / spread if spread > 0 else np.zeros((width, 0))
        return cls(embeddings, rows, mean, axes)

    def coordinates(self, at: np.ndarray) -> np.ndarray:
        """Coordinates float64 (m, p) of the pairs at the positions ``at`` (m,); 0 without an embedding."""
        unit = unit_rows(gather(self.embeddings, self.rows[at])).astype(np.float64)
        coordinates: np.ndarray = np.nan_to_num((unit - self.mean) @ self.axes)
        return coordinates

    def along(self, weights: np.ndarray) -> np.ndarray:
        """Coordinates @ ``weights`` (p,) of every pair, float64 (n,); 0 without an embedding."""
        direction = self.axes @ weights
        cosines = products_with(self.embeddings, direction.astype(np.float32))[self.rows]
        values: np.ndarray = np.nan_to_num(cosines.astype(np.float64) - self.mean @ direction)
        return values


@dataclass(frozen=True)
class ReviewPairs:
    """n pairs as features: ``scores`` float32 (n, k), robustly standardised, then the coordinates of both towers.

    ``usable`` bool (n,): pairs that have a consistency score; the others are never ranked.
    """

    scores: np.ndarray
    usable: np.ndarray
    text: Tower
    image: Tower

    @classmethod
    def from_scores(
        cls, scores: np.ndarray, text: Rows, image: Rows, rows: np.ndarray | None = None, seed: int = 0
    ) -> ReviewPairs:
        """Make features of ``scores`` (n, k), e.g. z, c, residual, s_o, s_g and m, and embeddings at ``rows`` (n,).

        ``rows`` None: the pairs are all rows, in their order. A score of NaN counts as its column's median, and a
        pair without any finite score is not usable.
        """
        scores = np.asarray(scores, np.float32)
        rows = np.arange(len(scores)) if rows is None else rows
        usable = np.isfinite(scores).any(1)
        columns = np.column_stack([standardised(column) for column in scores.T])
        return cls(
            columns, usable, *(Tower.from_embeddings(side, rows, usable, seed) for side in (text, image))
        )

    def __len__(self) -> int:
        return len(self.usable)

    def of_pairs(self, at: np.ndarray) -> np.ndarray:
        """Features float64 (m, k + p + p′) of the pairs at the positions ``at`` (m,)."""
        return np.column_stack(
            [self.scores[at].astype(np.float64), self.text.coordinates(at), self.image.coordinates(at)]
        )

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Features @ ``weights`` (k + p + p′,) of every pair, float64 (n,)."""
        k, p = self.scores.shape[1], self.text.axes.shape[1]
        by_scores: np.ndarray = self.scores @ weights[:k]
        by_scores += self.text.along(weights[k : k + p])
        by_scores += self.image.along(weights[k + p :])
        return by_scores


def standardised(values: np.ndarray) -> np.ndarray:
    """(values − median) / (1.4826·MAD), clipped to ±6, float32 (n,); NaN becomes 0, as does a column that is constant.

    A column of which more than half is one value is divided by 1.2533 times its mean deviation.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return np.zeros(len(values), np.float32)
    centre = np.median(known)
    deviation = np.abs(known - centre)
    spread = NORMAL_MAD * np.median(deviation) or np.sqrt(np.pi / 2) * deviation.mean()
    if not spread > 0:
        return np.zeros(len(values), np.float32)
    scaled = np.clip((values.astype(np.float64) - centre) / spread, -CLIP_DEVIATIONS, CLIP_DEVIATIONS)
    finite: np.ndarray = np.nan_to_num(scaled).astype(np.float32)
    return finite
