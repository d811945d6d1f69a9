"""What every detector in the registry keeps to, and what a new one needs: a class, and a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cfbd_core.detectors as package
from cfbd_core.detectors import DETECTORS, Detection, Detector, Pairs
from cfbd_core.method.metrics import areas_under
from cfbd_core.method.scores import consistency_scores
from tests.detectors.worlds import poisoned_world, reordered, with_unreadable

EVERY = pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
UNREADABLE = np.array([0, 7, 500, 1199])


def as_columns(detection: Detection) -> tuple[np.ndarray, np.ndarray]:
    return detection.score, detection.flagged


def test_detectors_of_the_issue_are_registered_under_their_names():
    assert list(DETECTORS) == [
        "cfbd",
        "cfbd_centred",
        "coarse",
        "cosine",
        "safeclip",
        "k_distance",
        "slof",
        "dao",
        "abl",
        "abl_heads",
    ]
    assert all(name == detector.name for name, detector in DETECTORS.items())
    assert len({detector.title for detector in DETECTORS.values()}) == len(DETECTORS)


@EVERY
def test_each_detector_has_a_file_of_its_name(detector: Detector):
    assert type(detector).__module__ == f"cfbd_core.detectors.{detector.name}"
    assert (Path(package.__file__).parent / f"{detector.name}.py").is_file()


@EVERY
def test_each_says_its_source_and_whether_it_trains(detector: Detector):
    assert detector.source
    assert detector.title
    assert type(detector).__doc__
    assert detector.trains is (detector.name == "abl")


@EVERY
def test_columns_and_info_are_the_same_kind_from_every_detector(detector: Detector):
    pairs, _ = poisoned_world()
    found = detector.detect(pairs)
    assert found.score.shape == found.flagged.shape == (1200,)
    assert found.score.dtype == np.float32
    assert found.flagged.dtype == bool
    assert np.isfinite(found.score).all()
    json.dumps(
        {name: value for name, value in found.info.items() if not isinstance(value, np.ndarray)},
        allow_nan=False,
    )


@EVERY
def test_pairs_without_a_score_have_none_and_are_never_flagged(detector: Detector):
    pairs = with_unreadable(poisoned_world()[0], UNREADABLE)
    found = detector.detect(pairs)
    assert np.flatnonzero(np.isnan(found.score)).tolist() == UNREADABLE.tolist()
    assert not found.flagged[UNREADABLE].any()


@EVERY
def test_a_pair_that_f_gives_nothing_for_has_no_score_though_it_has_embeddings(detector: Detector):
    pairs, _ = poisoned_world()
    synthetic = pairs.image.copy()
    synthetic[3] = np.nan
    scores = consistency_scores(pairs.image, pairs.text, synthetic)
    found = detector.detect(replace(pairs, scores=scores))
    assert np.flatnonzero(np.isnan(found.score)).tolist() == [3]
    assert not found.flagged[3]


@EVERY
def test_pairs_without_a_score_change_nothing_for_the_others(detector: Detector):
    pairs = with_unreadable(poisoned_world()[0], UNREADABLE)
    rest = np.setdiff1d(np.arange(1200), UNREADABLE)
    found, among_themselves = detector.detect(pairs), detector.detect(reordered(pairs, rest))
    np.testing.assert_array_equal(found.score[rest], among_themselves.score)
    np.testing.assert_array_equal(found.flagged[rest], among_themselves.flagged)


@EVERY
def test_equal_pairs_and_seed_give_an_equal_detection(detector: Detector):
    pairs = replace(poisoned_world()[0], seed=3)
    for once, again in zip(
        as_columns(detector.detect(pairs)), as_columns(detector.detect(pairs)), strict=True
    ):
        np.testing.assert_array_equal(once, again)


@EVERY
def test_the_order_of_the_pairs_does_not_matter(detector: Detector):
    pairs, _ = poisoned_world()
    order = np.random.default_rng(1).permutation(1200)
    found, shuffled = detector.detect(pairs), detector.detect(reordered(pairs, order))
    np.testing.assert_allclose(found.score[order], shuffled.score, atol=1e-5)
    np.testing.assert_array_equal(found.flagged[order], shuffled.flagged)


@EVERY
def test_half_precision_embeddings_are_judged_alike(detector: Detector):
    pairs, _ = poisoned_world()
    half = replace(pairs, image=pairs.image.astype(np.float16), text=pairs.text.astype(np.float16))
    exact, rounded = detector.detect(pairs).score, detector.detect(half).score
    assert np.corrcoef(exact, rounded)[0, 1] > 0.999


@EVERY
def test_pairs_are_left_as_they_were(detector: Detector):
    pairs, _ = poisoned_world()
    before = [array.copy() for array in (pairs.image, pairs.text, *vars(pairs.scores).values())]
    detector.detect(pairs)
    for was, now in zip(before, (pairs.image, pairs.text, *vars(pairs.scores).values()), strict=True):
        np.testing.assert_array_equal(was, now)


def test_a_new_detector_is_one_class():
    class LongCaptions(Detector):
        name, title, source = "long", "Long captions", "this test"

        def detect(self, pairs: Pairs) -> Detection:
            length = np.array([len(caption) for caption in pairs.captions], np.float32)
            return Detection(np.where(pairs.scored, length, np.nan), pairs.scored & (length > 20), {})

    pairs = replace(poisoned_world(6, 2)[0], captions=["a", "b" * 30, "c", "d", "e" * 25, "f"])
    found = LongCaptions().detect(pairs)
    assert np.flatnonzero(found.flagged).tolist() == [1, 4]


def test_a_detector_without_detect_cannot_be_made():
    with pytest.raises(TypeError, match="detect"):
        Detector()


@pytest.mark.parametrize("name", ["cfbd", "coarse", "cosine", "safeclip"])
def test_planted_poison_ranks_first(name: str):
    pairs, truth = poisoned_world()
    found = DETECTORS[name].detect(pairs)
    areas = areas_under(truth, found.score)
    assert areas is not None
    assert areas[0] > 0.999
    assert found.flagged[truth].all()
