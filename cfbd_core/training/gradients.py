"""Gradients of a loss over a whole step, whichever way its pairs are spread over passes and GPUs.

The loss is computed on the step's embeddings as if they were given, once; its gradient by each embedding then flows
back through the towers. So a step of many passes, or many GPUs, has the gradient of the whole batch: open_clip's
cached features (``--accum-freq``) with the temperature counted once, that is GradCache (Gao et al., RepL4NLP 2021,
arXiv 2101.06983). With several passes the towers run forward twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from cfbd_core.training.batches import Batch
from cfbd_core.training.crops import cut
from cfbd_core.training.defences.base import Loss
from cfbd_core.training.group import Group

NAMES = ("image", "text", "image_view", "text_view")


class Towers(nn.Module):
    """Both towers in one call, as DistributedDataParallel wants it.

    ``mean`` and ``std`` (3,) are of pixels in 0..1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", mean), ("std", std)):
            by_channel = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) * 255
            self.register_buffer(name, by_channel, persistent=False)

    def forward(self, pictures: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed uint8 (n, S, S, 3) and tokens (n, length): unit rows (2, n, d), float32, and the logit scale."""
        pixels = pictures.permute(0, 3, 1, 2).float()  # channels last, without a copy
        pixels = pixels.sub_(self.mean).div_(self.std)
        image, text = self.model.encode_image(pixels), self.model.encode_text(tokens)
        features = torch.stack([normalize(image.float(), dim=-1), normalize(text.float(), dim=-1)])
        return features, self.model.logit_scale.exp()


@dataclass(frozen=True)
class Backward:
    """Leaves a step's gradients in the towers' parameters.

    ``towers`` is :class:`Towers`, or that in DistributedDataParallel. ``autocast`` is None for single precision.
    """

    towers: Any
    group: Group
    device: str
    autocast: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None

    def __call__(
        self,
        batch: Batch,
        passes: int,
        views: bool,
        seed: int,
        loss_of: Callable[[dict[str, torch.Tensor], torch.Tensor], Loss],
    ) -> Loss:
        """``loss_of(features, logit_scale)`` is asked once, for the features of all pairs of the step.

        ``seed`` is for what the towers draw (dropout), and must differ from step to step.
        """
        parts = _parts(batch, passes, views)
        with _unrecorded(self.towers) if passes > 1 else nullcontext():
            outputs = [self._forward(part, seed + number) for number, part in enumerate(parts)]
        own = torch.cat([_by_pair(features, views) for features, _ in outputs])
        every = self.group.gathered(own.detach()).requires_grad_()
        scale = outputs[0][1].detach().requires_grad_()
        loss = loss_of(dict(zip(NAMES, every.unbind(1), strict=False)), scale)
        (self.scaler.scale(loss.total) if self.scaler else loss.total).backward()  # type: ignore[no-untyped-call]
        by_scale = scale.grad if scale.grad is not None else torch.zeros_like(scale)
        by_own = self._own_gradient(every, passes)
        for number, (part, gradient) in enumerate(zip(parts, by_own, strict=True)):
            is_last = number == passes - 1
            with nullcontext() if is_last or self.group.size == 1 else self.towers.no_sync():
                features, own_scale = outputs[0] if passes == 1 else self._forward(part, seed + number)
                tensors, gradients = [_by_pair(features, views)], [gradient]
                if is_last:
                    tensors.append(own_scale)
                    gradients.append(by_scale)
                torch.autograd.backward(tensors, gradients)
        return loss

    def _own_gradient(self, every: torch.Tensor, passes: int) -> tuple[torch.Tensor, ...]:
        """The gradient by this process's embeddings, for each pass; DistributedDataParallel will take the mean."""
        assert every.grad is not None
        own = every.grad.chunk(self.group.size)[self.group.rank] * self.group.size
        return own.chunk(passes)

    def _forward(self, part: _Part, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        self._seed(seed * self.group.size + self.group.rank)
        pictures, tokens = self._here(part.pictures), self._here(part.tokens)
        if part.boxes is not None:
            (boxes,) = self._here([part.boxes])
            pictures[0] = cut(pictures[0], boxes)
        with torch.autocast("cuda", dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            embeddings: tuple[torch.Tensor, torch.Tensor] = self.towers(_joined(pictures), _joined(tokens))
        return embeddings

    def _seed(self, seed: int) -> None:
        """As torch.manual_seed does, which asks every kind of device, and takes ten times as long."""
        torch.default_generator.manual_seed(seed)
        if self.device.startswith("cuda"):
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _here(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [tensor.to(self.device, non_blocking=True) for tensor in tensors]


@dataclass(frozen=True)
class _Part:
    """What one pass takes of a batch: of the pairs and, where there are some, of the views; ``boxes`` of the pairs."""

    pictures: Sequence[torch.Tensor]
    tokens: Sequence[torch.Tensor]
    boxes: torch.Tensor | None


def _parts(batch: Batch, passes: int, views: bool) -> list[_Part]:
    """Return the passes' parts; a pair's view is in the pair's own pass, after all its pairs."""
    pictures, tokens = (
        zip(*(half.chunk(passes) for half in tensor.chunk(2 if views else 1)), strict=True)
        for tensor in (batch.pictures, batch.tokens)
    )
    boxes = [None] * passes if batch.boxes is None else batch.boxes.chunk(passes)
    return [_Part(*part) for part in zip(pictures, tokens, boxes, strict=True)]


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _by_pair(features: torch.Tensor, views: bool) -> torch.Tensor:
    """(2, n, d) to (n, 2, d); with views (2, 2n, d) to (n, 4, d), in the order of ``NAMES``."""
    if not views:
        return features.transpose(0, 1)
    pairs, seen_again = features.chunk(2, dim=1)
    return torch.cat([pairs, seen_again]).transpose(0, 1)


@contextmanager
def _unrecorded(towers: nn.Module) -> Iterator[None]:
    """Without a graph, and without BatchNorm's running statistics counting: the pass will be made again."""
    norms = [
        module
        for module in towers.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        with torch.no_grad():
            yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
