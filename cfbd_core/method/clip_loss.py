"""CLIP's loss and the in-modal loss: InfoNCE between two sets of unit rows, the batch's others being the negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def clip_losses(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Each pair's part of CLIP's loss, (n,): the mean of picture-to-caption and caption-to-picture; rows (n, d)."""
    import torch
    from torch.nn.functional import cross_entropy

    logits = logit_scale * image @ text.T
    own = torch.arange(len(logits), device=logits.device)
    forth, back = (cross_entropy(side, own, reduction="none") for side in (logits, logits.T))
    return (forth + back) / 2


def clip_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's loss, a scalar."""
    return clip_losses(image, text, logit_scale).mean()


def places(mask: np.ndarray, device: torch.device) -> Tensor:
    """Where ``mask`` bool (n,) is true, int64 (m,), on a device that is not waited for, as it is by a mask there."""
    import torch

    return torch.from_numpy(np.flatnonzero(mask)).to(device, non_blocking=True)


def in_modal_loss(features: Tensor, views: Tensor, logit_scale: Tensor) -> Tensor:
    """InfoNCE of ``features`` (n, d) against their views, a scalar: each is to find its own view among all."""
    import torch
    from torch.nn.functional import cross_entropy

    logits = logit_scale * features @ views.T
    return cross_entropy(logits, torch.arange(len(logits), device=logits.device))
