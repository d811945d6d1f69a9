"""Search by the encoder: how near each pair's picture is to a text or a picture, or its caption to a caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.method.neighbours import cosines_to
from cfbd_core.method.scores import gather

if TYPE_CHECKING:
    from cfbd_core.workbench.scored_pairs import ScoredPairs

Kind = Literal["text", "image", "caption"]
PAIRS_SHOWN = 100  # pairs that a search shows
ITSELF = 2.0  # a pair is more like itself than its copies are, whose cosine is 1


@dataclass(frozen=True)
class Like:
    """``kind`` "text": pictures that show what ``value`` says; "image", "caption": pairs like the one of that key."""

    kind: Kind
    value: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or not self.value.strip():
            raise ParameterError(
                f"like {self.kind}:{self.value[:40]}: give text:WORDS, image:KEY or caption:KEY"
            )

    def to_text(self) -> str:
        """Such as ``text:a dog on a beach``; :meth:`from_text` reads it."""
        return f"{self.kind}:{self.value}"

    @classmethod
    def from_text(cls, text: str) -> Like:
        """Read what :meth:`to_text` gave. Raises ParameterError."""
        kind, _, value = text.partition(":")
        return cls(kind, value)  # type: ignore[arg-type]  # checked there

    def of_pairs(self, pairs: ScoredPairs) -> np.ndarray:
        """How near each pair is, float32 (n,) by position: a cosine, −inf without an embedding, 2 for the key's own.

        The last few are kept.

        Raises ParameterError where no pair has the key, EncoderError where the audit's encoder cannot be loaded.
        """
        return pairs.likeness.get(self.to_text(), lambda: self._compared(pairs))

    def _compared(self, pairs: ScoredPairs) -> np.ndarray:
        if self.kind == "text":
            vector = pairs.encoder.encode_texts([self.value])[0]
            return np.take(cosines_to(pairs.images, vector), pairs.rows)
        row = pairs.audit.columns.row_of(self.value)
        if row is None:
            raise ParameterError(f"like {self.to_text()[:60]}: no pair has this key")
        shards = pairs.images if self.kind == "image" else pairs.texts
        cosines = np.take(cosines_to(shards, gather(shards, np.array([row]))[0]), pairs.rows)
        cosines[pairs.rows == row] = ITSELF
        return cosines
