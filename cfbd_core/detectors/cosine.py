"""The plain CLIP score: how little image and caption agree."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.method.scores import NORMAL_MAD, unit_rows

CHUNK_ROWS = 2**14


class CosineSimilarity(Detector):
    """The negated cosine of image and caption embedding, as data sets are commonly filtered (CLIP score).

    The cosine is ⟨I, T⟩ unrectified, so that mismatched pairs keep their order below 0. The literature filters at
    a fixed value that depends on the encoder (LAION: 0.28–0.3); the rule here goes by the data, and is the null
    rule of CFBD's fine stage: flagged = score > median + κ·1.4826·MAD over all scored pairs, κ = 5. Where the MAD
    is 0 nothing is flagged.

    ``info``: ``cut`` (None where there is none), ``median``, ``mad``.
    """

    name = "cosine"
    title = "Cosine similarity"
    source = "Hessel et al., CLIPScore, EMNLP 2021; as a filter: Schuhmann et al., LAION-400M, 2021"

    def __init__(self, kappa: float = 5.0) -> None:
        self.kappa = kappa

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by their cosine."""
        score = -pair_cosines(pairs)
        known = score[np.isfinite(score)].astype(np.float64)
        median = float(np.median(known)) if len(known) else 0.0
        mad = float(np.median(np.abs(known - median))) if len(known) else 0.0
        cut = median + self.kappa * NORMAL_MAD * mad if mad > 0 else np.inf
        info = {"cut": cut if np.isfinite(cut) else None, "median": median, "mad": mad}
        return Detection(score, score > cut, info)


def pair_cosines(pairs: Pairs) -> np.ndarray:
    """⟨I, T⟩ of every pair, float32 (N,); NaN where a pair has no score."""
    cosine = np.full(len(pairs.image), np.nan, np.float32)
    for start in range(0, len(cosine), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        cosine[rows] = np.einsum("ij,ij->i", unit_rows(pairs.image[rows]), unit_rows(pairs.text[rows]))
    cosine[~pairs.scored] = np.nan
    return cosine
