"""BatchNorm that was folded into its convolution, made trainable again.

The weights of ``mini`` come with every BatchNorm folded: mean 0, variance 1. In training mode such a layer divides by
the true deviation, for which its weight was never made, and one forward pass ruins the model (cosine 0.02 with its
own embeddings). Un-folded, it has the running statistics that its input has, and a weight and bias that undo them:
in evaluation nothing changes, and training starts near it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from cfbd_core.training.models import TrainedModel
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.streams import stream

SAMPLE_PICTURES = 256
BATCH = 32

_Norm = nn.modules.batchnorm._BatchNorm


def unfold_batchnorm(trained: TrainedModel, pairs: TrainingSet, seed: int = 0) -> int:
    """Un-fold every folded BatchNorm of a loaded model by ``SAMPLE_PICTURES`` pairs; returns how many there were."""
    norms = [] if trained.from_scratch else [norm for norm in trained.model.modules() if is_folded(norm)]
    if not norms:
        return 0
    rows = np.random.default_rng(stream("unfold", seed)).permutation(len(pairs))[:SAMPLE_PICTURES]
    seen = {norm: _Moments() for norm in norms}
    hooks = [norm.register_forward_pre_hook(lambda one, given: seen[one].take(given[0])) for norm in norms]
    trained.model.eval()
    with torch.no_grad():
        for first in range(0, len(rows), BATCH):
            tensors = [pairs.tensor(int(row), trained.transform) for row in rows[first : first + BATCH]]
            trained.model.encode_image(torch.stack(tensors))
    for hook in hooks:
        hook.remove()
    for norm, moments in seen.items():
        _give(norm, moments)
    return len(norms)


def is_folded(module: nn.Module) -> bool:
    """Return whether a module is a BatchNorm with the statistics of one that was folded: mean 0, variance 1."""
    if not isinstance(module, _Norm) or module.running_mean is None or module.running_var is None:
        return False
    return bool((module.running_mean == 0).all() and (module.running_var == 1).all())


def _give(norm: _Norm, moments: _Moments) -> None:
    """Set the statistics and compensate for them: weight·(x − mean)/√(var + ε) + bias stays what it was."""
    mean, variance = moments.mean_and_variance()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        before = (norm.running_var.double() + norm.eps).sqrt()
        after = (variance + norm.eps).sqrt()
        gain = norm.weight.double() / before
        norm.bias.copy_(norm.bias.double() + (mean - norm.running_mean.double()) * gain)
        norm.weight.copy_(gain * after)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


class _Moments:
    """Mean and variance by channel of all that was taken."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: torch.Tensor | None = None
        self._squares: torch.Tensor | None = None

    def take(self, given: torch.Tensor) -> None:
        """Take (n, channels, …)."""
        values = given.double().transpose(0, 1).flatten(1)
        count, total, squares = values.shape[1], values.sum(1), values.square().sum(1)
        self._count += count
        self._sum = total if self._sum is None else self._sum + total
        self._squares = squares if self._squares is None else self._squares + squares

    def mean_and_variance(self) -> tuple[torch.Tensor, torch.Tensor]:
        """By channel, float64."""
        assert self._sum is not None
        assert self._squares is not None
        mean = self._sum / self._count
        return mean, (self._squares / self._count - mean.square()).clamp(min=0)
