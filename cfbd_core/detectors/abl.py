"""ABL as a detector: what a model learns first is suspicious."""

from __future__ import annotations

import numpy as np

from cfbd_core.detectors.base import Detection, Detector, Pairs
from cfbd_core.errors import ParameterError


class Abl(Detector):
    """The score is −mean loss of a pair over the first epochs of training on the very pairs; the lowest 1 % is flagged.

    After Li et al., whose first stage this is (:mod:`cfbd_core.training.defences.abl` records the losses), with CLIP's
    loss for the classifier's, as the paper's Table 3 has it. It trains nothing itself: ``pairs.losses`` comes from a
    run with ``--defense abl``, in its ``defense.npz``.

    ``info``: ``isolated`` the number of flagged pairs, ``unseen`` that of pairs with a score of their own but without a
    loss. Raises ParameterError where no losses are given.
    """

    name = "abl"
    title = "ABL"
    source = (
        "Li et al.: Anti-Backdoor Learning: Training Clean Models on Poisoned Data, NeurIPS 2021, "
        "arXiv 2110.11571"
    )
    trains = True

    def __init__(self, share: float = 0.01) -> None:
        self.share = share

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by their mean loss."""
        if pairs.losses is None:
            raise ParameterError(
                "ABL ranks pairs by their losses in training, and none are given; "
                "train on these pairs with `cfbd train --defense abl` first"
            )
        losses = np.where(pairs.scored, pairs.losses, np.nan)
        flagged = np.zeros(len(losses), bool)
        flagged[lowest(losses, self.share)] = True
        unseen = int((pairs.scored & ~np.isfinite(losses)).sum())
        return Detection(
            (-losses).astype(np.float32), flagged, {"isolated": int(flagged.sum()), "unseen": unseen}
        )


def lowest(mean_loss: np.ndarray, share: float) -> np.ndarray:
    """Return rows of the ``share`` of pairs with the lowest loss, at least one; NaN is never among them."""
    known = np.flatnonzero(np.isfinite(mean_loss))
    order = known[np.argsort(mean_loss[known], kind="stable")]
    return order[: max(1, round(share * len(known)))]
