"""CFBD with the captions' common direction taken out before they are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cfbd_core.detectors.base import Detection, Pairs
from cfbd_core.detectors.cfbd import Cfbd
from cfbd_core.method.scores import centred


class CfbdCentred(Cfbd):
    """Both stages as in :class:`Cfbd`, but z compares captions after their mean is subtracted.

    Not in the paper. Captions of one collection share a direction ("people outdoors"), so benign members of D_p
    lend benign captions a z that has nothing to do with poison; where most of D_p is benign (Table 5, 80 %) they
    outweigh the poisons. Without the mean, unrelated captions have cosines about 0 and only likeness counts.
    """

    name = "cfbd_centred"
    title = "CFBD, centred z"
    source = "this project: Eq. 6 on embeddings less their mean"

    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs by both stages, z from centred captions."""
        judged = np.where(pairs.scored[:, None], pairs.text, 0)  # others have no say in the mean
        return super().detect(replace(pairs, text=centred(judged)))
