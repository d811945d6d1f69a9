"""No defence makes the host wait for the device in a step: what does on a GPU is seen on the CPU, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cfbd_core.training.defences import DEFENSES, defense_options
from tests.training import literal

PAIRS, EPOCHS = 60, 4
SHORT = {
    "abl": {"isolation_epochs": 1, "share": 0.2},
    "safeclip": {"warmup_epochs": 1, "clip_epochs": 1},
}  # all that they do is done within four epochs


class Unwaited(TorchDispatchMode):
    """Fails where a number, or how many of them there are, is asked of the device."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert str(func) not in ("aten._local_scalar_dense.default", "aten.nonzero.default"), func
        if str(func).startswith("aten.index."):
            assert all(index is None or index.dtype == torch.int64 for index in args[1])
        return func(*args, **kwargs or {})


def embed(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of pairs of which two thirds agree."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(PAIRS, 6))
    text = np.where(np.arange(PAIRS)[:, None] % 3, image, -image) + 0.1 * rng.normal(size=image.shape)
    image, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text))
    return image[rows].astype(np.float32), text[rows].astype(np.float32)


@pytest.mark.parametrize("ask", [lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x[x > 0]])
def test_what_waits_is_noticed(ask):
    with Unwaited(), pytest.raises(AssertionError):
        ask(torch.ones(3))


@pytest.mark.parametrize("name", DEFENSES)
def test_a_step_of_a_defence_waits_for_nothing(name):
    defense = DEFENSES[name](defense_options(name, SHORT.get(name, {})), PAIRS, 0)
    for epoch in range(EPOCHS):
        defense.begin_epoch(epoch, EPOCHS, embed)
        step = literal.step_of(np.random.default_rng(epoch).permutation(PAIRS)[:40], epoch, EPOCHS)
        features, scale = literal.batch(40, seed=epoch, views=True), torch.tensor(5.0)
        with Unwaited():
            loss = defense.loss({part: rows.float() for part, rows in features.items()}, scale, step)
            loss.total.backward()
            defense.seen(step, loss)
        assert all(np.isfinite(float(part)) for part in loss.parts.values())
