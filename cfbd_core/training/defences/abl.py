"""ABL: what is learned first is isolated, and then unlearned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cfbd_core.config import option
from cfbd_core.detectors.abl import lowest
from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.method.clip_loss import clip_loss, clip_losses, places
from cfbd_core.training.defences.base import Defense, Embed, Loss, Step
from cfbd_core.training.defences.option_checks import check_number, check_weights, check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.training.defences.base import Features


ISOLATION_EPOCHS = 10  # docs/METHOD.md §6: epochs 0 to 9
MOST_WAITING_BATCHES = 100  # batches whose losses wait on the device to be recorded


@dataclass(frozen=True)
class AblOptions:
    """How pairs are isolated and unlearned.

    ``isolation_epochs``: how many epochs' losses rank the pairs; None is 10, and half of a run of under 20.
    ``share`` of the pairs that is isolated (0.01: 1 %). ``ascent``: what is done in those epochs to the losses below
    ``gamma`` (nats); see :class:`Abl`. ``unlearn_weight`` of the isolated pairs' loss.
    """

    isolation_epochs: int | None = option(
        None, "epochs whose losses rank the pairs: by itself 10, and half of a run of fewer than 20"
    )
    share: float = option(0.01, "of the pairs that is isolated: 0.01 is 1 %")
    ascent: Literal["none", "lga", "flooding"] = option(
        "none",
        "what is done in those epochs to losses below gamma: nothing, local ascent by pair, or flooding",
    )
    gamma: float = option(0.5, "the loss, in nats, that ascent holds pairs at")
    unlearn_weight: float = option(1.0, "of the isolated pairs' loss, once they are unlearned")

    def __post_init__(self) -> None:
        if self.isolation_epochs is not None:
            check_whole("abl", self, 1, "isolation_epochs")
        wanted = "a number above 0 and below 1, e.g. 0.01"
        check_number("abl", self, lambda share: 0 < share < 1, wanted, "share")
        if self.ascent not in ("none", "lga", "flooding"):
            raise ParameterError(f"abl: ascent {self.ascent!r}: give none, lga or flooding")
        check_weights("abl", self, "gamma", "unlearn_weight")


class Abl(Defense):
    """Losses of the first epochs are recorded, the pairs with the lowest are isolated, the rest is learned.

    A pair's loss is its part of CLIP's loss, the mean of picture-to-caption and caption-to-picture, when its batch
    is trained on. After the isolation epochs (the paper's turning epoch) the loss is E_rest[l] − E_isolated[l].

    An ascent has no floor. The paper keeps it in check by doing little of it: 5 epochs at 1/200 of the learning rate,
    on the isolated 1 %, after the rest has been learned. Here it runs beside the learning of the rest, as in the
    paper's formula, and a pair is left alone once its loss has reached log n: that of guessing among the n pairs of
    the batch.

    In the first epochs the paper also holds losses at γ = 0.5 so that benign pairs stay above it: by local gradient
    ascent (``lga``: sign(l − γ)·l, by pair) or flooding (``flooding``: |L − γ| + γ, of the batch's mean, as in its
    code). The value was chosen for ten classes. CLIP's loss depends on the batch, and poisoned pairs of one caption
    are one another's negatives, so that their loss stays far above γ; by default neither is done.
    """

    name = "abl"
    title = "ABL"
    summary = "Isolate the pairs that are learned first, then learn the rest and unlearn those"
    source = (
        "Li et al.: Anti-Backdoor Learning: Training Clean Models on Poisoned Data, NeurIPS 2021, "
        "arXiv 2110.11571"
    )
    options = AblOptions

    def __init__(self, options: Any, pairs: int, seed: int) -> None:
        super().__init__(options, pairs, seed)
        self._sum, self._count = np.zeros(pairs), np.zeros(pairs, np.int64)
        self._isolated = np.zeros(pairs, bool)
        # Rows and losses (n,) that are not recorded yet.
        self._postponed: list[tuple[np.ndarray, Tensor]] = []

    def check_length(self, epochs: int) -> None:
        """Raise TrainingError where the turning epoch is not reached."""
        turn = self._turn(epochs)
        if not 0 < turn < epochs:
            raise TrainingError(
                f"abl isolates pairs after {max(1, turn)} epochs, and the run has {epochs}; give more --epochs or "
                "--steps, or fewer by its option isolation_epochs"
            )

    def begin_epoch(self, epoch: int, epochs: int, _embed: Embed) -> None:
        """Isolate at the turning epoch."""
        if epoch == self._turn(epochs):
            self._isolated[lowest(self.mean_loss, self.chosen.share)] = True

    def _turn(self, epochs: int) -> int:
        epochs_given: int | None = self.chosen.isolation_epochs
        return min(ISOLATION_EPOCHS, epochs // 2) if epochs_given is None else epochs_given

    @property
    def mean_loss(self) -> np.ndarray:
        """Mean loss of each pair over the first epochs, (pairs,); NaN where it was in no batch."""
        self._record()
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = self._sum / self._count
        return mean

    def loss(self, features: Features, logit_scale: Tensor, step: Step) -> Loss:
        """CLIP's loss, of the isolated pairs with the other sign."""
        losses = clip_losses(features["image"], features["text"], logit_scale)
        if step.epoch < self._turn(step.epochs):
            clip = losses.mean()
            return Loss(self._loss_at_gamma(losses), {"clip": clip.detach()}, losses.detach())
        is_isolated = self._isolated[step.rows]
        isolated, others = (places(mask, losses.device) for mask in (is_isolated, ~is_isolated))
        if not len(isolated):
            clip = losses.mean()
            return Loss(clip, {"clip": clip.detach()}, losses.detach())
        rest = losses.sum() * 0  # a batch of isolated pairs alone
        if len(others):
            rest = clip_loss(features["image"][others], features["text"][others], logit_scale)
        unlearned = losses[isolated].clamp(max=math.log(len(losses))).mean()
        parts = {"clip": rest.detach(), "isolated": losses[isolated].mean().detach()}
        return Loss(rest - self.chosen.unlearn_weight * unlearned, parts, losses.detach())

    def _loss_at_gamma(self, losses: Tensor) -> Tensor:
        gamma: float = self.chosen.gamma
        if self.chosen.ascent == "lga":
            loss: Tensor = ((losses.detach() - gamma).sign() * losses).mean()
            return loss
        if self.chosen.ascent == "flooding":
            return (losses.mean() - gamma).abs() + gamma
        return losses.mean()

    def seen(self, step: Step, loss: Loss) -> None:
        """Record the losses of the first epochs: ``MOST_WAITING_BATCHES`` at a time, or where they are needed."""
        if step.epoch < self._turn(step.epochs) and loss.per_pair is not None:
            self._postponed.append((step.rows, loss.per_pair))
            if len(self._postponed) >= MOST_WAITING_BATCHES:
                self._record()

    def _record(self) -> None:
        import torch

        if not self._postponed:
            return
        rows = np.concatenate([rows for rows, _ in self._postponed])
        losses = torch.cat([losses for _, losses in self._postponed])
        np.add.at(self._sum, rows, losses.double().cpu().numpy())
        np.add.at(self._count, rows, 1)
        self._postponed.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Sums and numbers of losses, and which pairs are isolated."""
        import torch

        self._record()
        arrays = {"sum": self._sum, "count": self._count, "isolated": self._isolated}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._postponed.clear()
        self._sum, self._count, self._isolated = (
            state[name].cpu().numpy().copy() for name in ("sum", "count", "isolated")
        )

    def extras(self) -> dict[str, np.ndarray]:
        """``mean_loss`` float32 (pairs,) of the first epochs, and the ``isolated`` rows, int64."""
        return {
            "mean_loss": self.mean_loss.astype(np.float32),
            "isolated": np.flatnonzero(self._isolated),
        }
