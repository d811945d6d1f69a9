"""ABL against the paper's formulas, and what it isolates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfbd_core.detectors.abl import lowest
from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.training.defences.abl import Abl, AblOptions
from cfbd_core.training.defences.base import Loss
from tests.training import literal

PAIRS = 60


def made(pairs: int = PAIRS, **options) -> Abl:
    return Abl(AblOptions(**{"isolation_epochs": 2} | options), pairs, 0)


def recorded(defence: Abl, losses: np.ndarray, epoch: int, rows: np.ndarray | None = None) -> None:
    """Let a defence see these losses (n,) of ``rows``, or of all pairs."""
    rows = np.arange(len(losses)) if rows is None else rows
    step = literal.step_of(rows, epoch)
    defence.seen(step, Loss(torch.tensor(0.0), {}, torch.from_numpy(losses)))


def isolating(rows: list[int], share: float = 0.05, **options) -> Abl:
    """A defence past its turning epoch that has isolated these rows."""
    defence = made(share=share, **options)
    losses = np.ones(PAIRS)
    losses[rows] = 0.1
    recorded(defence, losses, 0)
    defence.begin_epoch(2, 5, literal.no_embed)
    assert defence.extras()["isolated"].tolist() == sorted(rows)
    return defence


@given(n=st.integers(1, 7), seed=st.integers(0, 10**6), scale=st.floats(0.5, 30))
def test_a_pairs_loss_is_its_part_of_clips_in_both_directions(n, seed, scale):
    features = literal.batch(n, seed)
    found = made().loss(features, torch.tensor(scale), literal.step_of(range(n)))
    by_pair = literal.clip_by_pair(features["image"], features["text"], scale)
    assert found.per_pair.tolist() == pytest.approx(by_pair, abs=1e-5)
    assert found.total.item() == pytest.approx(literal.mean(by_pair), abs=1e-5)
    assert not found.per_pair.requires_grad


@given(seed=st.integers(0, 10**6), gamma=st.floats(0.1, 3))
def test_local_gradient_ascent_climbs_for_losses_below_gamma(seed, gamma):
    features = literal.batch(6, seed)
    found = made(ascent="lga", gamma=gamma).loss(features, torch.tensor(8.0), literal.step_of(range(6)))
    by_pair = literal.clip_by_pair(features["image"], features["text"], 8.0)
    signed = [math.copysign(1, loss - gamma) * loss for loss in by_pair]
    assert found.total.item() == pytest.approx(literal.mean(signed), abs=1e-5)
    assert found.per_pair.tolist() == pytest.approx(by_pair, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 9.0])
def test_flooding_holds_the_batchs_mean_at_gamma(gamma):
    features = literal.batch(6)
    found = made(ascent="flooding", gamma=gamma).loss(features, torch.tensor(8.0), literal.step_of(range(6)))
    clip = literal.clip(features["image"], features["text"], 8.0)
    assert found.total.item() == pytest.approx(abs(clip - gamma) + gamma, abs=1e-5)


def test_after_the_turn_the_loss_is_that_of_the_rest_less_that_of_the_isolated():
    defence = isolating([3, 11, 40])
    rows = [0, 3, 7, 40, 50, 59]
    features = literal.batch(6, seed=9)
    scale = 2.0
    found = defence.loss(features, torch.tensor(scale), literal.step_of(rows, 2))
    rest = [0, 2, 4, 5]
    learned = literal.clip(features["image"][rest], features["text"][rest], scale)
    by_pair = literal.clip_by_pair(features["image"], features["text"], scale)
    assert max(by_pair[1], by_pair[3]) > math.log(6) > min(by_pair[1], by_pair[3])  # the bound counts for one
    unlearned = literal.mean([min(by_pair[place], math.log(6)) for place in (1, 3)])
    assert found.total.item() == pytest.approx(learned - unlearned, abs=1e-5)
    assert found.parts == pytest.approx(
        {"clip": learned, "isolated": literal.mean([by_pair[1], by_pair[3]])}, abs=1e-5
    )


def test_unlearning_is_weighted():
    features, step = literal.batch(6), literal.step_of([0, 3, 7, 40, 50, 59], 2)
    totals = [
        isolating([3, 11, 40], unlearn_weight=weight).loss(features, torch.tensor(2.0), step).total.item()
        for weight in (0.0, 1.0, 2.0)
    ]
    assert totals[0] - totals[1] == pytest.approx(totals[1] - totals[2])
    assert totals[0] > totals[1] + 0.1


def test_unlearning_ends_where_a_pair_is_no_longer_known():
    """Gradient descent on nothing but an isolated pair: its loss climbs to log n and stays there."""
    defence = isolating([3, 11, 40])
    rng = np.random.default_rng(1)
    image, text = literal.unit(rng, 8).detach(), literal.unit(rng, 8).detach()
    learned = image[:1] * 1.0
    text[0] = image[0]  # the pair is known well
    learned.requires_grad_()
    losses = []
    for _ in range(1500):
        now = torch.cat([learned / learned.norm(), image[1:]])
        loss = defence.loss(
            {"image": now, "text": text}, torch.tensor(10.0), literal.step_of([3, *range(50, 57)], 3)
        )
        losses.append(loss.parts["isolated"])
        (gradient,) = torch.autograd.grad(loss.total, learned)
        learned = (learned - 0.01 * gradient).detach().requires_grad_()
    assert losses[0] < 0.3
    assert math.log(8) <= losses[-1] < math.log(8) + 0.5
    assert float(gradient.norm()) < 1e-6


def test_a_batch_without_isolated_pairs_is_clips_and_one_of_them_alone_is_unlearned():
    defence, features = isolating([3, 11, 40]), literal.batch(3)
    clip = literal.clip(features["image"], features["text"], 2.0)
    none = defence.loss(features, torch.tensor(2.0), literal.step_of([0, 1, 2], 2))
    assert none.total.item() == pytest.approx(clip, abs=1e-5)
    alone = defence.loss(features, torch.tensor(2.0), literal.step_of([3, 11, 40], 2))
    by_pair = literal.clip_by_pair(features["image"], features["text"], 2.0)
    assert alone.total.item() == pytest.approx(
        -literal.mean([min(x, math.log(3)) for x in by_pair]), abs=1e-5
    )


def test_planted_pairs_that_are_learned_first_are_isolated_by_their_mean_loss():
    rng = np.random.default_rng(0)
    planted = rng.choice(PAIRS, 6, replace=False)
    defence = made(share=0.1, isolation_epochs=8)
    for epoch in range(8):
        losses = rng.uniform(1.5, 3.5, PAIRS)
        losses[planted] = rng.uniform(0.5, 2.2, 6)  # in one epoch alone they would not be told apart
        recorded(defence, losses, epoch)
    order = rng.permutation(PAIRS)
    recorded(defence, np.zeros(5), 8, order[:5])  # later losses no longer count
    defence.begin_epoch(8, 10, literal.no_embed)
    assert set(defence.extras()["isolated"]) == set(planted)


def test_mean_losses_are_of_the_epochs_in_which_a_pair_was_seen():
    defence = made()
    recorded(defence, np.array([2.0, 4.0]), 0, np.array([5, 8]))
    recorded(defence, np.array([1.0]), 1, np.array([5]))
    mean = defence.extras()["mean_loss"]
    assert (mean.shape, mean.dtype) == ((PAIRS,), np.float32)
    assert mean[[5, 8]].tolist() == [1.5, 4.0]
    assert np.isnan(np.delete(mean, [5, 8])).all()


@given(
    losses=st.lists(st.one_of(st.floats(0, 9), st.just(float("nan"))), min_size=1, max_size=40),
    share=st.floats(0.01, 0.99),
)
@settings(max_examples=100)  # each takes no time, and rare cases matter
def test_the_lowest_share_is_isolated_and_never_a_pair_without_loss(losses, share):
    rows = lowest(np.array(losses), share)
    known = [loss for loss in losses if not math.isnan(loss)]
    assert len(rows) == min(len(known), max(1, round(share * len(known))))
    assert sorted(losses[row] for row in rows) == sorted(known)[: len(rows)]
    assert len(set(rows.tolist())) == len(rows)


def test_a_run_that_would_never_isolate_is_refused():
    with pytest.raises(TrainingError, match="after 2 epochs, and the run has 2"):
        made().check_length(2)
    made().check_length(3)
    with pytest.raises(TrainingError, match="after 1 epochs, and the run has 1"):
        made(isolation_epochs=None).check_length(1)


@pytest.mark.parametrize(("epochs", "turn"), [(2, 1), (9, 4), (20, 10), (64, 10)])
def test_unasked_the_turn_comes_after_ten_epochs_or_half_of_a_short_run(epochs, turn):
    defence = made(isolation_epochs=None)
    for epoch in range(epochs):
        defence.begin_epoch(epoch, epochs, literal.no_embed)
        assert defence.extras()["isolated"].size == (0 if epoch < turn else 1)
        step = literal.step_of(range(PAIRS), epoch, epochs)
        defence.seen(step, Loss(torch.tensor(0.0), {}, torch.full((PAIRS,), float(epoch))))
    assert defence.extras()["mean_loss"][0] == pytest.approx((turn - 1) / 2)


def train(defence: Abl, steps: range) -> list[float]:
    """Losses of some steps of a run of four epochs of three steps."""
    found = []
    for number in steps:
        epoch, place = divmod(number, 3)
        if place == 0:
            defence.begin_epoch(epoch, 4, literal.no_embed)
        rows = np.random.default_rng(epoch).permutation(PAIRS)[place * 20 : place * 20 + 20]
        step = literal.step_of(rows, epoch, 4, number)
        loss = defence.loss(literal.batch(20, seed=number), torch.tensor(5.0), step)
        defence.seen(step, loss)
        found.append(loss.total.item())
    return found


@pytest.mark.parametrize("killed_at", [2, 6, 8])
def test_a_state_taken_at_any_step_goes_on_the_same(killed_at):
    unbroken, killed, resumed = (made(share=0.2) for _ in range(3))
    expected = train(unbroken, range(12))
    train(killed, range(killed_at))
    state = killed.state_dict()
    train(killed, range(killed_at, 12))  # what is kept is not changed by what comes after
    resumed.load_state_dict(state)
    assert train(resumed, range(killed_at, 12)) == expected[killed_at:]
    for name, values in unbroken.extras().items():
        np.testing.assert_array_equal(resumed.extras()[name], values)
    assert len(unbroken.extras()["isolated"]) == 12


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"isolation_epochs": 0}, "isolation_epochs 0"),
        ({"share": 0}, "share 0"),
        ({"share": 1.0}, "share 1"),
        ({"ascent": "up"}, "ascent 'up'"),
        ({"gamma": -1}, "gamma -1"),
        ({"unlearn_weight": -1}, "unlearn_weight -1"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ParameterError, match=match):
        AblOptions(**options)
