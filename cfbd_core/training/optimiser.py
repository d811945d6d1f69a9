"""AdamW and the learning rate's schedule."""

from __future__ import annotations

import math
from typing import Any

import torch

from cfbd_core.training.config import TrainParams

MAX_LOG_SCALE = math.log(100)  # of the temperature's inverse (Radford et al., 2021)


def adamw(model: Any, params: TrainParams) -> torch.optim.AdamW:
    """AdamW over what is trained; gains, biases and the logit scale (less than two axes) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim < 2], "weight_decay": 0.0},
        {"params": [one for one in trained if one.ndim >= 2], "weight_decay": params.weight_decay},
    ]
    assert params.lr is not None
    return torch.optim.AdamW(groups, lr=params.lr, betas=params.betas, eps=params.eps, fused=True)


def learning_rate(step: int, steps: int, highest: float, warmup: int) -> float:
    """The rate of ``step``, counted from 0: linear up to ``highest``, then half a cosine down to 0 (open_clip)."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step take this rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
