"""What nearly repeats among flagged pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cfbd_core.method.clusters import Clusters
from cfbd_core.method.near_copies import NEAR_CAPTION, NEAR_IMAGE, near_clusters
from cfbd_core.method.neighbours import highest
from cfbd_core.method.scores import gather
from cfbd_core.workbench.scored_pairs import ScoredPairs

MOST_COMPARED_PAIRS = 50_000  # pairs that are compared with each other, as many as are grouped


class NearCopies(NamedTuple):
    """Near duplicates among the pairs at ``positions`` int64 (m,), ascending: clusters over these.

    ``left_out`` pairs were too many to be compared, too.
    """

    positions: np.ndarray
    captions: Clusters
    images: Clusters
    left_out: int

    @property
    def limit(self) -> str:
        """Which of the pairs were compared, where that is not all of them; else empty."""
        compared = len(self.positions)
        flagged = compared + self.left_out
        return (
            f"Compared: the {compared:,} of {flagged:,} flagged with the highest z." if self.left_out else ""
        )


def near_copies(pairs: ScoredPairs, positions: np.ndarray, z: np.ndarray) -> NearCopies:
    """Compare pairs at ``positions`` int64 (m,), ascending; at most ``MOST_COMPARED_PAIRS``, of highest z (n,)."""
    positions, left_out = highest(positions, z, MOST_COMPARED_PAIRS)
    rows = pairs.rows[positions]
    captions = near_clusters(gather(pairs.texts, rows), NEAR_CAPTION)
    images = near_clusters(gather(pairs.images, rows), NEAR_IMAGE)
    return NearCopies(positions, captions, images, len(left_out))
