"""The simplified local outlier factor."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.neighbours import NeighbourDetector, Neighbourhoods


class Slof(NeighbourDetector):
    """SLOF(x) = mean over the k nearest o of δ_k(x) / δ_k(o): sparser than its neighbours are; k = 16, batch 2,048.

    Schubert et al. 2014, as Huang et al. use it. (Their code takes the (k+1)-th distance of x and the k-th of o;
    both are the k-th here, as in the formula.) Batches, captions that share a picture, and the verdict: see
    :class:`NeighbourDetector`.
    """

    name = "slof"
    title = "SLOF"
    source = "Schubert, Zimek, Kriegel, DMKD 28, 2014; Huang et al., ICLR 2025, arXiv 2502.01385"

    def outlyingness(self, near: Neighbourhoods) -> np.ndarray:
        """SLOF(x), (m,)."""
        own = near.k_distance
        factor: np.ndarray = (own[:, None] / own[near.index]).mean(axis=1)
        return factor
