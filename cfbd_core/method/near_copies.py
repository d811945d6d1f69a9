"""Near duplicates: embeddings whose cosine is at least a threshold, and all that hang together by such links.

Embeddings rather than MinHash: the same code serves captions and images, and they are at hand. What they call near
is what the encoder calls near, so a threshold belongs to an encoder. For `mini`, on photos that were not trained on
(Flickr8k, keys ≡ 0 mod 10), ``NEAR_IMAGE`` finds 96 % of pictures that were cropped by up to 5 %, brightened and saved
anew, and links 6 of 328 thousand pairs of different photos (series of one scene); ``NEAR_CAPTION`` takes captions that
differ in a full stop, an article or a word's form, and few that differ in more.

Up to ``MOST_EXACT_ROWS`` rows every two are compared. Beyond, rows are compared that share a bucket in one of L tables
of b random hyperplanes through the mean (Charikar 2002): two rows at an angle θ share one with chance 1 − (1 − (1 −
θ/π)^b)^L. L is chosen so that two rows at the threshold are compared with chance ``recall`` at least, if both are as
far from the mean as 95 % of rows are; rows nearer to it look at a wider angle and are found less often. A million rows
of width 256 take half a minute of CPU time and 3 GB. Links are single, so a chain of near pairs is one cluster, however
unlike its ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.clusters import Clusters, from_labels
from cfbd_core.method.scores import unit_rows

NEAR_IMAGE, NEAR_CAPTION = 0.95, 0.98
MOST_EXACT_ROWS = 30_000
LEAST_RECALL = 0.95
FEWEST_BITS, MOST_BITS = 8, 24
MOST_TABLES = 200
CLOSEST_QUANTILE = 0.05  # the quantile of distances from the mean that tables are made for
SAMPLE_ROWS = 20_000
BLOCK_VALUES = 2**23  # cosines held at a time: 32 MB
LARGE_BUCKET_ROWS = 64  # rows: larger buckets are compared by a matrix product


def near_clusters(
    vectors: np.ndarray,
    threshold: float,
    *,
    exact_up_to: int = MOST_EXACT_ROWS,
    recall: float = LEAST_RECALL,
    seed: int = 0,
) -> Clusters:
    """Cluster embeddings (n, d), float16 or float32, by links of cosine ≥ ``threshold``.

    A row that is all zeros or not finite is alone. Rows with the same values are alike whatever the threshold. Raises
    ParameterError: a threshold outside (0, 1], a recall outside (0, 1), or a threshold so low that over 200 tables
    would be needed.
    """
    if not 0 < threshold <= 1:
        raise ParameterError(f"threshold {threshold}: give a cosine above 0, at most 1, e.g. {NEAR_IMAGE}")
    if not 0 < recall < 1:
        raise ParameterError(f"recall {recall}: give a share between 0 and 1, e.g. {LEAST_RECALL}")
    n = len(vectors)
    if not n:
        return from_labels(np.empty(0, np.int64))
    whole = np.ascontiguousarray(vectors)
    same = from_labels(whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel())
    unit = unit_rows(whole[same.first])
    usable = np.flatnonzero(np.isfinite(unit).all(1))
    unit = unit[usable]
    few = len(unit) <= max(exact_up_to, 1)
    links = _all_links(unit, threshold) if few else _links(unit, threshold, recall, seed)
    numbers = np.arange(len(same))
    numbers[usable] = usable[_components(links, len(unit))]
    labels = numbers[same.numbers]
    blank = ~np.isin(same.numbers, usable)
    labels[blank] = len(same) + np.flatnonzero(blank)  # zeros are no likeness
    return from_labels(labels)


def tables_for(threshold: float, closest: float, bits: int, recall: float) -> int:
    """How many tables of ``bits`` hyperplanes it takes; ``closest`` is the least distance from the mean allowed for.

    Raises ParameterError where they would be over 200.
    """
    cosine = 1 - (1 - threshold) / max(closest, 1e-6) ** 2
    shared = (1 - math.acos(max(cosine, -1.0)) / math.pi) ** bits
    needed = math.log(1 - recall) / math.log1p(-shared) if 0 < shared < 1 else (1 if shared else math.inf)
    if needed > MOST_TABLES:
        raise ParameterError(
            f"threshold {threshold}: too low for so many rows and this encoder; raise it, or choose fewer pairs"
        )
    return math.ceil(needed)


def _all_links(unit: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all links of unit rows (m, d), in blocks: two arrays of places each."""
    step = max(1, BLOCK_VALUES // max(1, len(unit)))
    for start in range(0, len(unit), step):
        part = unit[start : start + step]
        cosines = part @ unit[start:].T
        one, other = np.divmod(np.flatnonzero(cosines >= threshold), cosines.shape[1])  # faster than in 2-D
        upper = other > one
        yield one[upper] + start, other[upper] + start


def _links(
    unit: np.ndarray, threshold: float, recall: float, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the links among rows that share a bucket of a table."""
    rng = np.random.default_rng(seed)
    bits = int(np.clip(round(math.log2(len(unit))), FEWEST_BITS, MOST_BITS))
    sample = unit[rng.choice(len(unit), min(SAMPLE_ROWS, len(unit)), replace=False)]
    mean = sample.mean(0)
    closest = float(np.quantile(np.linalg.norm(sample - mean, axis=1), CLOSEST_QUANTILE))
    powers = 1 << np.arange(bits)
    for _ in range(tables_for(threshold, closest, bits, recall)):
        planes = rng.standard_normal((unit.shape[1], bits), np.float32)
        bucket = ((unit @ planes) > mean @ planes) @ powers
        order = np.argsort(bucket, kind="stable")
        starts = np.flatnonzero(np.diff(bucket[order], prepend=-1))
        sizes = np.diff(starts, append=len(order))
        for size in np.unique(sizes[(sizes > 1) & (sizes <= LARGE_BUCKET_ROWS)]):
            members = order[starts[sizes == size][:, None] + np.arange(size)]
            yield from _small_buckets(unit, members, threshold)
        for at in np.flatnonzero(sizes > LARGE_BUCKET_ROWS):
            members = order[starts[at] : starts[at] + sizes[at]]
            for one, other in _all_links(unit[members], threshold):
                yield members[one], members[other]


def _small_buckets(
    unit: np.ndarray, members: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the links within buckets of one size, ``members`` (buckets, size)."""
    size = members.shape[1]
    step = max(1, BLOCK_VALUES // (size * max(size, unit.shape[1])))
    for start in range(0, len(members), step):
        part = members[start : start + step]
        rows = unit[part]
        cosines = rows @ rows.transpose(0, 2, 1)
        bucket, place = np.divmod(np.flatnonzero(cosines >= threshold), size * size)
        one, other = np.divmod(place, size)
        upper = other > one
        yield part[bucket[upper], one[upper]], part[bucket[upper], other[upper]]


def _components(links: Iterator[tuple[np.ndarray, np.ndarray]], n: int) -> np.ndarray:
    """Return the first place (n,) of the component that each of n places is in; links are merged as they come."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    component = np.arange(n)
    chunks: list[tuple[np.ndarray, np.ndarray]] = []
    waiting = 0

    def merge() -> None:
        nonlocal component, waiting
        one, other = (component[np.concatenate(side)] for side in zip(*chunks, strict=True))
        graph = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(n, n))
        component = connected_components(graph, directed=False)[1][component]
        chunks.clear()
        waiting = 0

    for link in links:
        chunks.append(link)
        waiting += len(link[0])
        if waiting >= BLOCK_VALUES:
            merge()
    if chunks:
        merge()
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    labels: np.ndarray = first[inverse]
    return labels
