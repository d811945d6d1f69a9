"""CFBD without its fine stage."""

from __future__ import annotations

import numpy as np

from cfbd_core.config import SplitParams
from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.detectors.cfbd import subset_counts
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.method.split import POISONED, SUSPICIOUS, coarse_split


class CoarseOnly(Detector):
    """The coarse stage alone: only D_b is kept (paper §2.2, its "coarse" rows and curves).

    The score is the consistency c = |s_g − s_o| (Eq. 4). Flagged is everything outside D_b = {c ≤ μ + Φ⁻¹(γ)·σ}
    of the mixture's component with the smallest mean: about 1 − γ of the benign bulk, and more where the bulk
    takes several components. Defaults: K = 5, γ = 0.90.

    ``info``: ``mixture``, ``cut``, ``counts`` of the subsets. Raises as :class:`Cfbd` does.
    """

    name = "coarse"
    title = "Coarse only"
    source = "CFBD, coarse-to-fine backdoor detection: the paper that this project follows, §2.2"

    def __init__(self, params: SplitParams | None = None) -> None:
        self.params = params or SplitParams()

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by their consistency."""
        params, consistency = self.params, pairs.scores.consistency
        mixture = fit_mixture(consistency, params.k, seed=pairs.seed)
        coarse = coarse_split(
            consistency,
            mixture,
            params.gamma,
            params.q,
            params.rule,
            keys_of=pairs.keys_at,
        )
        return Detection(
            score=consistency.astype(np.float32),
            flagged=np.isin(coarse.subset, (POISONED, SUSPICIOUS)),
            info={
                "mixture": mixture.to_dict(),
                "cut": coarse.cut,
                "counts": subset_counts(coarse.subset),
                "warnings": list(coarse.warnings),
            },
        )
