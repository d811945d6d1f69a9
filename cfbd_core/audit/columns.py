"""What the app keeps at hand of an audit: whole columns, pages of pairs, named views."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypedDict, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.config import SplitParams
from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import AuditError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.store import Database, columns, detections, duplicates, queries, training, views
from cfbd_core.store.entries import EmbeddingEntry, HealthEntry, MappingEntry, SourceEntry, SplitSummary
from cfbd_core.store.meta import EMBEDDING, HEALTH, MAPPING, SOURCE, SPLIT, MetaName
from cfbd_core.store.training import StoredRun

T = TypeVar("T")


class AuditStatus(TypedDict):
    """How far an audit is: what each step left, None before it, and how many pairs there are."""

    source: SourceEntry | None
    embedding: EmbeddingEntry | None
    mapping: MappingEntry | None
    health: HealthEntry | None
    split: SplitSummary | None
    pairs: int


class Glance(NamedTuple):
    """What the app asks of an audit whenever its file has changed."""

    score_version: str | None
    is_scored: bool
    applied: SplitParams | None
    views: dict[str, dict[str, str]]


class AuditColumns:
    """The part of :class:`cfbd_core.audit.audit.Audit` that computes nothing: it reads, and keeps views.

    Rows are those of the pairs in the embedding shards. Every call opens the audit's file for itself.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self._database = folder, database
        self.shards = EmbeddingFolder(folder / "embeddings")

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the audit's file is written."""
        try:
            return self._database.stamp()
        except OSError as error:
            raise AuditError(f"{self.folder}: the audit is gone ({error.strerror})") from error

    def score_version(self) -> str | None:
        """Return a name that changes whenever the scores do; None before the first scoring."""
        with self._database.reading() as connection:
            return columns.score_version(connection)

    def is_scored(self) -> bool:
        """Return whether there are scores to split by."""
        with self._database.reading() as connection:
            return queries.has_meta(connection, MAPPING)

    def scored_columns(self) -> tuple[str | None, np.ndarray, np.ndarray, np.ndarray]:
        """Return the score version, and rows, consistency and truth (n,) of all scored pairs."""
        with self._database.reading() as connection:
            return columns.score_version(connection), *columns.scored(connection)

    def unscored_rows(self) -> np.ndarray:
        """Return rows (m,), ascending, of the pairs that have no score."""
        with self._database.reading() as connection:
            return columns.unscored(connection)

    def rows_without_picture(self) -> np.ndarray:
        """Return rows (m,), ascending, of the pairs that are ready embeddings alone."""
        with self._database.reading() as connection:
            return columns.without_picture(connection)

    def is_known_clean(self) -> bool:
        """Return whether the source says of every pair that it is not poisoned, as that of a clean copy does."""
        with self._database.reading() as connection:
            return columns.is_known_clean(connection)

    def other_scores(self) -> np.ndarray:
        """s_o, s_g, residual and m of the pairs of :meth:`scored_columns`, float32 (n, 4)."""
        with self._database.reading() as connection:
            return columns.other_scores(connection)

    def detection_version(self) -> str:
        """A name that changes whenever what detectors say of the pairs does; empty where none has judged them."""
        with self._database.reading() as connection:
            return detections.detection_version(connection)

    def stored_detections(self) -> list[detections.StoredDetection]:
        """Return what detectors say of the scored pairs, by their names."""
        with self._database.reading() as connection:
            return detections.detections(connection)

    def decided_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (m,) with a decision, and its code int8 (m,): a place in ``store.columns.DECISIONS``."""
        with self._database.reading() as connection:
            return columns.decided(connection)

    def notes_of(self, rows: np.ndarray) -> list[str | None]:
        """Return the notes of the decisions on ``rows`` (m,), in that order; None where there is none."""
        with self._database.reading() as connection:
            return columns.notes_of(connection, rows)

    def row_of(self, key: str) -> int | None:
        """Return the row of the pair with this key, or None."""
        with self._database.reading() as connection:
            return queries.row_of(connection, key)

    def keys_of(self, rows: np.ndarray) -> list[str]:
        """Return keys of the pairs at ``rows`` (m,), in that order."""
        with self._database.reading() as connection:
            return queries.keys_of(connection, rows)

    def captions_of(self, rows: np.ndarray) -> list[str]:
        """Captions of the pairs at ``rows`` (m,), in that order."""
        with self._database.reading() as connection:
            return queries.captions_of(connection, rows)

    def pairs_at(self, rows: np.ndarray) -> pa.Table:
        """Return what a page of pairs shows of those at ``rows`` (m,), in that order."""
        with self._database.reading() as connection:
            return self._located(columns.pairs_at(connection, rows))

    def search_captions(self, text: str) -> np.ndarray:
        """Return rows, ascending, whose caption or key contains ``text``, whatever its case."""
        with self._database.reading() as connection:
            return columns.search_captions(connection, text)

    def caption_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n,) of all pairs, ascending, and labels (n,), equal where captions read the same."""
        with self._database.reading() as connection:
            return duplicates.caption_labels(connection)

    def image_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (n,) of all pairs, ascending, and labels (n,), equal where images come from one place."""
        with self._database.reading() as connection:
            return duplicates.image_labels(connection)

    def applied_params(self) -> SplitParams | None:
        """Return the settings of the split that the verdicts stored here come from, or None."""
        split = self._meta(SPLIT)
        return None if split is None else SplitParams(**split["settings"])

    def glance(self) -> Glance:
        """Score version, whether there are scores, the applied split and the views, from one opening of the file."""
        with self._database.reading() as connection:
            split = queries.get_meta(connection, SPLIT)
            return Glance(
                columns.score_version(connection),
                queries.get_meta(connection, MAPPING) is not None,
                None if split is None else SplitParams(**split["settings"]),
                views.saved_views(connection),
            )

    def saved_views(self) -> dict[str, dict[str, str]]:
        """Named views: parameters of an address by name, as they were saved.

        Those of a filter (:func:`cfbd_core.workbench.filter_query.to_query`) and, in views of today, of the sliders
        (:func:`cfbd_core.workbench.slider_query.to_query`).
        """
        with self._database.reading() as connection:
            return views.saved_views(connection)

    def save_view(self, name: str, query: dict[str, str]) -> None:
        """Keep a view; one of this name is replaced."""
        with report_in_one_line(self.folder), self._database.writing() as connection:
            views.save_view(connection, name, query)

    def forget_view(self, name: str) -> None:
        """Take a view out."""
        with report_in_one_line(self.folder), self._database.writing() as connection:
            views.forget_view(connection, name)

    def source_places(self) -> list[Path]:
        """Files, and for a folder of pairs folders too, that were ingested: nothing may be written to or into them."""
        source = self._meta(SOURCE)
        if source is None:
            return []
        files = [Path(file) for file in source["files"]]
        folders = [Path(source["source"])] if Path(source["source"]).is_dir() else []
        if source["format"] == "folder":
            folders += {file.parent for file in files}
        return [*folders, *files]

    def status(self) -> AuditStatus:
        """Return how far the audit is: source, pairs, embedding, mapping, health, split (each None before it)."""
        with self._database.reading() as connection:
            return {
                "source": queries.get_meta(connection, SOURCE),
                "embedding": queries.get_meta(connection, EMBEDDING),
                "mapping": queries.get_meta(connection, MAPPING),
                "health": queries.get_meta(connection, HEALTH),
                "split": queries.get_meta(connection, SPLIT),
                "pairs": queries.pair_count(connection),
            }

    def training_runs(self) -> list[StoredRun]:
        """The runs that trained on this audit, oldest first: ``folder``, ``asked``, ``result`` (None: not done)."""
        with self._database.reading() as connection:
            runs = training.runs(connection)
        return [{**run, "folder": str(self.folder.resolve() / run["folder"])} for run in runs]

    def training_metrics(self, folder: str | Path) -> pa.Table:
        """Return what the run in ``folder`` logged, by step: kind ("step", "eval"), step, epoch, loss, ca, asr, …"""
        home = self.folder.resolve()
        place = Path(folder).resolve()
        name = str(place.relative_to(home)) if place.is_relative_to(home) else str(place)
        with self._database.reading() as connection:
            return training.metrics(connection, name)

    def _located(self, pairs: pa.Table) -> pa.Table:
        """Give images that lie in the audit's own folder their present path."""
        image = pairs["image"]
        inside = pc.binary_join_element_wise(str(self.folder.resolve()), image, "/")
        located = pc.if_else(pc.starts_with(image, "/"), image, inside)
        return pairs.set_column(pairs.schema.get_field_index("image"), "image", located)

    def _meta(self, name: MetaName[T]) -> T | None:
        with self._database.reading() as connection:
            return queries.get_meta(connection, name)
