"""Neighbourhoods of pictures within random batches, which k-distance, SLOF and DAO share.

After Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining", ICLR 2025, arXiv
2502.01385 (code: HanxunH/Detect-CLIP-Backdoor-Samples): Euclidean distances between L2-normalised image
embeddings, k = 16, references are the other samples of a random batch of 2,048, which has the poison rate of the
whole. They use the encoder that was trained on the poisoned data; with a clean one the method has less to go by.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.method.scores import unit_rows

SMALLEST_DISTANCE = 1e-6  # a distance: below it pictures differ by rounding alone


@dataclass(frozen=True)
class Neighbourhoods:
    """The k nearest of each of m points: ``distance`` float64 (m, k), ascending, and ``index`` (m, k)."""

    distance: np.ndarray
    index: np.ndarray

    @property
    def k_distance(self) -> np.ndarray:
        """Distance to the k-th neighbour, (m,)."""
        farthest: np.ndarray = self.distance[:, -1]
        return farthest


class NeighbourDetector(Detector):
    """Scores a pair by how sparse its picture's neighbourhood is within a batch.

    Several captions of one picture are several pairs with one embedding. They count as one point: its copies, at
    distance 0, say nothing about how dense its surroundings are, and would make ratios of distances infinite.
    (The authors' data have one caption a picture.) Batches are still drawn from the pairs, so that a batch has
    their poison rate. Pairs are put in batches by key and seed, whatever their order, and N pairs make
    round(N / batch) batches that are equally large, so that none is sparse for being small. With fewer than k
    other pictures in a batch k is their number; with none the score is NaN.

    The method ranks and has no threshold of its own. Flagged are the ``share`` of scored pairs with the highest
    scores, 10 %, as one filters by it; those that tie at the cut are not. So as many are flagged on clean data.

    ``info``: ``cut``, ``batches``, ``k``.
    """

    def __init__(self, k: int = 16, batch: int = 2048, share: float = 0.10) -> None:
        self.k, self.batch, self.share = k, batch, share

    @abstractmethod
    def outlyingness(self, near: Neighbourhoods) -> np.ndarray:
        """Score m points, (m,), from their neighbourhoods; higher is sparser, never NaN or infinite."""

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs, a batch at a time."""
        score = np.full(len(pairs.image), np.nan, np.float32)
        batches = list(batches_of(np.flatnonzero(pairs.scored), pairs.keys, self.batch, pairs.seed))
        for rows in batches:
            points, point = distinct_rows(unit_rows(pairs.image[rows]))
            if len(points) > 1:
                score[rows] = self.outlyingness(nearest(points, self.k))[point]
        known = score[np.isfinite(score)]
        cut = float(np.quantile(known, 1 - self.share)) if len(known) else None
        flagged = np.zeros(len(score), bool) if cut is None else score > cut
        return Detection(score, flagged, {"cut": cut, "batches": len(batches), "k": self.k})


def batches_of(rows: np.ndarray, keys: Sequence[str], size: int, seed: int) -> Iterator[np.ndarray]:
    """Split ``rows`` (n,) at random into round(n / size) equal parts, at least one; none where there are no rows."""
    if not len(rows):
        return
    by_key = np.array(sorted(rows.tolist(), key=lambda row: keys[row]))
    shuffled = np.random.default_rng(seed).permutation(by_key)
    yield from np.array_split(shuffled, max(1, round(len(rows) / size)))


def distinct_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows of (n, d), in order of first appearance, and for each of the n the place of its own."""
    places: dict[bytes, int] = {}
    place = np.array([places.setdefault(row.tobytes(), len(places)) for row in vectors])
    first = np.unique(place, return_index=True)[1]
    return vectors[first], place


def nearest(points: np.ndarray, k: int) -> Neighbourhoods:
    """Return the k nearest others of each of m ≥ 2 unit points float32 (m, d); k is at most m − 1.

    The product finds them; their distances are then taken from differences, since 2 − 2⟨a, b⟩ loses half the
    digits of a small distance. Distances are at least 1e-6.
    """
    k = min(k, len(points) - 1)
    similarity = points @ points.T
    np.fill_diagonal(similarity, -np.inf)
    index = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    distance, exact = np.empty(index.shape), points.astype(np.float64)
    for column in range(k):
        between = exact - exact[index[:, column]]
        distance[:, column] = np.sqrt(np.einsum("ij,ij->i", between, between))
    order = np.argsort(distance, axis=1, kind="stable")
    ascending = np.take_along_axis(distance, order, axis=1)
    return Neighbourhoods(np.maximum(ascending, SMALLEST_DISTANCE), np.take_along_axis(index, order, axis=1))
