"""The losses as the papers write them, pair by pair and term by term; and batches to compute them on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from cfbd_core.training.defences.base import Step


def unit(rng: np.random.Generator, n: int, d: int = 6) -> torch.Tensor:
    """Unit rows (n, d), float64, that take a gradient."""
    rows = torch.from_numpy(rng.normal(size=(n, d)))
    return (rows / rows.norm(dim=1, keepdim=True)).requires_grad_()


def batch(n: int, seed: int = 0, views: bool = False) -> dict[str, torch.Tensor]:
    """Features of ``n`` pairs."""
    rng = np.random.default_rng(seed)
    names = ("image", "text", "image_view", "text_view") if views else ("image", "text")
    return {name: unit(rng, n) for name in names}


def step_of(rows: Sequence[int] | np.ndarray, epoch: int = 0, epochs: int = 10, step: int = 0) -> Step:
    return Step(epoch, step, epochs, np.asarray(rows, np.int64))


def info_nce(queries: torch.Tensor, keys: torch.Tensor, scale: float) -> list[float]:
    """−log of exp(s·⟨q_j, k_j⟩) / Σ_k exp(s·⟨q_j, k_k⟩), for every j."""
    queries, keys = queries.detach(), keys.detach()
    found = []
    for j in range(len(queries)):
        terms = [
            math.exp(scale * sum(float(a) * float(b) for a, b in zip(queries[j], key, strict=True)))
            for key in keys
        ]
        found.append(-math.log(terms[j] / sum(terms)))
    return found


def clip_by_pair(image: torch.Tensor, text: torch.Tensor, scale: float) -> list[float]:
    """A pair's part of CLIP's loss: the mean of both directions."""
    directions = zip(info_nce(image, text, scale), info_nce(text, image, scale), strict=True)
    return [(forth + back) / 2 for forth, back in directions]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def clip(image: torch.Tensor, text: torch.Tensor, scale: float) -> float:
    return mean(clip_by_pair(image, text, scale))


def in_modal(features: dict[str, torch.Tensor], scale: float) -> float:
    """Mean over pictures and captions of the InfoNCE loss against their views."""
    images = mean(info_nce(features["image"], features["image_view"], scale))
    return (images + mean(info_nce(features["text"], features["text_view"], scale))) / 2


def no_embed(_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For epochs in which nothing is to be embedded."""
    raise AssertionError("nothing is to be embedded in this epoch")
