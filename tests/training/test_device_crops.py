"""A run whose crops are cut on the device, here on the CPU, learns as one whose crops PIL cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfbd_core.training import loop as loops
from cfbd_core.training.config import TrainParams
from cfbd_core.training.run import train
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.tracking import read_metrics
from tests.training.test_resume import Killed, assert_same, killed_at
from tests.training.tiny import SIZE, tiny_params

pytestmark = pytest.mark.usefixtures("one_thread")


def noisy_set(n: int = 40) -> TrainingSet:
    """Pictures of noise, of which no crop looks like another."""
    pictures = np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)
    return TrainingSet.from_arrays(pictures, [f"a photo of thing number {row}" for row in range(n)])


@pytest.fixture
def on_device(monkeypatch) -> None:
    monkeypatch.setattr(loops, "crops_on", lambda _device: True)


def losses(run: Path, params: TrainParams) -> list[float]:
    train(noisy_set(), run, params)
    return [line["loss"] for line in read_metrics(run)]


@pytest.mark.parametrize("others", [{}, {"accumulate": 2, "batch_size": 4}, {"defense": "cleanclip"}])
def test_it_learns_as_with_pils_crops(others, model, tmp_path, monkeypatch):
    params = tiny_params(model, crop_scale=0.4, log_every=1, **others)
    by_pil = losses(tmp_path / "pil", params)
    uncropped = losses(tmp_path / "whole", tiny_params(model, crop_scale=1.0, log_every=1, **others))
    monkeypatch.setattr(loops, "crops_on", lambda _device: True)
    by_device = losses(tmp_path / "device", params)
    assert by_device == pytest.approx(by_pil, rel=2e-4)
    assert uncropped != pytest.approx(by_pil, rel=2e-4)


@pytest.mark.usefixtures("on_device")
@pytest.mark.parametrize("defense", ["plain", "cleanclip"])
def test_killed_at_a_step_it_ends_with_the_same_bits_with_any_number_of_workers(defense, model, tmp_path):
    params = {"epochs": 3, "checkpoint_every": 2, "crop_scale": 0.4, "defense": defense}
    train(noisy_set(), tmp_path / "whole", tiny_params(model, workers=1, **params))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 7)
        train(noisy_set(), tmp_path / "broken", tiny_params(model, workers=2, **params))
    train(noisy_set(), tmp_path / "broken", tiny_params(model, workers=5, **params))
    assert_same(tmp_path / "whole", tmp_path / "broken")
