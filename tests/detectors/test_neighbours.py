"""k-distance, SLOF and DAO against double loops, and the batches they work in."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.detectors import Dao, KDistance, Slof
from cfbd_core.detectors.dao import MOST_DIMENSIONS, intrinsic_dimensionality
from cfbd_core.detectors.neighbours import (
    SMALLEST_DISTANCE,
    NeighbourDetector,
    Neighbourhoods,
    batches_of,
    distinct_rows,
    nearest,
)
from cfbd_core.method.metrics import areas_under
from cfbd_core.method.scores import unit_rows
from tests.detectors.worlds import WIDTH, pairs_of, sparse_world

THREE = pytest.mark.parametrize("kind", [KDistance, Slof, Dao])


def as_judged(image: np.ndarray) -> np.ndarray:
    """The points that a detector sees: unit rows in single precision, to be computed with in double."""
    return unit_rows(image).astype(np.float64)


def literal_score(kind: type[NeighbourDetector], points: np.ndarray, k: int) -> list[float]:
    """The published formula for each row of ``points`` (m, d), all distinct: one loop in another."""
    m = len(points)
    k = min(k, m - 1)
    near = []
    for x in range(m):
        others = [(math.dist(points[x], points[o]), o) for o in range(m) if o != x]
        near.append(sorted(others)[:k])
    k_distance = [neighbours[-1][0] for neighbours in near]
    lid = []
    for neighbours, farthest in zip(near, k_distance, strict=True):
        total = sum(math.log(distance / farthest) for distance, _ in neighbours)
        lid.append(min(-k / total if total else math.inf, MOST_DIMENSIONS))
    scores = []
    for x in range(m):
        ratios = [(k_distance[x] / k_distance[o], lid[o]) for _, o in near[x]]
        if kind is KDistance:
            scores.append(k_distance[x])
        elif kind is Slof:
            scores.append(sum(ratio for ratio, _ in ratios) / k)
        else:
            powers = [Decimal(ratio) ** Decimal(power) for ratio, power in ratios]
            scores.append(float((sum(powers) / k).ln()))
    return scores


@THREE
@given(
    n=st.integers(2, 40),
    width=st.integers(3, 8),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_one_batch_agrees_with_the_formula_in_loops(kind, n, width, k, seed):
    rng = np.random.default_rng(seed)
    image = unit_rows(rng.normal(size=(n, width)))
    found = kind(k=k).detect(pairs_of(image, unit_rows(rng.normal(size=(n, width)))))
    expected = literal_score(kind, as_judged(image), k)
    np.testing.assert_allclose(found.score, expected, rtol=1e-5, atol=1e-5)


@THREE
def test_captions_of_one_picture_count_as_one_point(kind):
    rng = np.random.default_rng(4)
    distinct = unit_rows(rng.normal(size=(40, 6)))
    picture = np.concatenate([np.arange(40), rng.integers(0, 40, 60)])
    found = kind(k=5).detect(pairs_of(distinct[picture], unit_rows(rng.normal(size=(100, 6)))))
    alone = literal_score(kind, as_judged(distinct), 5)
    np.testing.assert_allclose(found.score, np.array(alone)[picture], rtol=1e-5, atol=1e-5)


@THREE
def test_batches_are_judged_each_by_itself(kind):
    pairs, _ = sparse_world(500)
    found = kind(batch=100).detect(replace(pairs, seed=5))
    batches = list(batches_of(np.arange(500), pairs.keys, 100, 5))
    assert found.info["batches"] == len(batches) == 5
    for rows in batches:
        expected = literal_score(kind, as_judged(pairs.image[rows]), 16)
        np.testing.assert_allclose(found.score[rows], expected, rtol=1e-5, atol=1e-5)


@THREE
def test_another_seed_makes_other_batches_and_other_scores(kind):
    pairs, _ = sparse_world(500)
    detector = kind(batch=100)
    one, other = (detector.detect(replace(pairs, seed=seed)).score for seed in (0, 1))
    assert (one != other).mean() > 0.9


@THREE
@pytest.mark.parametrize("batch", [100, 2048])
def test_pictures_far_from_all_others_rank_first(kind, batch):
    pairs, outlying = sparse_world()
    found = kind(batch=batch).detect(pairs)
    areas = areas_under(outlying, found.score)
    assert areas is not None
    assert areas[0] > 0.99
    assert found.flagged[outlying].all()


def test_slof_and_dao_see_an_outlier_beside_a_dense_cluster_that_k_distance_misses():
    rng = np.random.default_rng(7)
    dense = 6 * np.eye(WIDTH)[0] + 0.1 * rng.normal(size=(150, WIDTH))
    sparse = rng.normal(size=(150, WIDTH)) * 2
    sparse[:, 0] = -5
    beside = 6 * np.eye(WIDTH)[0] + 0.7 * rng.normal(size=(1, WIDTH))
    image = unit_rows(np.concatenate([dense, sparse, beside]))
    pairs = pairs_of(image, image)
    scores = {kind: kind().detect(pairs).score for kind in (KDistance, Slof, Dao)}
    ranks = {kind: int((score > score[-1]).sum()) for kind, score in scores.items()}
    assert ranks[Slof] == ranks[Dao] == 0
    assert ranks[KDistance] > 100


@THREE
def test_a_tenth_of_the_scored_pairs_is_flagged_those_with_the_highest_scores(kind):
    pairs, _ = sparse_world(300)
    found = kind().detect(pairs)
    assert set(np.flatnonzero(found.flagged)) == set(np.argsort(found.score)[-30:])
    assert found.score[found.flagged].min() > found.info["cut"] >= found.score[~found.flagged].max()


@THREE
def test_where_all_scores_tie_none_is_flagged(kind):
    corners = np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)
    found = kind(k=3).detect(pairs_of(corners, corners))
    assert len(np.unique(found.score)) == 1
    assert np.isfinite(found.score).all()
    assert not found.flagged.any()


@THREE
@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_with_fewer_pictures_than_k_all_that_there_are_are_neighbours(kind, distinct):
    image = np.repeat(np.eye(4, dtype=np.float32)[:distinct], 3, axis=0)
    found = kind().detect(pairs_of(image, image))
    if distinct == 1:
        assert np.isnan(found.score).all()
        assert found.info["cut"] is None
    else:
        assert np.isfinite(found.score).all()
    assert not found.flagged.any()


@THREE
def test_no_pair_with_a_score_gives_an_empty_finding(kind):
    nothing = np.zeros((5, 4), np.float32)
    found = kind().detect(pairs_of(nothing, nothing))
    assert np.isnan(found.score).all()
    assert not found.flagged.any()
    assert found.info["batches"] == 0


@THREE
def test_pictures_that_differ_by_rounding_alone_give_finite_scores(kind):
    rng = np.random.default_rng(9)
    image = unit_rows(rng.normal(size=(60, 8)))
    image[:20] = image[0] + np.arange(20)[:, None] * np.float32(1e-7)
    found = kind(k=4).detect(pairs_of(image, image))
    assert np.isfinite(found.score).all()


@given(n=st.integers(0, 300), size=st.integers(1, 50), seed=st.integers(0, 9))
def test_batches_part_the_rows_into_equal_groups_near_the_size(n, size, seed):
    rows = np.arange(3, 3 + n)
    keys = [f"{row:04d}" for row in range(n + 3)]
    batches = list(batches_of(rows, keys, size, seed))
    assert Counter(np.concatenate(batches).tolist() if batches else []) == Counter(rows.tolist())
    lengths = [len(batch) for batch in batches]
    assert len(lengths) == (max(1, round(n / size)) if n else 0)
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert n <= size or max(lengths) <= 1.5 * size + 1


def test_batches_depend_on_keys_and_seed_not_on_rows():
    keys = [f"{row:02d}" for row in range(50)]
    order = np.random.default_rng(0).permutation(50)
    shuffled = [keys[row] for row in order]
    one = [[keys[row] for row in batch] for batch in batches_of(np.arange(50), keys, 10, 1)]
    other = [[shuffled[row] for row in batch] for batch in batches_of(np.arange(50), shuffled, 10, 1)]
    assert one == other
    assert one != [[keys[row] for row in batch] for batch in batches_of(np.arange(50), keys, 10, 2)]


def test_distinct_rows_are_those_of_numpy_in_order_of_appearance():
    rows = np.random.default_rng(2).integers(0, 3, (80, 3)).astype(np.float32)
    distinct, place = distinct_rows(rows)
    np.testing.assert_array_equal(distinct[place], rows)
    assert len(distinct) == len(np.unique(rows, axis=0))
    assert place[0] == 0
    assert (np.maximum.accumulate(place) - place >= 0).all()


def test_small_distances_keep_their_digits():
    rng = np.random.default_rng(3)
    step = rng.normal(size=(10, 64)) * 1e-4
    points = unit_rows(rng.normal(size=64) + step)
    near = nearest(points, 3)
    exact = points.astype(np.float64)
    apart = np.linalg.norm(exact[:, None] - exact[None], axis=2)
    found = np.take_along_axis(apart, near.index, axis=1)
    np.testing.assert_allclose(near.distance, found, rtol=1e-3)


def test_distances_have_a_floor_and_never_include_the_point_itself():
    points = np.full((4, 2), 0.5**0.5, np.float32)
    near = nearest(points, 3)
    assert (near.distance == SMALLEST_DISTANCE).all()
    assert [sorted(row) for row in near.index.tolist()] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize("dimensions", [2, 5, 10])
def test_intrinsic_dimensionality_is_that_of_the_ball_the_points_fill(dimensions):
    rng = np.random.default_rng(dimensions)
    k = 200
    distance = np.sort(rng.random((500, k)) ** (1 / dimensions), axis=1)
    found = intrinsic_dimensionality(Neighbourhoods(distance, np.zeros((500, k), int)))
    assert np.median(found) == pytest.approx(dimensions, rel=0.03)


def test_intrinsic_dimensionality_of_equal_distances_is_bounded():
    equal = Neighbourhoods(np.full((3, 4), 0.7), np.zeros((3, 4), int))
    np.testing.assert_array_equal(intrinsic_dimensionality(equal), MOST_DIMENSIONS)
