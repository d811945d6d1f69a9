"""ABL over frozen embeddings: losses against a literal version, the ranking, pairs without a score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from cfbd_core.detectors import AblHeads
from cfbd_core.method.metrics import areas_under
from tests.detectors.worlds import poisoned_world, with_unreadable


def literal_first_losses(image: np.ndarray, text: np.ndarray, seed: int) -> np.ndarray:
    """Losses of the pairs in one batch, before anything is learned, pair by pair."""
    image, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text))
    losses = np.zeros(len(image))
    for one in range(len(image)):
        for own, others in ((image, text), (text, image)):
            logits = torch.tensor([100 * own[one] @ other for other in others])
            losses[one] += cross_entropy(logits[None], torch.tensor([one])).item() / 2
    return losses


def test_the_first_epoch_of_one_batch_is_clips_loss_by_pair() -> None:
    pairs, _ = poisoned_world(60, 4)
    found = AblHeads(epochs=1, batch_size=60).detect(pairs)
    np.testing.assert_allclose(
        -found.score, literal_first_losses(pairs.image, pairs.text, 0), rtol=1e-3, atol=1e-4
    )


def test_what_is_learned_lowers_the_losses() -> None:
    pairs, _ = poisoned_world(600, 12)
    first = AblHeads(epochs=1, batch_size=100, lr=1e-9).detect(pairs)
    mean = AblHeads(epochs=10, batch_size=100).detect(pairs)
    assert -mean.score.mean() < -first.score.mean()


def test_equal_pairs_and_seed_give_an_equal_detection() -> None:
    pairs, _ = poisoned_world(300, 6)
    first, again = (AblHeads(batch_size=100).detect(pairs) for _ in range(2))
    np.testing.assert_array_equal(first.score, again.score)
    other = AblHeads(batch_size=100).detect(replace(pairs, seed=1))
    assert not np.array_equal(first.score, other.score)


def test_the_share_is_of_the_pairs_with_a_score_and_others_have_none() -> None:
    pairs, truth = poisoned_world(400, 8)
    found = AblHeads(0.05).detect(with_unreadable(pairs, np.arange(0, 400, 2)))
    assert np.isnan(found.score[::2]).all()
    assert np.isfinite(found.score[1::2]).all()
    assert found.info == {"isolated": 10}
    assert found.flagged.sum() == 10
    assert not found.flagged[::2].any()
    assert areas_under(truth, found.score) is not None


def test_without_a_score_nothing_is_flagged() -> None:
    pairs, _ = poisoned_world(50, 2)
    found = AblHeads().detect(with_unreadable(pairs, np.arange(50)))
    assert np.isnan(found.score).all()
    assert not found.flagged.any()
