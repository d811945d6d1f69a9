"""ABL's ranking by mean loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfbd_core.detectors import Abl
from cfbd_core.errors import ParameterError
from cfbd_core.method.metrics import areas_under
from cfbd_core.training.defences.abl import Abl as AblTraining
from cfbd_core.training.defences.abl import AblOptions
from tests.detectors.worlds import poisoned_world, with_unreadable
from tests.training.test_abl import recorded


def test_the_score_is_the_loss_turned_round_and_the_lowest_percent_is_flagged():
    pairs, _ = poisoned_world()
    found = Abl().detect(pairs)
    np.testing.assert_array_equal(found.score, -pairs.losses.astype(np.float32))
    assert set(np.flatnonzero(found.flagged)) == set(np.argsort(pairs.losses)[:12])
    assert found.info == {"isolated": 12, "unseen": 0}


def test_the_share_is_of_the_pairs_with_a_loss():
    pairs, _ = poisoned_world()
    losses = pairs.losses.copy()
    losses[::2] = np.nan
    found = Abl(0.1).detect(with_unreadable(replace(pairs, losses=losses), np.arange(1, 400, 2)))
    known = np.arange(401, 1200, 2)
    assert np.flatnonzero(np.isfinite(found.score)).tolist() == known.tolist()
    assert set(np.flatnonzero(found.flagged)) == set(known[np.argsort(losses[known])[:40]])
    assert found.info == {"isolated": 40, "unseen": 600}


def test_planted_pairs_fill_the_flagged_share():
    pairs, truth = poisoned_world()
    assert truth[Abl().detect(pairs).flagged].all()
    assert Abl(0.02).detect(pairs).flagged.tolist() == truth.tolist()


def test_pairs_that_were_not_trained_on_cannot_be_judged():
    pairs, _ = poisoned_world()
    with pytest.raises(ParameterError, match="cfbd train --defense abl"):
        Abl().detect(replace(pairs, losses=None))


def test_losses_recorded_in_training_rank_planted_pairs_first():
    pairs, truth = poisoned_world()
    defence = AblTraining(AblOptions(isolation_epochs=4), 1200, 0)
    rng = np.random.default_rng(0)
    for epoch in range(4):
        recorded(defence, rng.normal(np.where(truth, 1.0, 2.0), 0.3), epoch)
    found = Abl().detect(replace(pairs, losses=defence.extras()["mean_loss"]))
    areas = areas_under(truth, found.score)
    assert areas is not None
    assert areas[0] > 0.999
