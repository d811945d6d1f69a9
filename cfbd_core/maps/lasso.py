"""An outline on the map: which points lie within, and a short text of it for an address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cfbd_core.errors import ParameterError

Space = Literal["captions", "images"]
MOST_CORNERS = 80  # corners; a hand draws hundreds
DIGITS = 3  # of a place on the map, most of which lie within ±1
_NUMBER = r"-?\d{1,4}(?:\.\d{1,6})?"
_ID = r"[0-9A-Za-z.]{1,40}"
_TEXT = re.compile(
    rf"({'|'.join(get_args(Space))})(?:@({_ID}))?:({_NUMBER},{_NUMBER}(?:;{_NUMBER},{_NUMBER})*)"
)


@dataclass(frozen=True)
class Lasso:
    """A closed polygon on one map of ``space``; ``corners`` are (x, y), at least 3 and at most ``MOST_CORNERS``.

    ``map_id`` is the :attr:`cfbd_core.maps.maps.Map.id` of that map: another lays other pairs out there. It is empty
    for outlines of before maps had names.
    """

    space: Space
    corners: tuple[tuple[float, float], ...]
    map_id: str = ""

    def __post_init__(self) -> None:
        if self.space not in get_args(Space):
            raise ParameterError(f"map {self.space!r}: there are {', '.join(get_args(Space))}")
        if self.map_id and not re.fullmatch(_ID, self.map_id):
            raise ParameterError(f"map {self.map_id[:40]!r}: no map is called that")
        if not 3 <= len(self.corners) <= MOST_CORNERS or not np.isfinite(self.corners).all():
            raise ParameterError(
                f"an outline has 3 to {MOST_CORNERS} corners on the map, not {len(self.corners)}"
            )

    @classmethod
    def drawn(cls, space: Space, map_id: str, xs: Sequence[float], ys: Sequence[float]) -> Lasso:
        """Take an outline as it was drawn; corners are rounded and, where there are too many, thinned out.

        What is selected is what this outline holds, so that a link selects the same. Raises ParameterError.
        """
        corners = [(round(float(x), DIGITS), round(float(y), DIGITS)) for x, y in zip(xs, ys, strict=True)]
        corners = list(dict.fromkeys(corners))
        if len(corners) > MOST_CORNERS:
            corners = [
                corners[at] for at in np.linspace(0, len(corners) - 1, MOST_CORNERS).round().astype(int)
            ]
        return cls(space, tuple(corners), map_id)

    @classmethod
    def box(cls, space: Space, map_id: str, xs: Sequence[float], ys: Sequence[float]) -> Lasso:
        """Return a rectangle between two opposite corners."""
        (left, right), (low, high) = xs, ys
        return cls.drawn(space, map_id, (left, right, right, left), (low, low, high, high))

    def holds(self, xy: np.ndarray) -> np.ndarray:
        """Which points (n, 2) lie within, bool (n,): a ray from there crosses the outline an odd number of times."""
        x, y = np.asarray(xy, np.float64).T
        within = np.zeros(len(xy), bool)
        corners = np.array(self.corners)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            crossed = (y0 > y) != (y1 > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                within ^= crossed & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        return within

    def to_text(self) -> str:
        """Such as ``captions@20261126T044108.123456:0.1,0.2;0.5,0.2;0.3,0.8``; :meth:`from_text` reads it."""
        place = f"{self.space}@{self.map_id}" if self.map_id else self.space
        return f"{place}:{';'.join(f'{x:g},{y:g}' for x, y in self.corners)}"

    @classmethod
    def from_text(cls, text: str) -> Lasso:
        """Read what :meth:`to_text` gave. Raises ParameterError."""
        match = _TEXT.fullmatch(text)
        if not match:
            raise ParameterError(f"lasso {text[:40]!r}: give captions@MAP:x,y;x,y;x,y or images@MAP:…")
        corners = tuple(
            (float(x), float(y)) for x, _, y in (one.partition(",") for one in match[3].split(";"))
        )
        return cls("captions" if match[1] == "captions" else "images", corners, match[2] or "")
