"""The schedule, and what decays."""

from __future__ import annotations

import math

import pytest
import torch

from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.training.config import TrainParams
from cfbd_core.training.models import build_model
from cfbd_core.training.optimiser import adamw, learning_rate, set_rate


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_rate_is_open_clips(warmup):
    import_torchvision()
    from open_clip_train.scheduler import cosine_lr

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = cosine_lr(optimiser, 0.3, warmup, 50)
    for step in range(50):
        assert learning_rate(step, 50, 0.3, warmup) == pytest.approx(theirs(step))


def test_the_rate_rises_to_its_highest_and_falls_to_nothing():
    rates = [learning_rate(step, 100, 2.0, 20) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[19] == rates[20] == 2.0
    assert rates[100] == pytest.approx(0, abs=1e-9)
    assert rates[60] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert learning_rate(5, 5, 1.0, 5) == 1.0  # all of it warm-up


def test_gains_biases_and_the_temperature_do_not_decay(model):
    trained = build_model(model)
    optimiser = adamw(trained.model, TrainParams(lr=1e-3))
    still, decaying = optimiser.param_groups
    assert (still["weight_decay"], decaying["weight_decay"]) == (0.0, 0.1)
    name_of = {id(parameter): name for name, parameter in trained.model.named_parameters()}
    names = [name_of[id(parameter)] for parameter in still["params"]]
    assert "logit_scale" in names
    assert all(
        name.endswith((".bias", ".weight", "_bias", "logit_scale", "class_embedding")) for name in names
    )
    assert not any("ln" in name_of[id(parameter)] for parameter in decaying["params"])
    assert len(still["params"]) + len(decaying["params"]) == len(name_of)
    set_rate(optimiser, 0.5)
    assert {group["lr"] for group in optimiser.param_groups} == {0.5}
