"""SafeCLIP-like training against the paper's formula, and the division into safe and risky pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.training.defences.safeclip import SafeClip, SafeClipOptions
from tests.training import literal

PAIRS = 1000
RISKY = np.arange(PAIRS) % 5 == 0


def cosines(seed: int = 0) -> np.ndarray:
    """A fifth of the pairs agree little, the others much."""
    rng = np.random.default_rng(seed)
    return np.where(RISKY, rng.normal(0.05, 0.05, PAIRS), rng.normal(0.45, 0.08, PAIRS))


def embed_with(cosine: np.ndarray):
    def embed(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = np.tile(np.array([1, 0], np.float32), (len(rows), 1))
        text = np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1).astype(np.float32)
        return image, text[rows]

    return embed


def made(**options) -> SafeClip:
    return SafeClip(SafeClipOptions(**{"warmup_epochs": 2, "clip_epochs": 1} | options), PAIRS, 0)


def safe_after(defence: SafeClip, epoch: int, cosine: np.ndarray) -> np.ndarray:
    defence.begin_epoch(epoch, 20, embed_with(cosine))
    return defence.extras()["safe"]


def test_the_epochs_before_the_division_embed_nothing_and_are_in_modal():
    defence, features = made(), literal.batch(6, views=True)
    in_modal, clip = literal.in_modal(features, 10.0), literal.clip(features["image"], features["text"], 10.0)
    for epoch in range(3):
        defence.begin_epoch(epoch, 20, literal.no_embed)
        found = defence.loss(features, torch.tensor(10.0), literal.step_of(range(6), epoch))
        expected = in_modal if epoch < 2 else in_modal + 0.01 * clip
        assert found.total.item() == pytest.approx(expected, abs=1e-6)
    assert clip > 0.1


def test_then_safe_pairs_get_clips_loss_and_the_others_the_in_modal_one():
    defence = made()
    safe = set(safe_after(defence, 3, cosines()).tolist())
    rows = [0, 1, 2, 5, 6, 10, 11]
    assert [row in safe for row in rows] == [False, True, True, False, True, False, True]
    features = literal.batch(7, views=True)
    found = defence.loss(features, torch.tensor(10.0), literal.step_of(rows, 3))
    sure, risky = [1, 2, 4, 6], [0, 3, 5]
    clip = literal.clip(features["image"][sure], features["text"][sure], 10.0)
    in_modal = literal.in_modal({name: values[risky] for name, values in features.items()}, 10.0)
    assert found.total.item() == pytest.approx(clip + in_modal, abs=1e-5)
    assert found.parts == pytest.approx({"clip": clip, "in_modal": in_modal, "safe": 4 / 7}, abs=1e-5)


@pytest.mark.parametrize(("rows", "parts"), [([0, 5, 10], {"in_modal"}), ([1, 2, 3], {"clip"})])
def test_a_batch_of_one_kind_has_one_loss(rows, parts):
    defence = made()
    safe_after(defence, 3, cosines())
    found = defence.loss(literal.batch(3, views=True), torch.tensor(10.0), literal.step_of(rows, 3))
    assert set(found.parts) == parts | {"safe"}
    assert found.total.item() == pytest.approx(sum(found.parts[part] for part in parts))


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99])
def test_a_pair_is_safe_where_scikit_learns_posterior_is_above_the_threshold(threshold):
    cosine = cosines().astype(np.float32).astype(np.float64)
    fit = GaussianMixture(2, tol=1e-6, n_init=5, max_iter=1000, random_state=0).fit(cosine[:, None])
    posterior = fit.predict_proba(cosine[:, None])[:, fit.means_[:, 0].argmax()]
    safe = np.isin(np.arange(PAIRS), safe_after(made(threshold=threshold), 3, cosine))
    clear = np.abs(posterior - threshold) > 0.002
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(safe[clear], (posterior > threshold)[clear])


def test_the_safe_share_grows_by_a_hundredth_an_epoch_with_the_surest_pairs():
    defence = made(most=0.81)
    first = safe_after(defence, 3, cosines())
    assert len(first) == pytest.approx(800, abs=15)
    assert len(first) < 800
    sizes = []
    for epoch in range(4, 9):
        # The model has changed: other pairs agree now.
        moved = np.roll(cosines(epoch), epoch)
        safe = safe_after(defence, epoch, moved)
        sizes.append(len(safe))
        left_out = np.setdiff1d(np.arange(PAIRS), safe)
        assert moved[left_out].mean() < 0.15
        assert np.isin(np.flatnonzero(moved > 0.35), safe).all()
    expected = [min(int((len(first) / PAIRS + 0.01 * grown) * PAIRS + 1e-6), 810) for grown in range(1, 6)]
    assert sizes == pytest.approx(expected, abs=1)
    assert sizes[-1] == 810


def test_planted_pairs_of_low_cosine_are_risky():
    planted = np.flatnonzero(RISKY)
    safe = safe_after(made(), 3, cosines())
    assert np.isin(planted, safe).mean() < 0.01


def train(defence: SafeClip, epochs: range) -> list[float]:
    found = []
    for epoch in epochs:
        defence.begin_epoch(epoch, 20, embed_with(np.roll(cosines(epoch), epoch)))
        for number in range(3):
            rows = np.random.default_rng((epoch, number)).choice(PAIRS, 12, replace=False)
            features = literal.batch(12, seed=number, views=True)
            step = literal.step_of(rows, epoch, 20, number)
            found.append(defence.loss(features, torch.tensor(10.0), step).total.item())
    return found


@pytest.mark.parametrize("killed_at", [1, 3, 4, 6])
def test_a_state_goes_on_the_same(killed_at):
    unbroken, killed, resumed = made(), made(), made()
    expected = train(unbroken, range(8))
    train(killed, range(killed_at))
    state = killed.state_dict()
    train(killed, range(killed_at, 8))  # what is kept is not changed by what comes after
    resumed.load_state_dict(state)
    if killed_at > 3:
        assert resumed.extras()["safe"].size
    assert train(resumed, range(killed_at, 8)) == expected[3 * killed_at :]


def test_a_state_within_an_epoch_keeps_the_division():
    defence, resumed = made(), made()
    safe_after(defence, 3, cosines())
    resumed.load_state_dict(defence.state_dict())
    features, step = literal.batch(7, views=True), literal.step_of([0, 1, 2, 5, 6, 10, 11], 3)
    same, loss = (one.loss(features, torch.tensor(10.0), step) for one in (resumed, defence))
    assert same.total.item() == loss.total.item()
    assert same.parts["safe"] == pytest.approx(4 / 7)


def test_a_run_that_would_never_divide_is_refused():
    with pytest.raises(TrainingError, match="after 3 epochs, and the run has 3; give more --epochs"):
        made().check_length(3)
    made().check_length(4)
    with pytest.raises(TrainingError, match="after 6 epochs, and the run has 6"):
        SafeClip(SafeClipOptions(), PAIRS, 0).check_length(6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"warmup_epochs": -1}, "warmup_epochs"),
        ({"threshold": 1.0}, "threshold 1"),
        ({"growth": -0.1}, "growth -0.1"),
        ({"most": 0}, "most 0"),
        ({"clip_weight": -1}, "clip_weight -1"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ParameterError, match=match):
        SafeClipOptions(**options)
