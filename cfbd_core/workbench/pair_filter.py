"""Which pairs a table shows, in which order: filters as bool arrays over positions, pages of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.maps.lasso import Lasso
from cfbd_core.maps.maps import Map, load_map
from cfbd_core.method.neighbours import nearest_of
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.scores import SUBSETS
from cfbd_core.workbench.copies import Copies
from cfbd_core.workbench.likeness import PAIRS_SHOWN, Like
from cfbd_core.workbench.preview import Preview

if TYPE_CHECKING:
    from cfbd_core.workbench.scored_pairs import ScoredPairs

Show = Literal["removed", "kept", "all"]
Sort = Literal["usual", "z", "consistency", "row"]
SHOWN: tuple[Show, ...] = ("removed", "kept", "all")
SORTS: tuple[Sort, ...] = ("usual", "z", "consistency", "row")
SUBSET_CODES = {name: code for code, name in enumerate(SUBSETS)}
NO_GROUP = "none"  # for ``group``: the flagged pairs that are in none
NOT = "!"  # before a detector's name
FEW_SHARE = 1 / 16  # of all pairs: so few are sorted by themselves, more are picked from the whole order


@dataclass(frozen=True)
class PairFilter:
    """A view of the pairs; a None, or an empty tuple, asks for all.

    ``show`` is what an export does with them (verdict and decisions), ``subsets`` the coarse stage,
    ``decisions`` names of ``DECISIONS``, ``c`` and ``z`` closed ranges, ``text`` a part of the caption
    or key, ``truth`` known poisons or known clean pairs, ``lasso`` an outline on a map: pairs that are not on that
    map lie outside of it, and all do where the map is no longer there. ``group`` is the id of a group of flagged
    pairs, or the key of one in it, or
    ``NO_GROUP``; ``copies`` what repeats. ``detector`` is the name of one that has judged the pairs: those that it
    flags, with ``!`` before the name those that it does not; none where it has not judged them.
    ``like`` asks for the 100 of all these that the encoder finds nearest. The usual order is by z, and by nearness
    where ``like`` is set.
    """

    show: Show = "removed"
    subsets: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    c: tuple[float, float] | None = None
    z: tuple[float, float] | None = None
    text: str = ""
    truth: bool | None = None
    lasso: Lasso | None = None
    group: str = ""
    copies: Copies | None = None
    detector: str = ""
    like: Like | None = None
    sort: Sort = "usual"
    descending: bool = True

    def __post_init__(self) -> None:
        if self.show not in SHOWN or self.sort not in SORTS:
            raise ParameterError(f"show {self.show!r}, sort {self.sort!r}: none of {SHOWN} and {SORTS}")
        unknown = (set(self.subsets) - set(SUBSET_CODES)) | (set(self.decisions) - set(DECISIONS))
        if unknown:
            raise ParameterError(f"no subset or decision is called {unknown.pop()!r}")
        for name, bounds in (("c", self.c), ("z", self.z)):
            if bounds is not None and not bounds[0] <= bounds[1]:  # a NaN is in no order, too
                raise ParameterError(f"{name} {bounds[0]:g} to {bounds[1]:g}: give the lower bound first")

    def mask(self, preview: Preview) -> np.ndarray:
        """Return which pairs are shown, bool (n,)."""
        pairs = preview.pairs
        chosen = np.ones(len(pairs), bool)
        if self.show != "all":
            chosen &= preview.removed() == (self.show == "removed")
        if self.subsets:
            chosen &= _one_of(preview.coarse.subset, [SUBSET_CODES[name] for name in self.subsets])
        if self.decisions:
            chosen &= _one_of(pairs.decisions, [DECISIONS.index(name) for name in self.decisions])
        for bounds, values in ((self.c, pairs.consistency), (self.z, preview.z.values)):
            if bounds is not None:
                chosen &= (values >= bounds[0]) & (values <= bounds[1])
        if self.truth is not None:
            chosen &= pairs.truth == int(self.truth)
        if self.lasso is not None:
            chosen &= _outlined(pairs, self.lasso)
        if self.group:
            chosen &= pairs.mask_of(_grouped(preview, self.group))
        if self.copies is not None:
            chosen &= self.copies.mask(preview)
        if self.detector:
            chosen &= _judged(pairs, self.detector)
        if self.text.strip():
            chosen &= pairs.search(self.text.strip())
        if self.like is not None:  # last: the nearest of those that all else leaves
            chosen = pairs.mask_of(nearest_of(self.like.of_pairs(pairs), PAIRS_SHOWN, chosen))
        return chosen

    def positions(self, preview: Preview) -> np.ndarray:
        """Positions (m,) of the pairs shown, in their order: equal values by position, no value last."""
        chosen = self.mask(preview)
        if self.sort == "row":
            positions = np.flatnonzero(chosen)
            return positions[::-1] if self.descending else positions
        if self.sort == "usual" and self.like is not None:
            return self._by(self.like.of_pairs(preview.pairs), chosen)
        column = preview.pairs.consistency_column if self.sort == "consistency" else preview.z
        if np.count_nonzero(chosen) < FEW_SHARE * len(chosen):
            return self._by(column.values, chosen)
        order = column.order if self.descending else column.rising
        picked: np.ndarray = order[chosen[order]]
        return picked

    def _by(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        positions = np.flatnonzero(chosen)
        key = -values[positions] if self.descending else values[positions]
        return positions[np.argsort(np.nan_to_num(key, nan=np.inf), kind="stable")]


def outlined_map(pairs: ScoredPairs, lasso: Lasso) -> Map | None:
    """Return the map that ``lasso`` is drawn on; None where another has taken its place, or there is none."""
    made = load_map(pairs.audit.folder, lasso.space)
    return made if made is not None and made.id == lasso.map_id else None


def _grouped(preview: Preview, group: str) -> np.ndarray:
    if group == NO_GROUP:
        return preview.groups.ungrouped
    match = preview.groups.find(group)
    return np.zeros(0, np.int64) if match is None else match.positions


def _outlined(pairs: ScoredPairs, lasso: Lasso) -> np.ndarray:
    made = outlined_map(pairs, lasso)
    if made is None:
        return np.zeros(len(pairs), bool)
    return pairs.mask_of(pairs.positions_of(made.rows[lasso.holds(made.xy)]))


def _judged(pairs: ScoredPairs, detector: str) -> np.ndarray:
    detection = pairs.detections().get(detector.removeprefix(NOT))
    if detection is None:
        return np.zeros(len(pairs), bool)
    return ~detection.flagged if detector.startswith(NOT) else detection.flagged


def _one_of(codes: np.ndarray, wanted: list[int]) -> np.ndarray:
    mask = np.zeros(len(codes), bool)
    for code in wanted:
        mask |= codes == code
    return mask
