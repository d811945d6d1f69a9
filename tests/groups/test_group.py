from __future__ import annotations

import numpy as np
import pytest

from cfbd_core.groups.group import cohesion, farthest_points, judged, medoid
from cfbd_core.scores import unit_rows


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
