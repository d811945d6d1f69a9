"""The yardsticks that settings are chosen by; none of their pictures is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def retrieval(
    images: torch.Tensor, texts: torch.Tensor, captions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Text→image recall in percent; ``texts`` are all captions of the first image, then of the second …"""
    owner = torch.repeat_interleave(torch.arange(len(captions)), torch.tensor([len(c) for c in captions]))
    scores = texts @ images.T
    better = (scores > scores.gather(1, owner[:, None])).sum(1)
    return {f"R@{k}": round(100 * (better < k).float().mean().item(), 1) for k in (1, 5, 10)}


def template_auroc(
    images: torch.Tensor, texts: torch.Tensor, captions: Sequence[Sequence[str]], planted: torch.Tensor
) -> float:
    """How well −⟨I, T⟩ tells planted captions (m, d), given to every image in turn, from the true ones."""
    owner = torch.repeat_interleave(torch.arange(len(captions)), torch.tensor([len(c) for c in captions]))
    true = (images[owner] * texts).sum(1)
    false = (images * planted[torch.arange(len(images)) % len(planted)]).sum(1)
    higher = torch.searchsorted(true.sort().values, false, right=False)
    return round(1 - higher.float().mean().item() / len(true), 4)
