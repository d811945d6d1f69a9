"""The scored pairs of an audit held ready: columns in memory, embeddings mapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cfbd_core.audit.duplicates import Duplicates, exact_duplicates
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.errors import AuditError
from cfbd_core.machine.cache import Cache, once
from cfbd_core.method.metrics import areas_under
from cfbd_core.method.score_column import ScoreColumn
from cfbd_core.method.scores import common_direction
from cfbd_core.review.left import KeptControl
from cfbd_core.store.detections import StoredDetection
from cfbd_core.workbench.decided_pairs import DecidedPairs

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit

CACHED_SEARCHES = 16
CACHED_LIKENESS = 4
MOST_OPEN_SHARDS = 256  # more might exceed the files a process may open: then they are mapped one at a time


class ScoredPairs(DecidedPairs):
    """The scored pairs of ``audit``; raises AuditError where it has no scores yet.

    ``rows`` int64 (n,) are the pairs' rows in the shards; ``consistency`` float32 (n,); ``truth`` int8 (n,):
    1 poisoned, 0 clean, −1 unknown. What takes long is made once, and keeps nobody from deciding meanwhile.
    """

    def __init__(self, audit: Audit) -> None:
        self.version, rows, self.consistency, self.truth = audit.columns.scored()
        if not len(rows):
            raise AuditError(f"{audit.folder}: not scored yet; `cfbd score --audit {audit.folder}` does it")
        self._searches: Cache[str, np.ndarray] = Cache(CACHED_SEARCHES)
        self._detections: Cache[str, dict[str, StoredDetection]] = Cache(1)
        self.likeness: Cache[str, np.ndarray] = Cache(CACHED_LIKENESS)  # of :meth:`Like.of_pairs`
        super().__init__(audit, rows)

    @once
    def texts(self) -> Sequence[np.ndarray]:
        """Caption shards, mapped; AuditError where they are not whole."""
        shards = self.audit.shards.texts()
        return list(shards) if len(shards) <= MOST_OPEN_SHARDS else shards

    @once
    def images(self) -> Sequence[np.ndarray]:
        """Image shards, mapped; AuditError where they are not whole."""
        shards = self.audit.shards.images()
        return list(shards) if len(shards) <= MOST_OPEN_SHARDS else shards

    @once
    def poisons(self) -> np.ndarray:
        """Positions of the known poisons, ascending."""
        return np.flatnonzero(self.truth == 1)

    @once
    def unscored(self) -> np.ndarray:
        """Rows (m,), ascending, of the pairs without a score; they have no position."""
        return self.audit.columns.unscored_rows()

    @once
    def without_picture(self) -> np.ndarray:
        """Rows (m,), ascending, of the pairs without a picture, with a score or not."""
        return self.audit.columns.rows_without_picture()

    @property
    def has_truth(self) -> bool:
        """Whether the source said which pairs are poisoned."""
        return bool((self.truth >= 0).any())

    @once
    def duplicates(self) -> Duplicates:
        """What repeats exactly, by position; raises AuditError where the audit's pairs have changed."""
        return exact_duplicates(self.audit.columns, self.rows)

    def counted(self, collapse: bool) -> np.ndarray | slice:
        """Return what chooses the pairs that statistics see, in their order: all, or with ``collapse`` one of each."""
        return self.duplicates.pairs.first if collapse else slice(None)

    @once
    def consistency_column(self) -> ScoreColumn:
        """c with its histogram, order and curves."""
        return ScoreColumn(self.consistency, self.truth)

    @once
    def caption_mean(self) -> np.ndarray:
        """What all captions' embeddings have in common, float32 (d,)."""
        return common_direction(self.texts, self.rows)

    @once
    def image_mean(self) -> np.ndarray:
        """What all images' embeddings have in common, float32 (d,)."""
        return common_direction(self.images, self.rows)

    @once
    def control(self) -> KeptControl:
        """The control sample that the audit's folder keeps."""
        return KeptControl(self.audit.folder, self.rows)

    def detections(self) -> dict[str, StoredDetection]:
        """What detectors say of these pairs, by name: score and flag by position. Read again when one has judged since.

        Raises AuditError where they are of other scores than these.
        """

        def read() -> dict[str, StoredDetection]:
            by_name = {one.name: one for one in self.audit.columns.detections()}
            if not all(np.array_equal(one.rows, self.rows) for one in by_name.values()):
                raise AuditError(f"{self.audit.folder}: its scores have changed meanwhile; open it again")
            return by_name

        return self._detections.get(self.audit.state.detection_version(), read)

    def areas_of(self, score: np.ndarray) -> tuple[float | None, float | None]:
        """AUROC and AUPRC of a score float32 (n,) over the pairs whose truth is known; None with one kind only."""
        known = self.truth >= 0
        return areas_under(self.truth[known] == 1, score[known]) or (None, None)

    def search(self, text: str) -> np.ndarray:
        """Return which pairs' caption or key contains ``text``, whatever its case: bool (n,)."""

        def make() -> np.ndarray:
            return self.mask_of(self.positions_of(self.audit.columns.search_captions(text)))

        return self._searches.get(text, make)

    @once
    def encoder(self) -> Encoder:
        """The audit's own encoder, for searches by text. Raises EncoderError where it cannot be loaded."""
        embedding = self.audit.state.steps()["embedding"]
        assert embedding is not None  # pairs with scores are embedded
        return load_encoder(embedding["encoder"])
