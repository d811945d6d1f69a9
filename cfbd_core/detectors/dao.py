"""Dimensionality-aware outlier detection."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.neighbours import NeighbourDetector, Neighbourhoods

MOST_DIMENSIONS = 1000.0


class Dao(NeighbourDetector):
    """DAO(x) = mean over the k nearest o of (δ_k(x) / δ_k(o))^LID(o); k = 16, batch 2,048.

    SLOF's ratio of distances becomes one of densities by the local intrinsic dimensionality, estimated by maximum
    likelihood (Amsaleg et al. 2015): LID(o) = −1 / mean over i ≤ k of log(δ_i(o) / δ_k(o)). Where all δ_i are
    nearly equal that has no bound, and 1,000 is taken.

    Anderberg et al. 2024, as Huang et al. use it. The score is log DAO, which ranks the same and stays within
    float32. (Their code averages the logarithms, LID(o)·log(δ_k(x) / δ_k(o)), instead of the powers.) Batches,
    captions that share a picture, and the verdict: see :class:`NeighbourDetector`.
    """

    name = "dao"
    title = "DAO"
    source = "Anderberg et al., SDM 2024, arXiv 2401.05453; Huang et al., ICLR 2025, arXiv 2502.01385"

    def outlyingness(self, near: Neighbourhoods) -> np.ndarray:
        """Log DAO(x), (m,)."""
        own, dimensions = near.k_distance, intrinsic_dimensionality(near)
        powers = dimensions[near.index] * np.log(own[:, None] / own[near.index])
        largest = powers.max(axis=1, keepdims=True)
        score: np.ndarray = largest[:, 0] + np.log(np.exp(powers - largest).mean(axis=1))
        return score


def intrinsic_dimensionality(near: Neighbourhoods) -> np.ndarray:
    """LID of each point, (m,), by maximum likelihood from its k distances; at most 1,000."""
    mean = -np.log(near.distance / near.k_distance[:, None]).mean(axis=1)
    dimensions: np.ndarray = 1 / np.maximum(mean, 1 / MOST_DIMENSIONS)
    return dimensions
