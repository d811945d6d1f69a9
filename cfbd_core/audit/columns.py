"""The columns of an audit's pairs: whole ones to keep at hand, and what a page shows of some pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cfbd_core.audit.files import AuditFiles
from cfbd_core.store import columns, duplicates, queries
from cfbd_core.store.detections import StoredDetection, detections


@dataclass(frozen=True)
class Columns:
    """What the audit in ``files`` holds of its pairs; it reads, and computes nothing.

    Rows are those of the pairs in the embedding shards.
    """

    files: AuditFiles

    def scored(self) -> tuple[str | None, np.ndarray, np.ndarray, np.ndarray]:
        """Return the score version, and rows, consistency and truth (n,) of all scored pairs."""
        with self.files.database.reading() as connection:
            return columns.score_version(connection), *columns.scored(connection)

    def unscored_rows(self) -> np.ndarray:
        """Return rows (m,), ascending, of the pairs that have no score."""
        with self.files.database.reading() as connection:
            return columns.unscored(connection)

    def rows_without_picture(self) -> np.ndarray:
        """Return rows (m,), ascending, of the pairs that are ready embeddings alone."""
        with self.files.database.reading() as connection:
            return columns.without_picture(connection)

    def is_known_clean(self) -> bool:
        """Return whether the source says of every pair that it is not poisoned, as that of a clean copy does."""
        with self.files.database.reading() as connection:
            return columns.is_known_clean(connection)

    def other_scores(self) -> np.ndarray:
        """Return s_o, s_g, residual and m of the pairs of :meth:`scored`, float32 (n, 4)."""
        with self.files.database.reading() as connection:
            return columns.other_scores(connection)

    def detections(self) -> list[StoredDetection]:
        """Return what detectors say of the scored pairs, by their names."""
        with self.files.database.reading() as connection:
            return detections(connection)

    def decided_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (m,) with a decision, and its code int8 (m,): a place in ``store.columns.DECISIONS``."""
        with self.files.database.reading() as connection:
            return columns.decided(connection)

    def notes_of(self, rows: np.ndarray) -> list[str | None]:
        """Return the notes of the decisions on ``rows`` (m,), in that order; None where there is none."""
        with self.files.database.reading() as connection:
            return columns.notes_of(connection, rows)

    def row_of(self, key: str) -> int | None:
        """Return the row of the pair with this key, or None."""
        with self.files.database.reading() as connection:
            return queries.row_of(connection, key)

    def keys_of(self, rows: np.ndarray) -> list[str]:
        """Return keys of the pairs at ``rows`` (m,), in that order."""
        with self.files.database.reading() as connection:
            return queries.keys_of(connection, rows)

    def captions_of(self, rows: np.ndarray) -> list[str]:
        """Return captions of the pairs at ``rows`` (m,), in that order."""
        with self.files.database.reading() as connection:
            return queries.captions_of(connection, rows)

    def pairs_at(self, rows: np.ndarray) -> pa.Table:
        """Return what a page of pairs shows of those at ``rows`` (m,), in that order."""
        with self.files.database.reading() as connection:
            return self.files.located(columns.pairs_at(connection, rows))

    def search_captions(self, text: str) -> np.ndarray:
        """Return rows, ascending, whose caption or key contains ``text``, whatever its case."""
        with self.files.database.reading() as connection:
            return columns.search_captions(connection, text)

    def caption_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n,) of all pairs, ascending, and labels (n,), equal where captions read the same."""
        with self.files.database.reading() as connection:
            return duplicates.caption_labels(connection)

    def image_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n,) of all pairs, ascending, and labels (n,), equal where images come from one place."""
        with self.files.database.reading() as connection:
            return duplicates.image_labels(connection)
