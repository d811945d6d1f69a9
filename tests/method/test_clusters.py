"""Clusters: numbers, counts and representatives are those of a dictionary."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.method.clusters import alone, both, from_labels

LABELS = st.lists(st.integers(-3, 6), max_size=40)


def literal(labels: list) -> list[list[int]]:
    found = defaultdict(list)
    for position, label in enumerate(labels):
        found[label].append(position)
    return list(found.values())


@given(LABELS, st.integers(0, 5))
def test_clusters_are_pairs_of_one_label(labels, count) -> None:
    clusters, parts = from_labels(np.array(labels, np.int64)), literal(labels)
    assert len(clusters) == len(parts)
    for number, part in enumerate(parts):
        assert (clusters.numbers[part] == number).all()
        assert (clusters.first_of[part] == part[0]).all()
    assert clusters.sizes.tolist() == [len(part) for part in parts]
    assert clusters.first.tolist() == [part[0] for part in parts]
    several = [part for part in parts if len(part) > 1]
    assert np.flatnonzero(clusters.repeated).tolist() == sorted(
        position for part in several for position in part
    )
    inside = sum(map(len, several))
    assert clusters.counts() == {
        "clusters": len(several),
        "pairs": inside,
        "hidden": inside - len(several),
        "largest": max(map(len, several), default=0),
    }
    wanted = sorted(several, key=len, reverse=True)[:count]
    assert [part.tolist() for part in clusters.largest(count)] == wanted


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_alike_in_both_ways(pairs) -> None:
    one, other = (from_labels(np.array([pair[side] for pair in pairs], np.int64)) for side in (0, 1))
    found = both(one, other)
    assert [part.tolist() for part in found.largest(99)] == sorted(
        [part for part in literal(pairs) if len(part) > 1], key=len, reverse=True
    )
    assert both(one, alone(len(pairs))).counts()["pairs"] == 0
