"""CLIP's loss and nothing else: what a defence is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfbd_core.method.clip_loss import clip_loss
from cfbd_core.training.defences.base import Defense, Loss, Step

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.training.defences.base import Features


class Plain(Defense):
    """No defence while training: on all pairs the backdoor is learned, on kept ones it is the audit that defends."""

    name = "plain"
    title = "Plain"
    summary = "CLIP's own loss; what defends is the set that is trained on"
    source = (
        "Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021"
    )

    def loss(self, features: Features, logit_scale: Tensor, _step: Step) -> Loss:
        """CLIP's loss."""
        return Loss(clip_loss(features["image"], features["text"], logit_scale))
