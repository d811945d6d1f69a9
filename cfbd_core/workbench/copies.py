"""Copies as a part of a filter: pairs that repeat exactly, or nearly among the flagged ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.clusters import Clusters

if TYPE_CHECKING:
    from cfbd_core.workbench.preview import Preview

Kind = Literal["exact", "captions", "images", "near-captions", "near-images"]
KINDS: tuple[Kind, ...] = get_args(Kind)


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
        duplicates = preview.pairs.duplicates
        clusters = {"exact": duplicates.pairs, "captions": duplicates.captions, "images": duplicates.images}[
            self.kind
        ]
        return np.arange(len(preview.pairs)), clusters

    def mask(self, preview: Preview) -> np.ndarray:
        """Return which pairs these are, bool (n,). Raises ParameterError for a key that no pair has."""
        positions, clusters = self.clusters(preview)
        pairs = preview.pairs
        if not self.key:
            return pairs.mask_of(positions[clusters.repeated])
        row = pairs.audit.columns.row_of(self.key)
        if row is None:
            raise ParameterError(f"dup {self.to_text()[:60]}: no pair has this key")
        (place,) = np.searchsorted(positions, pairs.positions_of(np.array([row])))
        if place == len(positions) or pairs.rows[positions[place]] != row:
            return pairs.mask_of(np.zeros(0, np.int64))  # of the flagged it is none
        return pairs.mask_of(positions[clusters.numbers == clusters.numbers[place]])
