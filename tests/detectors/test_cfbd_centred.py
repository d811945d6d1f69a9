"""Centred z: what all captions share is no likeness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfbd_core.detectors import DETECTORS
from cfbd_core.method.metrics import areas_under
from cfbd_core.method.scores import centred, textual_correlation, unit_rows
from tests.detectors.worlds import poisoned_world


def test_centring_takes_the_mean_of_usable_rows_out() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(50, 8)) + 3 * np.eye(8)[0]).astype(np.float16)
    vectors[[3, 40]] = 0
    found = centred(vectors)
    unit = [row / np.linalg.norm(row) for i, row in enumerate(vectors.astype(np.float64)) if i not in (3, 40)]
    mean = sum(unit) / len(unit)
    slow = np.array([(row - mean) / np.linalg.norm(row - mean) for row in unit])
    np.testing.assert_allclose(np.delete(found, [3, 40], axis=0), slow, atol=1e-5)
    assert not found[[3, 40]].any()
    assert not centred(np.zeros((4, 8), np.float16)).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_probe_that_is_mostly_benign_still_ranks_poison_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shared, target = np.eye(64)[:2]
    text = rng.normal(size=(4000, 64)) / 8 + 1.5 * shared
    text[:80] = rng.normal(size=(80, 64)) / 16 + target  # not about what all others are about
    text = unit_rows(text)
    truth = np.arange(4000) < 80
    probe = np.concatenate(
        [rng.choice(80, 10, replace=False), rng.choice(np.arange(80, 4000), 40, replace=False)]
    )
    published, mended = (areas_under(truth, textual_correlation(t, probe)) for t in (text, centred(text)))
    assert published is not None
    assert mended is not None
    assert published[0] < 0.5
    assert mended[0] > 0.999


def test_it_is_cfbd_on_centred_captions() -> None:
    pairs, truth = poisoned_world()
    found = DETECTORS["cfbd_centred"].detect(pairs)
    beside = DETECTORS["cfbd"].detect(replace(pairs, text=centred(pairs.text)))
    np.testing.assert_array_equal(found.score, beside.score)
    assert found.flagged[truth].mean() > 0.9
