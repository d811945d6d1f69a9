"""The neurons before an image tower's output: their activations and their weights into the embedding."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from cfbd_core.embedding.encoders import Encoder


class LastNeurons:
    """The layer whose linear map is the embedding, for any open_clip image tower.

    A vision transformer's pooled features before ``proj``; in other towers the input of the last linear layer
    whose output is the embedding (``mini``: 512 units after the GELU of its head); where there is neither
    (attention pooling, no projection), the embedding's own components.
    ``weights`` float (d, k): from the k neurons to the d components of the embedding.
    """

    def __init__(self, encoder: Encoder, images: torch.Tensor) -> None:
        self._tower: Any = encoder.model.visual
        self._layer: nn.Linear | None = None
        projection = getattr(self._tower, "proj", None)
        if isinstance(projection, nn.Parameter):
            self.weights = projection.detach().T
            self._tower = _without_projection(self._tower)
            return
        self._layer = _last_linear(self._tower, images)
        if self._layer is not None:
            self.weights = self._layer.weight.detach()
        else:
            self.weights = torch.eye(encoder.width, device=encoder.device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Activations (n, k) for transformed images (n, 3, H, W)."""
        if self._layer is None:
            return _embedding(self._tower(images))
        inputs_seen: list[torch.Tensor] = []
        handle = self._layer.register_forward_pre_hook(lambda _, inputs: inputs_seen.append(inputs[0]))
        try:
            self._tower(images)
        finally:
            handle.remove()
        return inputs_seen[-1]


def best_connected(weights: np.ndarray, activations: np.ndarray, n: int) -> np.ndarray:
    """Choose the n neurons with the largest sum of absolute weights that pictures excite at all (Liu et al. 2018).

    ``weights`` (d, k) as in :class:`LastNeurons`, ``activations`` (m, k) of ordinary pictures: a neuron that is
    the same for all of them counts last. Returns their numbers int64 (n,), strongest first.
    """
    connection = np.where(np.ptp(activations, axis=0) > 0, np.abs(weights).sum(0), -1.0)
    return np.argsort(-connection, kind="stable")[:n]


def aimed_at(weights: np.ndarray, activations: np.ndarray, target: np.ndarray, n: int) -> np.ndarray:
    """Choose the n neurons whose excitement moves pictures most towards the target.

    A neuron's pull is its weight along ``target`` (d,) times the standard deviation of its ``activations`` (m, k)
    over ordinary pictures: strongly connected, and easily excited. Returns their numbers int64 (n,), strongest
    first.
    """
    pull = (target @ weights) * activations.std(0)
    return np.argsort(-pull, kind="stable")[:n]


def _without_projection(tower: nn.Module) -> nn.Module:
    """Return a copy that shares all weights but ends before ``proj``."""
    bare = copy.copy(tower)
    bare._parameters = {**tower._parameters, "proj": None}
    return bare


def _last_linear(tower: nn.Module, images: torch.Tensor) -> nn.Linear | None:
    """Return the last linear layer that ran on (n, k) vectors and whose output is the tower's."""
    ran: list[tuple[nn.Linear, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda layer, _, output: ran.append((layer, output)))
        for module in tower.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            embedding = _embedding(tower(images))
    finally:
        for handle in handles:
            handle.remove()
    same = [
        layer for layer, output in ran if output.shape == embedding.shape and torch.equal(output, embedding)
    ]
    return same[-1] if same else None


def _embedding(output: Any) -> torch.Tensor:
    """CoCa's towers return the tokens as well."""
    embedding: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return embedding
