"""Groups of scored pairs, such as :attr:`Preview.groups`, and the trigger that the pictures of one share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cfbd_core.groups.cluster import cluster
from cfbd_core.groups.group import USUAL_QUANTILE, Group, cohesion, farthest_points, judged, medoid
from cfbd_core.groups.stack import decoded, read_stack
from cfbd_core.groups.trigger_estimate import MOST_PICTURES, TriggerEstimate, estimate_trigger
from cfbd_core.groups.words import words_of_groups
from cfbd_core.method.neighbours import highest
from cfbd_core.method.scores import gather, unit_rows
from cfbd_core.pictures.picture import pictures_of

if TYPE_CHECKING:
    from cfbd_core.workbench.scored_pairs import ScoredPairs

MOST_GROUPED_PAIRS = 50_000  # pairs that are grouped: their captions are compared each with each
OTHER_CAPTIONS = 4_000  # captions of other pairs that words are compared with
DRAWN_PER_PICTURE = (
    4  # times as many pairs are drawn as pictures are wanted: scenes come again, files may be gone
)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of some pairs, largest first, and those that are like no other.

    ``groups`` have two pairs or more; ``singles`` int64 (s,) are the positions of the rest, ascending. ``left_out``
    int64 (l,) are those that were too many to be grouped, ascending.
    """

    groups: tuple[Group, ...]
    singles: np.ndarray
    left_out: np.ndarray
    _keys: dict[str, int]

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def grouped(self) -> int:
        """How many pairs were compared with each other."""
        return sum(map(len, self.groups)) + len(self.singles)

    @property
    def ungrouped(self) -> np.ndarray:
        """Positions int64 (u,) of the pairs that are in no group, ascending."""
        return np.sort(np.concatenate([self.singles, self.left_out]))

    @property
    def limit(self) -> str:
        """Which of the pairs were grouped, where that is not all of them; else empty."""
        if not len(self.left_out):
            return ""
        flagged = self.grouped + len(self.left_out)
        return f"Grouped: the {self.grouped:,} of {flagged:,} flagged with the highest z."

    @cached_property
    def _group_by_position(self) -> dict[int, Group]:
        return {int(position): group for group in self.groups for position in group.positions}

    def group_of(self, position: int) -> Group | None:
        """Return the group of the pair at a position; None for a single one, or one that was not grouped."""
        return self._group_by_position.get(int(position))

    def number(self, group: Group) -> int:
        """Return the group's place among all, the largest being 1."""
        return 1 + self.groups.index(group)

    def find(self, group_id: str) -> Group | None:
        """The group that has this id, or that now holds the pair it was named after: links outlive the sliders."""
        named = next((group for group in self.groups if group.id == group_id), None)
        return named or self._group_by_position.get(self._keys.get(group_id, -1))


def group_pairs(pairs: ScoredPairs, positions: np.ndarray, z: np.ndarray | None = None) -> Groups:
    """Group the pairs at ``positions`` (m,) by what their captions say. ``z`` float32 (n,) is of every pair.

    Of more than ``MOST_GROUPED_PAIRS`` those with the highest z are grouped, by c where there is no ``z``. The same
    pairs give the same groups. Raises AuditError where the embeddings are not whole.
    """
    all_positions = np.unique(np.asarray(positions, np.int64))
    positions, left_out = highest(all_positions, pairs.consistency if z is None else z, MOST_GROUPED_PAIRS)
    rows = pairs.rows[positions]
    if not len(positions):
        return Groups((), positions, left_out, {})
    captions = pairs.audit.columns.captions_of(rows)
    keys = pairs.audit.columns.keys_of(rows)
    texts = _centred(gather(pairs.texts, rows), pairs.caption_mean)
    images = _centred(gather(pairs.images, rows), pairs.image_mean)
    members = _members(cluster(texts))
    several = [at for at in members if len(at) > 1]
    rest = pairs.audit.columns.captions_of(pairs.rows[_others(len(pairs), positions, OTHER_CAPTIONS)])
    rest += [captions[at[0]] for at in members if len(at) == 1]
    words = words_of_groups([[captions[i] for i in at] for at in several], rest)
    usual = float(np.quantile(pairs.consistency, USUAL_QUANTILE))
    groups = []
    for at, phrases in zip(several, words, strict=True):
        typical = medoid(texts[at], [keys[i] for i in at])
        alike, images_alike = cohesion(texts[at]), cohesion(images[at])
        mine = positions[at]
        mean_c = _mean(pairs.consistency[mine])
        kind, reason = judged(len(at), alike, images_alike, fits=mean_c is None or mean_c <= usual)
        groups.append(
            Group(
                id=keys[at[typical]],
                positions=mine,
                medoid=int(mine[typical]),
                caption=captions[at[typical]],
                samples=mine[farthest_points(images[at], typical)],
                phrases=tuple(phrases),
                cohesion=alike,
                image_cohesion=images_alike,
                kind=kind,
                reason=reason,
                mean_c=mean_c,
                mean_z=None if z is None else _mean(z[mine]),
            )
        )
    singles = positions[[at[0] for at in members if len(at) == 1]]
    return Groups(
        tuple(groups), np.sort(singles), left_out, dict(zip(keys, map(int, positions), strict=True))
    )


def estimate_of(
    pairs: ScoredPairs,
    positions: np.ndarray,
    suspected: np.ndarray,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> TriggerEstimate:
    """Return what the pictures at ``positions`` (m,) share that those of pairs not in ``suspected`` bool (n,) do not.

    At most 256 pictures of each are read, drawn with ``seed``; those that are gone are counted, not fatal. The
    estimate's ``index`` holds positions.
    """
    rng = np.random.default_rng(seed)
    clean = np.flatnonzero(~suspected)
    drawn = [_drawn(np.unique(positions), rng), _drawn(np.setdiff1d(clean, positions), rng)]
    stacks = []
    for chosen in drawn:
        pictures = pictures_of(pairs.audit.shards, pairs.pairs_at(chosen))
        stacks.append(read_stack(pictures, decoded, MOST_PICTURES, stop=stop))
    estimate = estimate_trigger(stacks[0], stacks[1], seed)
    return replace(estimate, index=drawn[0][estimate.index])


def _centred(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    rows: np.ndarray = np.nan_to_num(unit_rows(unit_rows(vectors) - mean), copy=False)
    return rows


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Return rows of each group, by number; ascending."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def _others(n: int, positions: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` positions that are not among ``positions``, evenly spaced."""
    mask = np.ones(n, bool)
    mask[positions] = False
    others = np.flatnonzero(mask)
    return others[np.unique(np.linspace(0, max(0, len(others) - 1), min(most, len(others))).astype(np.int64))]


def _drawn(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    most = DRAWN_PER_PICTURE * MOST_PICTURES
    return rng.choice(positions, min(most, len(positions)), replace=False) if len(positions) else positions


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
