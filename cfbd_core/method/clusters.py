"""Pairs that are alike, as cluster numbers: counts, the largest clusters, one representative of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cfbd_core.store.entries import DuplicateCounts


@dataclass(frozen=True, eq=False)
class Clusters:
    """Cluster ``numbers`` int64 (n,) from 0, by first member; a pair that is like no other is alone in one."""

    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Pairs in each cluster, int64 (m,)."""
        return np.bincount(self.numbers)

    @cached_property
    def first(self) -> np.ndarray:
        """The first pair of each cluster, its representative, int64 (m,): what statistics see of it."""
        return np.unique(self.numbers, return_index=True)[1].astype(np.int64)

    @property
    def first_of(self) -> np.ndarray:
        """The representative of each pair, int64 (n,)."""
        firsts: np.ndarray = self.first[self.numbers]
        return firsts

    @property
    def repeated(self) -> np.ndarray:
        """Which pairs are like another, bool (n,)."""
        mask: np.ndarray = self.sizes[self.numbers] > 1
        return mask

    def counts(self) -> DuplicateCounts:
        """Clusters of two and more pairs, the pairs in them, how many of these collapsing hides, the largest."""
        several = self.sizes[self.sizes > 1]
        inside = int(several.sum())
        return {
            "clusters": len(several),
            "pairs": inside,
            "hidden": inside - len(several),
            "largest": int(several.max(initial=0)),
        }

    def largest(self, count: int) -> list[np.ndarray]:
        """Return the pairs, ascending, of the largest clusters of two and more; of equal ones the first."""
        several = np.flatnonzero(self.sizes > 1)
        chosen = several[np.argsort(-self.sizes[several], kind="stable")][:count]
        inside = np.flatnonzero(np.isin(self.numbers, chosen))
        inside = inside[np.argsort(self.numbers[inside], kind="stable")]
        parts = np.split(inside, np.flatnonzero(np.diff(self.numbers[inside])) + 1) if len(inside) else []
        by_number = {int(self.numbers[part[0]]): part for part in parts}
        return [by_number[int(number)] for number in chosen]


def from_labels(labels: np.ndarray) -> Clusters:
    """Return the clusters of pairs with equal ``labels`` (n,)."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return Clusters(rank[inverse])


def alone(n: int) -> Clusters:
    """Return n clusters of one pair each."""
    return Clusters(np.arange(n))


def both(one: Clusters, other: Clusters) -> Clusters:
    """Return the clusters of pairs that are alike in both ways; of images and of captions, these may be collapsed."""
    return from_labels(one.numbers * len(other) + other.numbers)
