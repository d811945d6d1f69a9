"""The network behind F: its loss in loops, its start, its early stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfbd_core import mapping_network as module


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))
    return torch.nn.functional.normalize(rows, dim=1)


def literal_loss(predicted: np.ndarray, target: np.ndarray, labels: list[int]) -> float:
    total = 0.0
    for i in range(len(predicted)):
        logits = []
        for j in range(len(target)):
            other_view = i != j and labels[i] == labels[j]
            same_caption = i != j and target[i] @ target[j] > module.DUPLICATE
            if not other_view and not same_caption:
                logits.append(module.LOGIT_SCALE * predicted[i] @ target[j])
        own = module.LOGIT_SCALE * predicted[i] @ target[i]
        contrast = np.log(np.exp(logits).sum()) - own
        total += 1 - predicted[i] @ target[i] + module.CONTRAST * contrast
    return total / len(predicted)


def test_loss_spares_other_views_and_equal_captions() -> None:
    predicted, target = unit(6, 5, 0), unit(6, 5, 1)
    target[4] = target[1]
    labels = [0, 1, 2, 2, 3, 4]
    found = module._loss(predicted, target, torch.tensor(labels))
    assert float(found) == pytest.approx(literal_loss(predicted.numpy(), target.numpy(), labels))


def test_starts_as_the_identity() -> None:
    image = unit(4, 8, 0).float()
    torch.testing.assert_close(module.forward(module.new_network(8).eval(), image), image)


def test_stops_when_held_out_images_gain_nothing_and_keeps_the_best_epoch() -> None:
    image, target = (unit(300, 8, seed).float().numpy() for seed in (0, 1))  # nothing to learn
    told: list[float] = []
    rows = np.arange(300)
    _, cosine = module.fit_network(
        image, target, rows, rows, 0, 200, "cpu", lambda epoch, epochs, cosine: told.append(cosine)
    )
    assert len(told) < 100
    assert len(told) - 1 - int(np.argmax(told)) == module.PATIENCE
    assert cosine == pytest.approx(max(told), abs=1e-3)


def test_training_leaves_torchs_own_seed_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    rows = np.arange(60)
    module.fit_network(unit(60, 4, 0).numpy(), unit(60, 4, 1).numpy(), rows, rows, 0, 1, "cpu", None)
    assert torch.equal(torch.get_rng_state(), before)
