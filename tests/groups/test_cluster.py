from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.groups import cluster as module
from cfbd_core.groups.cluster import average_linkage, cluster, fits, least_fit
from cfbd_core.method.scores import unit_rows


def unit(rng, n: int, width: int = 6) -> np.ndarray:
    return unit_rows(rng.normal(size=(n, width)).astype(np.float32))


def same_partition(a, b) -> bool:
    a, b = np.asarray(a).tolist(), np.asarray(b).tolist()
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def literal_average_linkage(similarity: np.ndarray, size: np.ndarray, alike: float) -> np.ndarray:
    """Merge the two clusters with the largest mean cosine, again and again."""
    groups = [[i] for i in range(len(size))]

    def mean(one: list[int], other: list[int]) -> float:
        weights = np.outer(size[one], size[other])
        return float((weights * similarity[np.ix_(one, other)]).sum() / weights.sum())

    while len(groups) > 1:
        best, i, j = max((mean(groups[i], groups[j]), i, j) for i in range(len(groups)) for j in range(i))
        if best < alike:
            break
        groups[j] += groups.pop(i)
    labels = np.empty(len(size), int)
    for number, members in enumerate(groups):
        labels[members] = number
    return labels


@given(st.integers(0, 10_000), st.integers(1, 24), st.floats(-0.2, 0.9))
def test_average_linkage_merges_as_its_literal_version_does(seed: int, n: int, alike: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, size = unit(rng, n).astype(np.float64), rng.integers(1, 5, n).astype(float)
    similarity = vectors @ vectors.T
    found = average_linkage(similarity.copy(), size, alike)
    assert same_partition(found, literal_average_linkage(similarity, size, alike))


def bundles(rng, sizes: list[int], spread: float = 0.3, width: int = 32) -> tuple[np.ndarray, np.ndarray]:
    centres = np.linalg.qr(rng.normal(size=(width, width)))[0][: len(sizes)]
    label = np.repeat(np.arange(len(sizes)), sizes)
    noise = unit(rng, len(label), width)
    return unit_rows((centres[label] + spread * noise).astype(np.float32)), label


@given(st.integers(0, 10_000))
def test_bundles_come_apart_in_any_order_and_the_largest_is_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, label = bundles(rng, [40, 17, 9, 3, 1])
    order = rng.permutation(len(label))
    found = cluster(vectors[order])
    assert same_partition(found, label[order])
    assert np.bincount(found).tolist() == [40, 17, 9, 3, 1]


@pytest.mark.parametrize("block", [1, 3, 512])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block: int) -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng, 150, 4)
    expected = cluster(vectors)
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    assert cluster(vectors).tolist() == expected.tolist()


def test_stars_beyond_the_most_join_the_nearest_group_or_stay_alone(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    vectors, label = bundles(rng, [30, 30, 1, 1])
    monkeypatch.setattr(module, "MOST_STARS", 2)
    assert same_partition(cluster(vectors), label)


def test_equal_captions_are_one_group_however_many() -> None:
    vectors = np.repeat(unit(np.random.default_rng(0), 1, 8), 5_000, axis=0)
    assert cluster(vectors).tolist() == [0] * 5_000


def test_nothing_and_one() -> None:
    assert cluster(np.zeros((0, 8), np.float32)).tolist() == []
    assert cluster(unit(np.random.default_rng(0), 1)).tolist() == [0]


def test_rows_without_a_direction_are_no_group_with_others() -> None:
    vectors, _ = bundles(np.random.default_rng(0), [6])
    found = cluster(np.vstack([vectors, np.zeros((1, 32), np.float32)]))
    assert found.tolist() == [0] * 6 + [1]


def test_a_chain_of_captions_is_not_one_group() -> None:
    """Each is near the next, the first and the last are opposite: connected components would join them."""
    angle = np.linspace(0, np.pi, 40)
    vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    found = cluster(vectors)
    for number in set(found.tolist()):
        mine = vectors[found == number]
        assert (mine @ mine.T).mean() >= module.ALIKE_COSINE


def test_a_stray_that_would_join_a_tight_bundle_is_taken_out() -> None:
    rng = np.random.default_rng(1)
    vectors, _ = bundles(rng, [50], spread=0.2)
    centre = unit_rows(vectors.mean(0, keepdims=True))
    beside = unit_rows(np.cross(np.eye(32)[:1, :3], centre[:, :3])).astype(np.float32)
    beside = unit_rows(np.pad(beside, ((0, 0), (0, 29))))
    beside = unit_rows(beside - (beside @ centre.T) * centre)
    stray = 0.55 * centre + np.sqrt(1 - 0.55**2) * beside
    found = cluster(np.vstack([vectors, stray]))
    assert found.tolist() == [0] * 50 + [1]


@given(st.integers(0, 10_000))
def test_fit_is_the_cosine_with_the_mean_of_all_members_copies_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, group, weight = unit(rng, 20), rng.integers(0, 4, 20), rng.integers(1, 4, 20).astype(float)
    group[:4] = range(4)
    for row, fit in enumerate(fits(vectors, weight, group)):
        members = [
            v
            for v, g, w in zip(vectors, group, weight, strict=True)
            for _ in range(int(w))
            if g == group[row]
        ]
        mean = np.mean(members, axis=0)
        assert fit == pytest.approx(vectors[row] @ mean / np.linalg.norm(mean), abs=1e-5)


def test_least_fit_of_a_tight_bundle_leaves_room() -> None:
    assert least_fit(np.full(9, 0.9)) == pytest.approx(0.9 - module.STRAY_LEAST)


@pytest.mark.slow
def test_twenty_thousand_pairs_in_bounded_time_and_memory() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 300, 12_000)
    centres = unit(rng, 300, 256)
    vectors = unit_rows(
        np.vstack([0.8 * centres[label] + 0.6 * unit(rng, 12_000, 256), unit(rng, 8_000, 256)])
    )
    found = cluster(vectors)
    assert len(set(zip(found[:12_000].tolist(), label.tolist(), strict=True))) < 330
