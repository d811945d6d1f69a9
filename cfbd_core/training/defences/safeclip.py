"""SafeCLIP: only pairs whose picture and caption surely agree get CLIP's loss; the others learn side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cfbd_core.config import option
from cfbd_core.detectors.safeclip import log_odds_of_lower
from cfbd_core.errors import TrainingError
from cfbd_core.method.clip_loss import clip_loss, places
from cfbd_core.method.mixture import fit_mixture
from cfbd_core.training.defences.base import Defense, Embed, Loss, Step
from cfbd_core.training.defences.cleanclip import both_in_modal_losses
from cfbd_core.training.defences.option_checks import check_number, check_weights, check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.training.defences.base import Features


@dataclass(frozen=True)
class SafeClipOptions:
    """How pairs become safe.

    ``warmup_epochs`` of the in-modal loss alone, then ``clip_epochs`` with CLIP's loss at ``clip_weight`` beside it.
    Then a pair is safe where its posterior is above ``threshold``; each later epoch the safe share of the pairs
    grows by ``growth``, up to ``most``.
    """

    warmup_epochs: int = option(5, "epochs within each modality alone")
    clip_epochs: int = option(1, "epochs after them with a little of CLIP's loss")
    clip_weight: float = option(0.01, "how little: the weight of CLIP's loss in those epochs")
    threshold: float = option(0.9, "the posterior above which a pair is safe, the first time")
    growth: float = option(0.01, "by how much the safe share grows every later epoch")
    most: float = option(0.85, "the largest safe share")

    def __post_init__(self) -> None:
        check_whole("safeclip", self, 0, "warmup_epochs", "clip_epochs")
        check_weights("safeclip", self, "clip_weight")
        check_number(
            "safeclip", self, lambda share: 0 < share < 1, "a share above 0 and below 1", "threshold"
        )
        check_number("safeclip", self, lambda share: 0 <= share <= 1, "a share from 0 to 1", "growth")
        check_number("safeclip", self, lambda share: 0 < share <= 1, "a share above 0, at most 1", "most")


class SafeClip(Defense):
    """Warm-up within each modality, then L_CLIP(safe pairs) + L_in-modal(risky pairs), divided anew each epoch.

    The division: two Gaussians fitted to the cosines of image and caption by the model as it is; the first time a pair
    is safe where the posterior of the upper one is above 0.9, from then on the pairs with the largest posterior are,
    1 % of all more every epoch, up to 85 % (the authors' code).

    What is "-like": a batch holds both kinds, instead of a pass over the risky and one over the safe; their epoch
    of CLIP's loss at 1/100 of the learning rate is one of the in-modal loss with 1/100 of CLIP's, since the loop
    has one schedule (and AdamW would undo a mere scaling); their in-modal positives are a view's nearest
    neighbours in a pool, ours the view itself.
    """

    name = "safeclip"
    title = "SafeCLIP-like"
    summary = "Match only pictures and captions that surely agree; the others learn within their modality"
    source = (
        "Yang, Gao, Mirzasoleiman: Better Safe than Sorry: Pre-training CLIP against Targeted Data Poisoning "
        "and Backdoor Attacks, ICML 2024, arXiv 2310.05862"
    )
    options = SafeClipOptions
    views = True

    def __init__(self, options: Any, pairs: int, seed: int) -> None:
        super().__init__(options, pairs, seed)
        self._safe = np.zeros(pairs, bool)
        self._share: float | None = None  # None until the first division

    def check_length(self, epochs: int) -> None:
        """Raise TrainingError where the pairs are never divided, and so hardly any learns by CLIP's loss."""
        if self._warm >= epochs:
            raise TrainingError(
                f"safeclip divides pairs after {self._warm} epochs, and the run has {epochs}; give more --epochs or "
                "--steps, or fewer by its options warmup_epochs and clip_epochs"
            )

    def begin_epoch(self, epoch: int, _epochs: int, embed: Embed) -> None:
        """Divide the pairs, once warm."""
        if epoch >= self._warm:
            image, text = embed(np.arange(self.pairs))
            self._safe = self._divided(np.einsum("nd,nd->n", image, text))

    @property
    def _warm(self) -> int:
        return int(self.chosen.warmup_epochs + self.chosen.clip_epochs)

    def _divided(self, cosine: np.ndarray) -> np.ndarray:
        """Return which pairs are safe, bool (pairs,), by their cosines (pairs,)."""
        # Log-odds order as the posterior does, without its ties at 0 and 1.
        risk = log_odds_of_lower(cosine, fit_mixture(cosine, 2, seed=self.seed))
        if self._share is None:
            safe: np.ndarray = risk < np.log(1 / self.chosen.threshold - 1)
            self._share = float(safe.mean())
            return safe
        self._share = min(self._share + self.chosen.growth, self.chosen.most)
        safe = np.zeros(self.pairs, bool)
        safe[np.argsort(risk, kind="stable")[: int(self._share * self.pairs)]] = True
        return safe

    def loss(self, features: Features, logit_scale: Tensor, step: Step) -> Loss:
        """The in-modal loss while it warms up; then CLIP's of the safe pairs, and the in-modal one of the others."""
        import torch

        if step.epoch < self.chosen.warmup_epochs:
            in_modal = both_in_modal_losses(features, logit_scale)
            return Loss(in_modal, {"in_modal": in_modal.detach()})
        if step.epoch < self._warm:
            in_modal = both_in_modal_losses(features, logit_scale)
            clip = clip_loss(features["image"], features["text"], logit_scale)
            total = in_modal + self.chosen.clip_weight * clip
            return Loss(total, {"clip": clip.detach(), "in_modal": in_modal.detach()})
        is_safe = self._safe[step.rows]
        safe, risky = (places(mask, logit_scale.device) for mask in (is_safe, ~is_safe))
        parts = {}
        if len(safe):
            parts["clip"] = clip_loss(features["image"][safe], features["text"][safe], logit_scale)
        if len(risky):
            at_risk = {name: values[risky] for name, values in features.items()}
            parts["in_modal"] = both_in_modal_losses(at_risk, logit_scale)
        total = torch.stack(list(parts.values())).sum()
        figures = {name: part.detach() for name, part in parts.items()}
        return Loss(total, figures | {"safe": float(is_safe.mean(dtype=np.float32))})

    def state_dict(self) -> dict[str, Tensor]:
        """Return which pairs are safe, and the share that is (NaN before the first division)."""
        import torch

        share = float("nan") if self._share is None else self._share
        return {
            "safe": torch.from_numpy(self._safe),
            "share": torch.tensor(share, dtype=torch.float64),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        share = float(state["share"])
        self._safe, self._share = state["safe"].cpu().numpy(), None if math.isnan(share) else share

    def extras(self) -> dict[str, np.ndarray]:
        """Return the rows that were ``safe`` at last, int64."""
        return {"safe": np.flatnonzero(self._safe)}
