"""Copies as a part of a filter: pairs that repeat exactly, or nearly among the flagged ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.clusters import Clusters
from cfbd_core.method.near_copies import NEAR_CAPTION, NEAR_IMAGE, near_clusters
from cfbd_core.method.neighbours import highest
from cfbd_core.method.scores import gather

if TYPE_CHECKING:
    from cfbd_core.workbench.explorer import Explorer
    from cfbd_core.workbench.preview import Preview

Kind = Literal["exact", "captions", "images", "near-captions", "near-images"]
MOST = 50_000  # pairs that are compared with each other, as many as are grouped
KINDS: tuple[Kind, ...] = get_args(Kind)


class NearCopies(NamedTuple):
    """Near duplicates among the pairs at ``positions`` int64 (m,), ascending: clusters over these.

    ``left_out`` pairs were too many to be compared, too.
    """

    positions: np.ndarray
    captions: Clusters
    images: Clusters
    left_out: int

    @property
    def limit(self) -> str:
        """Which of the pairs were compared, where that is not all of them; else empty."""
        compared = len(self.positions)
        asked = compared + self.left_out
        return f"Compared: the {compared:,} of {asked:,} flagged with the highest z." if self.left_out else ""


def near_copies(explorer: Explorer, positions: np.ndarray, z: np.ndarray) -> NearCopies:
    """Compare the pairs at ``positions`` int64 (m,), ascending: of more than ``MOST`` those with the highest z (n,)."""
    positions, left_out = highest(positions, z, MOST)
    rows = explorer.rows[positions]
    captions = near_clusters(gather(explorer.texts, rows), NEAR_CAPTION)
    images = near_clusters(gather(explorer.images, rows), NEAR_IMAGE)
    return NearCopies(positions, captions, images, len(left_out))


@dataclass(frozen=True)
class Copies:
    """Pairs that are like another: of equal image and caption (``exact``), of equal captions or images, or nearly so.

    With a key they are the copies of that pair, itself among them.
    """

    kind: Kind
    key: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"dup {self.kind[:40]}: give one of {', '.join(KINDS)}, or KIND:KEY")

    def to_text(self) -> str:
        """Such as ``exact`` or ``captions:KEY``; :meth:`from_text` reads it."""
        return f"{self.kind}:{self.key}" if self.key else self.kind

    @classmethod
    def from_text(cls, text: str) -> Copies:
        """Read what :meth:`to_text` gave. Raises ParameterError."""
        kind, _, key = text.partition(":")
        return cls(kind, key)  # type: ignore[arg-type]  # checked there

    @property
    def is_near(self) -> bool:
        """Whether it asks for what nearly repeats, which is looked for among the flagged pairs."""
        return self.kind.startswith("near-")

    def clusters(self, preview: Preview) -> tuple[np.ndarray, Clusters]:
        """Positions int64 (m,) that were compared, and clusters over them; made once, in seconds."""
        if self.is_near:
            near = preview.near
            return near.positions, near.captions if self.kind == "near-captions" else near.images
        found = preview.explorer.duplicates
        clusters = {"exact": found.pairs, "captions": found.captions, "images": found.images}[self.kind]
        return np.arange(len(preview.explorer)), clusters

    def mask(self, preview: Preview) -> np.ndarray:
        """Which pairs these are, bool (n,). Raises ParameterError for a key that no pair has."""
        positions, clusters = self.clusters(preview)
        explorer = preview.explorer
        if not self.key:
            return explorer.mask_of(positions[clusters.repeated])
        row = explorer.audit.row_of(self.key)
        if row is None:
            raise ParameterError(f"dup {self.to_text()[:60]}: no pair has this key")
        (place,) = np.searchsorted(positions, explorer.positions_of(np.array([row])))
        if place == len(positions) or explorer.rows[positions[place]] != row:
            return explorer.mask_of(np.zeros(0, np.int64))  # of the flagged it is none
        return explorer.mask_of(positions[clusters.of == clusters.of[place]])
