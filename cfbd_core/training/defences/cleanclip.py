"""CleanCLIP: fine-tuning that also compares each modality with itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfbd_core.config import option
from cfbd_core.errors import ParameterError
from cfbd_core.method.clip_loss import clip_loss, in_modal_loss
from cfbd_core.training.defences.base import Defense, Loss, Step
from cfbd_core.training.defences.option_checks import check_weights

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.training.defences.base import Features


@dataclass(frozen=True)
class CleanClipOptions:
    """``clip_weight`` and ``in_modal_weight`` of the two losses, at least 0: λ₁ and λ₂ of the paper, both 1 there."""

    clip_weight: float = option(1.0, "of CLIP's loss: λ₁ of the paper")
    in_modal_weight: float = option(
        1.0, "of the loss that compares pictures with pictures, captions with captions: λ₂"
    )

    def __post_init__(self) -> None:
        check_weights("cleanclip", self, "clip_weight", "in_modal_weight")
        if self.clip_weight == self.in_modal_weight == 0:
            raise ParameterError("cleanclip: clip_weight 0 and in_modal_weight 0: give one of them above 0")


class CleanClip(Defense):
    """λ₁·L_CLIP + λ₂·(L_image + L_text) / 2, L_x the InfoNCE loss of the embeddings of x against those of its views.

    Of the batch's views the one of the same picture (caption) is to be found; not the other way round, and with
    CLIP's own temperature, as in the authors' code. They fine-tune on clean pairs (100 K of CC3M) for 10 epochs in
    batches of 64, with 50 steps of warm-up and a learning rate of 1e-5: those are the loop's options. Their views
    are AutoAugment's; ours are SimCLR's (:mod:`cfbd_core.training.defences.augment` says why), their captions EDA's
    as here.
    """

    name = "cleanclip"
    title = "CleanCLIP"
    summary = "Fine-tune with a second loss that compares pictures with pictures and captions with captions"
    source = (
        "Bansal et al.: CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning, "
        "ICCV 2023, arXiv 2303.03323"
    )
    options = CleanClipOptions
    views = True

    def loss(self, features: Features, logit_scale: Tensor, step: Step) -> Loss:
        """CLIP's loss and the in-modal loss, weighted."""
        clip = clip_loss(features["image"], features["text"], logit_scale)
        in_modal = both_in_modal_losses(features, logit_scale)
        total = self.chosen.clip_weight * clip + self.chosen.in_modal_weight * in_modal
        return Loss(total, {"clip": clip.detach(), "in_modal": in_modal.detach()})


def both_in_modal_losses(features: Features, logit_scale: Tensor) -> Tensor:
    """Mean of the in-modal losses of pictures and captions."""
    return (
        in_modal_loss(features["image"], features["image_view"], logit_scale)
        + in_modal_loss(features["text"], features["text_view"], logit_scale)
    ) / 2
