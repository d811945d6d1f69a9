from __future__ import annotations

import numpy as np
import pytest

from cfbd_core.groups.group import Group, cohesion, farthest_points, judged, medoid
from cfbd_core.groups.words import Phrase
from cfbd_core.method.scores import unit_rows


@pytest.mark.parametrize(
    ("size", "captions", "images", "fits", "kind"),
    [
        (40, 0.9, 0.0, False, "poison-like"),
        (40, 0.5, -0.05, False, "poison-like"),
        (40, 0.5, 0.5, True, "benign topic"),
        (40, 0.9, 0.7, False, "unclear"),  # an optimised patch
        (40, 0.5, 0.2, True, "unclear"),
        (40, 1.0, 1.0, True, "duplicates"),
        (2, 1.0, 1.0, True, "duplicates"),
        (40, 1.0, 0.0, False, "poison-like"),
        (4, 0.9, 0.0, False, "unclear"),
        (1, None, None, True, "unclear"),
        (6, 0.9, None, True, "unclear"),
        (6, -0.1, 0.0, True, "benign topic"),
    ],
)
def test_kinds(size: int, captions: float | None, images: float | None, fits: bool, kind: str) -> None:
    found, reason = judged(size, captions, images, fits)
    assert found == kind
    assert reason


def test_cohesion_is_the_mean_of_all_pairs() -> None:
    vectors = unit_rows(np.random.default_rng(0).normal(size=(7, 5)))
    pairs = [vectors[i] @ vectors[j] for i in range(7) for j in range(i)]
    assert cohesion(vectors) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert cohesion(vectors[:1]) is None


def test_the_medoid_of_equals_has_the_least_key() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 2]]
    assert medoid(vectors, ["a", "d", "b", "c", "e"]) == 2


def test_farthest_points_are_those_of_the_literal_rule() -> None:
    vectors = unit_rows(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
    expected = [4]
    while len(expected) < 12:
        rest = [i for i in range(30) if i not in expected]
        expected.append(min(rest, key=lambda i: max(float(vectors[i] @ vectors[j]) for j in expected)))
    assert farthest_points(vectors, 4).tolist() == expected
    assert sorted(farthest_points(vectors[:3], 1).tolist()) == [0, 1, 2]


def test_a_group_says_its_name_its_numbers_and_why() -> None:
    at = np.array([3], np.int64)
    words = tuple(Phrase(text, 1, 1.0) for text in ("ripe", "banana", "yellow", "fruit"))
    full = Group("k", at, 3, "a banana", at, words, 0.914, -0.001, "unclear", "only 1 pair", 1.5, 0.25)
    assert full.name == "ripe · banana · yellow"
    assert full.numbers == "captions alike 0.91 · images alike 0.00 · mean c 1.50 · mean z 0.25"
    assert full.sentence == "Only 1 pair."
    bare = Group("k", at, 3, "a banana", at, (), None, None, "unclear", "", None, None)
    assert (bare.name, bare.numbers) == ("a banana", "")
