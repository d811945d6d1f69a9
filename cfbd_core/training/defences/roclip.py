"""RoCLIP: every second epoch a pair is torn apart, and each side learns from the nearest of a random pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cfbd_core.config import option
from cfbd_core.method.clip_loss import clip_loss
from cfbd_core.training.defences.base import Defense, Embed, Loss, Step
from cfbd_core.training.defences.option_checks import check_number, check_whole
from cfbd_core.training.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.training.defences.base import Features


@dataclass(frozen=True)
class RoClipOptions:
    """``every``: the last epoch of so many matches (the paper's K). ``pool``: its size as a share of the pairs."""

    every: int = option(2, "the last epoch of so many matches with the pool")
    pool: float = option(0.02, "the pool's size as a share of the pairs")

    def __post_init__(self) -> None:
        check_whole("roclip", self, 1, "every")
        wanted = "a share above 0, at most 1, e.g. 0.02"
        check_number("roclip", self, lambda share: 0 < share <= 1, wanted, "pool")


class RoClip(Defense):
    """In a matching epoch pictures learn from the nearest captions of a pool, and captions from the nearest pictures.

    L = (L_CLIP(images, nearest captions) + L_CLIP(nearest images, captions)) / 2. The other epochs are CLIP's own.
    A poisoned caption is rarely in the pool, and a picture's trigger is not near to it before it has been learned.

    The pool is drawn anew for each matching epoch and embedded by the model as it is; after each step the batch's
    embeddings take the place of the oldest. No gradient flows into it. Epochs 1, 3, 5, … match (counted from 0), as in
    the authors' code. That matches pictures with captions only, and fills its first pool with noise; METHOD.md §6 asks
    for both directions and a drawn pool. They also augment both sides; here the loop's own crops do.
    """

    name = "roclip"
    title = "RoCLIP"
    summary = "Every second epoch match pictures and captions with the nearest ones of a random pool instead"
    source = (
        "Yang, Gao, Mirzasoleiman: Robust Contrastive Language-Image Pre-training against Data Poisoning and "
        "Backdoor Attacks, NeurIPS 2023, arXiv 2303.06854"
    )
    options = RoClipOptions

    def __init__(self, options: Any, pairs: int, seed: int) -> None:
        super().__init__(options, pairs, seed)
        self._pool: dict[str, Tensor] = {}  # "image", "text": (size, d)
        self._oldest = 0
        self._batch: dict[str, Tensor] = {}  # of the last loss, until its step is done

    def begin_epoch(self, epoch: int, _epochs: int, embed: Embed) -> None:
        """Draw the pool of a matching epoch."""
        import torch

        self._pool, self._oldest = {}, 0
        if self._matches(epoch):
            size = max(1, round(self.chosen.pool * self.pairs))
            rows = np.random.default_rng(stream("pool", self.seed, epoch)).choice(
                self.pairs, size, replace=False
            )
            image, text = embed(rows)
            self._pool = {"image": torch.tensor(image), "text": torch.tensor(text)}

    def loss(self, features: Features, logit_scale: Tensor, step: Step) -> Loss:
        """CLIP's loss, in a matching epoch against the pool's nearest."""
        image, text = features["image"], features["text"]
        if not self._matches(step.epoch):
            clip = clip_loss(image, text, logit_scale)
            return Loss(clip, {"clip": clip.detach()})
        self._pool = {name: pool.to(image.device) for name, pool in self._pool.items()}
        self._batch = {"image": image.detach().float(), "text": text.detach().float()}
        by_image = clip_loss(
            image, nearest(self._batch["image"], self._pool["text"]).to(image.dtype), logit_scale
        )
        by_text = clip_loss(
            nearest(self._batch["text"], self._pool["image"]).to(text.dtype), text, logit_scale
        )
        total = (by_image + by_text) / 2
        return Loss(total, {"matched_captions": by_image.detach(), "matched_images": by_text.detach()})

    def seen(self, step: Step, _loss: Loss) -> None:
        """Put the batch in the place of the pool's oldest."""
        import torch

        if not self._matches(step.epoch):
            return
        size = len(self._pool["text"])
        fresh = min(size, len(self._batch["text"]))
        for name, pool in self._pool.items():
            places = (self._oldest + torch.arange(fresh, device=pool.device)) % size
            pool[places] = self._batch[name][-fresh:]
        self._oldest = (self._oldest + fresh) % size

    def state_dict(self) -> dict[str, Tensor]:
        """Return the pool, and where its oldest lies."""
        import torch

        return {name: pool.clone() for name, pool in self._pool.items()} | {
            "oldest": torch.tensor(self._oldest)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._pool = {name: state[name].clone() for name in ("image", "text") if name in state}
        self._oldest = int(state["oldest"])

    def _matches(self, epoch: int) -> bool:
        return bool((epoch + 1) % self.chosen.every == 0)


def nearest(queries: Tensor, pool: Tensor) -> Tensor:
    """Return rows (n, d) of ``pool`` (m, d) with the largest cosine to ``queries`` (n, d); all unit rows."""
    return pool[(queries @ pool.T).argmax(dim=1)]
