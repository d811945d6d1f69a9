"""Search by the encoder: the pairs whose picture is nearest to a text or a picture, or whose caption to a caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cfbd_core.errors import ParameterError
from cfbd_core.neighbours import nearest_rows, nearest_to

if TYPE_CHECKING:
    from cfbd_core.explorer import Explorer

Kind = Literal["text", "image", "caption"]
COUNT = 100


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

    def rows(self, explorer: Explorer, count: int = COUNT) -> np.ndarray:
        """Rows int64 (m,) of the at most ``count`` nearest pairs, nearest first; of a key the pair itself first.

        Raises ParameterError where no pair has the key, EncoderError where the audit's encoder cannot be loaded.
        """
        if self.kind == "text":
            return nearest_to(explorer.images, explorer.encoder.encode_texts([self.value])[0], count)
        row = explorer.audit.row_of(self.value)
        if row is None:
            raise ParameterError(f"like {self.to_text()[:60]}: no pair has this key")
        near = nearest_rows(explorer.images if self.kind == "image" else explorer.texts, row, count - 1)
        return np.concatenate([[row], near]).astype(np.int64)
