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
