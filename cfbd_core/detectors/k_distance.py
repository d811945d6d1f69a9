"""The distance to the k-th nearest neighbour."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.neighbours import NeighbourDetector, Neighbourhoods


class KDistance(NeighbourDetector):
    """k-dist(x) = the distance δ_k(x) of a picture to its k-th nearest in the batch; k = 16, batch 2,048.

    Ramaswamy et al. 2000, as Huang et al. use it. Batches, captions that share a picture, and the verdict: see
    :class:`NeighbourDetector`.
    """

    name = "k_distance"
    title = "k-distance"
    source = "Ramaswamy et al., SIGMOD 2000; Huang et al., ICLR 2025, arXiv 2502.01385"

    def outlyingness(self, near: Neighbourhoods) -> np.ndarray:
        """δ_k(x), (m,)."""
        return near.k_distance
