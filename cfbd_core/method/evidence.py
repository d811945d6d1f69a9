"""How strong the evidence of poisoning is: do the captions of D_p cohere more than random ones?

The top q pairs by consistency exist on clean data too, so they are no finding by themselves
(docs/METHOD.md §3). Poison gives itself away by what its captions share.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cfbd_core.method.scores import Rows, gather, shards_of, unit_rows

if TYPE_CHECKING:
    from cfbd_core.store.entries import EvidenceEntry

NULL_DRAWS = 200
WEAK, STRONG = 0.05, 0.10  # of the way from random captions to identical ones, beyond the farthest draw
MOST_GATHERED_ROWS = 2**14  # gathered at a time

Level = Literal["none", "weak", "strong"]
CaptionsOf = Callable[[np.ndarray], list[str]]


@dataclass(frozen=True)
class Evidence:
    """Cohesion of D_p's captions beside that of random sets of as many captions.

    ``cohesion`` is the mean pairwise cosine of the ``q`` captions, ``cohesion_distinct`` that of the
    ``distinct`` ones among them; ``null_mean`` and ``null_max`` are over ``draws`` random sets of q,
    ``null_max_distinct`` over as many sets of as many as are distinct. All are None where there are
    fewer than two captions.
    """

    level: Level
    cohesion: float | None
    cohesion_distinct: float | None
    null_mean: float | None
    null_max: float | None
    null_max_distinct: float | None
    q: int
    distinct: int
    draws: int

    def to_dict(self) -> EvidenceEntry:
        """Plain JSON values."""
        return {
            "level": self.level,
            "cohesion": self.cohesion,
            "cohesion_distinct": self.cohesion_distinct,
            "null_mean": self.null_mean,
            "null_max": self.null_max,
            "null_max_distinct": self.null_max_distinct,
            "q": self.q,
            "distinct": self.distinct,
            "draws": self.draws,
        }


def evidence(
    text: Rows,
    probe: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    captions_of: CaptionsOf | None = None,
    seed: int = 0,
    draws: int = NULL_DRAWS,
) -> Evidence:
    """Judge D_p, the rows ``probe`` (q,) of the caption embeddings ``text`` (N, d; or shards of it).

    ``rows`` (n,) are those to draw random sets from: the scored pairs; all by default. ``captions_of(rows)``
    gives captions: with it, those that differ in digits, case and punctuation alone count as one; without it,
    those with one embedding.

    Excess is how far the cohesion lies beyond the farthest of the random sets, as a share of the way
    from the null's mean (random captions) to 1 (identical ones), so that it means the same for an
    encoder whose captions all lie in a narrow cone. The farthest set is far for a small q and where
    captions repeat: chance is allowed for. The level is "none" up to an excess of 0.05, "strong" from
    0.10, "weak" between: with poisoned captions p of D_p the excess is about 0.7·p², and clean photos
    reach 0.02 where the least consistent pairs share a topic. Cohesion that only repeats of few
    captions explain is "weak" at most: boilerplate ("click to enlarge", "IMG_0042") does that too, and its
    pictures must be looked at.
    """
    shards = shards_of(text)
    members = gather(shards, probe)
    embedded = np.isfinite(unit_rows(members)).all(1)
    members = members[embedded]
    if captions_of is None:
        distinct = np.unique(members, axis=0)
    else:
        texts = [_skeleton(caption) for caption in captions_of(np.asarray(probe)[embedded])]
        distinct = members[np.unique(texts, return_index=True)[1]]
    cohesion, among_distinct = cohesion_of(members), cohesion_of(distinct)
    q = len(members)
    pool = np.arange(sum(map(len, shards))) if rows is None else rows
    null = _null(shards, pool, q, seed, draws)
    of_distinct = null if len(distinct) == q else _null(shards, pool, len(distinct), seed, draws)
    mean, most, most_distinct = (
        (float(null.mean()), float(null.max()), float(of_distinct.max()) if len(of_distinct) else None)
        if len(null)
        else (None, None, None)
    )
    level: Level = "none"
    if cohesion is not None and mean is not None and most is not None:
        way = max(1 - mean, 1e-6)
        excess = (cohesion - most) / way
        if excess > WEAK:
            level = "weak"
        if among_distinct is not None and most_distinct is not None:
            excess = min(excess, (among_distinct - most_distinct) / way)
            level = "strong" if excess >= STRONG else level
    return Evidence(level, cohesion, among_distinct, mean, most, most_distinct, q, len(distinct), len(null))


def cohesion_of(vectors: np.ndarray) -> float | None:
    """Mean cosine of all pairs of different rows (m, d); None for fewer than two rows with a direction."""
    rows = np.asarray(vectors, np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)
    usable = np.isfinite(squares) & (squares > 0)
    if not usable.all():
        rows, squares = rows[usable], squares[usable]
    m = len(rows)
    if m < 2:
        return None
    # The sum of the unit rows, without writing them; in double precision, since m is taken from its square.
    total = (1 / np.sqrt(squares.astype(np.float64))) @ rows.astype(np.float64)
    return float((total @ total - m) / (m * (m - 1)))


def _skeleton(caption: str) -> str:
    """Return what is left of a caption without digits, case and punctuation: the same for "IMG_001" and "img 2"."""
    return re.sub(r"[\W\d_]+", " ", caption.casefold()).strip()


def _null(shards: Rows, rows: np.ndarray, q: int, seed: int, draws: int) -> np.ndarray:
    """Cohesion of ``draws`` random sets of q rows; empty where q < 2."""
    if q < 2 or len(rows) < q:
        return np.empty(0)
    rng = np.random.default_rng(seed)
    at_once = max(1, MOST_GATHERED_ROWS // q)
    cohesions: list[float] = []
    for start in range(0, draws, at_once):
        sets = [rows[rng.choice(len(rows), q, replace=False)] for _ in range(min(at_once, draws - start))]
        vectors = np.split(gather(shards, np.concatenate(sets)), len(sets))
        cohesions += [cohesion for part in vectors if (cohesion := cohesion_of(part)) is not None]
    return np.array(cohesions)
