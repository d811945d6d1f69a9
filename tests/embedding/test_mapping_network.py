"""The network behind F: its loss in loops, its start, its early stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfbd_core.embedding import mapping_network as module


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))
    return torch.nn.functional.normalize(rows, dim=1)


def literal_loss(predicted: np.ndarray, target: np.ndarray, labels: list[int]) -> float:
    total = 0.0
    for i in range(len(predicted)):
        logits = []
        for j in range(len(target)):
            other_view = i != j and labels[i] == labels[j]
            same_caption = i != j and target[i] @ target[j] > module.DUPLICATE_COSINE
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
    network = module.new_network(8, 0)
    _, cosine = module.fit_network(
        network,
        module.Views(image, target, rows),
        rows,
        module.FitParams(epochs=200),
        lambda _epoch, cosine: told.append(cosine),
    )
    assert len(told) < 100
    assert len(told) - 1 - int(np.argmax(told)) == module.PATIENCE_EPOCHS
    assert cosine == pytest.approx(max(told), abs=1e-3)


def test_training_leaves_torchs_own_seed_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    rows = np.arange(60)
    network = module.new_network(4, 0)
    image, target = unit(60, 4, 0).float().numpy(), unit(60, 4, 1).float().numpy()
    params = module.FitParams(epochs=1)
    module.fit_network(network, module.Views(image, target, rows), rows, params, lambda _epoch, _cosine: None)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_images_are_shown_less_often() -> None:
    assert module.schedule_epochs(100) == module.schedule_epochs(10_000) == module.EPOCHS
    assert module.schedule_epochs(33_333) * 33_333 == pytest.approx(module.STEPS * module.BATCH, rel=0.05)
    assert module.schedule_epochs(10**9) == 1


def test_dropout_leaves_the_mean_and_takes_its_share() -> None:
    network = module.new_network(8, 0)
    torch.nn.init.normal_(network[4].weight)
    image = unit(1, 8, 0).float().repeat(4000, 1)
    kept = torch.from_numpy(module._dropout(np.random.default_rng(0), 4000, 32))
    assert float(kept.float().mean()) == pytest.approx(1 - module.DROPOUT, abs=0.01)
    hidden = network[2](network[1](network[0](image[:1])))
    expected = torch.nn.functional.normalize(image + network[4](hidden * kept / (1 - module.DROPOUT)), dim=-1)
    torch.testing.assert_close(module._predict(network, image, kept), expected)


def test_equal_rows_get_equal_predictions_wherever_they_stand() -> None:
    network = module.new_network(512, 0)
    torch.nn.init.normal_(network[4].weight, std=0.02)
    image = unit(512, 512, 0).float()
    order = torch.randperm(512)
    assert torch.equal(module.forward(network, image[order]), module.forward(network, image)[order])


def test_threads_of_the_pool_compute_alone_and_leave_torchs_setting() -> None:
    before = torch.get_num_threads()
    with module.single_threads(2) as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == before
