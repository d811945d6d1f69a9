"""Captions that mean the same thing, put together: stars of near captions, merged by average linkage.

Single linkage (connected components over a cosine) chains: among a few hundred flagged pairs one benign
caption leads to the next until most are one group, at every threshold that still joins a target's natural
captions. Average linkage does not, but needs all n² cosines. So captions first join the densest caption
within ``NEAR_COSINE`` (a star), and the stars, few of which matter, are merged exactly.
"""

from __future__ import annotations

import numpy as np

from cfbd_core.method.scores import NORMAL_MAD

NEAR_COSINE = 0.6  # cosine, after the common direction is out: one wording of one thing
ALIKE_COSINE = 0.4  # mean cosine between all members of two groups: one thing
MOST_STARS = 4096  # merged exactly, largest first: a matrix of 64 MB
LEAST_CAPTIONS = 8  # different captions of a group: fewer have no spread to speak of
STRAY, STRAY_LEAST = 4.0, 0.15  # robust standard deviations, and cosine, below the median fit
BLOCK_ROWS = 512  # rows of a product


def cluster(vectors: np.ndarray, near: float = NEAR_COSINE, alike: float = ALIKE_COSINE) -> np.ndarray:
    """Group numbers int64 (n,) of unit vectors (n, d): 0 is the largest group; ties by first member.

    A caption joins a group by the mean cosine to all its members, at least ``alike``; what joins none is a
    group of one. The same rows in another order give the same groups unless cosines tie.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if not len(vectors):
        return np.zeros(0, np.int64)
    distinct, first, copy_of = np.unique(vectors, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in order of appearance, whatever the values are
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    copy_of, distinct = place[copy_of.ravel()], np.ascontiguousarray(distinct[order])
    weight = np.bincount(copy_of).astype(np.float32)
    star = _stars(distinct, weight, near)
    group = _without_strays(distinct, weight, _merged(distinct, weight, star, alike), near, alike)
    return _by_size(group[copy_of])


def _without_strays(
    vectors: np.ndarray, weight: np.ndarray, group: np.ndarray, near: float, alike: float
) -> np.ndarray:
    """Take out of each group what fits it far worse than its members fit, and group that by itself.

    A target's templates are one tight bundle; a benign caption on the same thing is alike enough to join it.
    """
    fit = fits(vectors, weight, group)
    stray = np.zeros(len(group), bool)
    for number in np.flatnonzero(np.bincount(group) >= LEAST_CAPTIONS):
        mine = np.flatnonzero(group == number)
        stray[mine] = fit[mine] < least_fit(np.repeat(fit[mine], weight[mine].astype(np.int64)))
    numbers: np.ndarray = group.copy()
    if stray.any():
        apart = np.flatnonzero(stray)
        star = _stars(vectors[apart], weight[apart], near)
        numbers[apart] = group.max() + 1 + _merged(vectors[apart], weight[apart], star, alike)
    return numbers


def fits(vectors: np.ndarray, weight: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Cosine of each unit vector (n, d) with the mean of its group; ``weight`` (n,) counts equal captions."""
    total = np.zeros((int(group.max()) + 1, vectors.shape[1]))
    np.add.at(total, group, vectors * weight[:, None])
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    sums: np.ndarray = np.einsum("ij,ij->i", vectors, total[group])
    return sums


def least_fit(fit: np.ndarray) -> float:
    """Below which a member's fit (m,) is a stray's: far outside of the spread of most."""
    middle = float(np.median(fit))
    spread = NORMAL_MAD * float(np.median(np.abs(fit - middle)))
    return middle - max(STRAY * spread, STRAY_LEAST)


def _stars(vectors: np.ndarray, weight: np.ndarray, near: float) -> np.ndarray:
    """Return the star of each row: the nearest of the leaders within ``near``; leaders are taken by density."""
    density = np.concatenate(
        [
            (vectors[at : at + BLOCK_ROWS] @ vectors.T >= near) @ weight
            for at in range(0, len(vectors), BLOCK_ROWS)
        ]
    )
    order = np.argsort(-density, kind="stable")
    star = np.empty(len(vectors), np.int64)
    leaders = np.empty_like(vectors)
    count = 0
    for at in range(0, len(order), BLOCK_ROWS):
        rows = order[at : at + BLOCK_ROWS]
        block = vectors[rows]
        best, near_by = _nearest(block, leaders[:count])
        among = block @ block.T
        opened: list[int] = []
        for i, row in enumerate(rows):
            own = among[i, opened] if opened else np.empty(0, np.float32)
            if len(own) and own.max() >= max(near, best[i]):
                star[row] = count - len(opened) + int(own.argmax())
            elif best[i] >= near:
                star[row] = near_by[i]
            else:
                leaders[count], star[row] = block[i], count
                opened.append(i)
                count += 1
    return star


def _nearest(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest product of each row with ``others`` (m, d), and with which; −1 where there are none."""
    if not len(others):
        return np.full(len(rows), -1, np.float32), np.zeros(len(rows), np.int64)
    products = rows @ others.T
    at = products.argmax(1)
    return products[np.arange(len(rows)), at], at


def _merged(vectors: np.ndarray, weight: np.ndarray, star: np.ndarray, alike: float) -> np.ndarray:
    """Merge the stars by average linkage, and give each star that is left alone to its nearest group."""
    count = int(star.max()) + 1
    size = np.bincount(star, weight, count)
    total = np.zeros((count, vectors.shape[1]))
    np.add.at(total, star, vectors * weight[:, None])
    mean = (total / size[:, None]).astype(np.float32)
    chosen = np.sort(np.argsort(-size, kind="stable")[:MOST_STARS])
    merged = average_linkage(mean[chosen] @ mean[chosen].T, size[chosen], alike)
    group = np.full(count, -1)
    group[chosen] = merged
    groups = int(merged.max()) + 1
    group_size = np.bincount(merged, size[chosen])
    sums = np.zeros((groups, vectors.shape[1]))
    np.add.at(sums, merged, total[chosen])
    centres = (sums / group_size[:, None]).astype(np.float32)
    rest = np.flatnonzero(group < 0)
    for at in range(0, len(rest), BLOCK_ROWS):
        rows = rest[at : at + BLOCK_ROWS]
        best, near_by = _nearest(mean[rows], centres)
        alone = groups + at + np.arange(len(rows))
        group[rows] = np.where(best >= alike, near_by, alone)
    numbers: np.ndarray = group[star]
    return numbers


def average_linkage(similarity: np.ndarray, size: np.ndarray, alike: float) -> np.ndarray:
    """Merge n clusters of ``size`` (n,) while two have a mean cosine of at least ``alike``; numbers (n,).

    ``similarity`` (n, n) holds the mean cosines between clusters and is overwritten. By chains of nearest
    neighbours (Murtagh 1983): O(n²), and the same groups as merging the best two again and again.
    """
    n = len(size)
    size = np.asarray(size, np.float64).copy()
    np.fill_diagonal(similarity, -np.inf)
    parent = np.arange(n)
    active = np.ones(n, bool)
    chain: list[int] = []
    for start in range(n):
        while chain or active[start]:
            chain = chain or [start]
            top = chain[-1]
            other = int(similarity[top].argmax())
            before = chain[-2] if len(chain) > 1 else -1
            if before >= 0 and similarity[top, before] >= similarity[top, other]:
                other = before
            if similarity[top, other] < alike:  # whatever else is merged, this one stays
                done, active[top] = chain.pop(), False
                similarity[done] = similarity[:, done] = -np.inf
            elif other == before:
                chain = chain[:-2]  # what led there may have another nearest neighbour now
                _join(similarity, size, top, other)
                parent[other], active[other] = top, False
            else:
                chain.append(other)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    numbers: np.ndarray = np.unique(parent, return_inverse=True)[1]
    return numbers


def _join(similarity: np.ndarray, size: np.ndarray, into: int, gone: int) -> None:
    row = (size[into] * similarity[into] + size[gone] * similarity[gone]) / (size[into] + size[gone])
    row[into] = row[gone] = -np.inf
    similarity[into] = similarity[:, into] = row
    similarity[gone] = similarity[:, gone] = -np.inf
    size[into] += size[gone]


def _by_size(group: np.ndarray) -> np.ndarray:
    """Number groups from the largest down, ties by first member."""
    _, first, number, size = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -size))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ranked: np.ndarray = rank[number.ravel()].astype(np.int64)
    return ranked
