"""SafeCLIP's division of the data into safe and risky pairs."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.detectors.cosine import pair_cosines
from cfbd_core.method.mixture import Mixture, fit_mixture


class SafeClip(Detector):
    """Two Gaussians are fitted to the cosine of image and caption; a pair is safe where the upper is certain.

    After Yang et al. (their division of the data, not their training): safe = posterior of the component with the
    larger mean > t, t = 0.9; flagged = not safe. They take the cosines of the model in training, after a
    warm-up of its own; here they are those of the clean encoder.

    The score is the log-odds log p(lower)/p(upper): it orders pairs as 1 − posterior does, but does not round to
    0 or 1, so that pairs far out are not ties. It is as published in this as well: where the lower component
    is the narrower, a very low cosine counts as safe again.

    ``info``: ``mixture``, ``safe`` the number of safe pairs. Raises ParameterError: under two pairs with a score,
    or all of one cosine.
    """

    name = "safeclip"
    title = "SafeCLIP posterior"
    source = "Yang, Gao, Mirzasoleiman: Better Safe than Sorry (SafeCLIP), ICML 2024, arXiv 2310.05862"

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = threshold

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by the posterior of their cosine."""
        cosine = pair_cosines(pairs)
        mixture = fit_mixture(cosine, 2, seed=pairs.seed)
        odds = log_odds_of_lower(cosine, mixture)
        safe = odds < np.log(1 / self.threshold - 1)
        info = {"mixture": mixture.to_dict(), "safe": int(safe.sum())}
        return Detection(odds.astype(np.float32), np.isfinite(odds) & ~safe, info)


def log_odds_of_lower(x: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Log-odds of the component with the smaller mean against the other, float64 (n,), at x (n,); NaN where x is."""
    lower, upper = (
        np.log(max(weight, 1e-300)) - np.log(sigma) - 0.5 * ((x.astype(np.float64) - mean) / sigma) ** 2
        for weight, mean, sigma in zip(mixture.weights, mixture.means, mixture.sigmas, strict=True)
    )
    odds: np.ndarray = lower - upper
    return odds
