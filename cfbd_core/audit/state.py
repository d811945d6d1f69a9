"""How far an audit is: its source, its counts, versions of what it holds, the split that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

import pyarrow as pa

from cfbd_core.audit.files import AuditFiles
from cfbd_core.config import SplitParams
from cfbd_core.errors import AuditError
from cfbd_core.store import columns, detections, queries, training, unscored, views
from cfbd_core.store.entries import EmbeddingEntry, HealthEntry, MappingEntry, SourceEntry, SplitSummary
from cfbd_core.store.meta import EMBEDDING, HEALTH, MAPPING, SOURCE, SPLIT
from cfbd_core.store.training import StoredRun


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


@dataclass(frozen=True)
class AuditState:
    """What an audit's steps have come to; it reads, and changes nothing."""

    files: AuditFiles

    def stamp(self) -> tuple[int, ...]:
        """Return what changes whenever the audit's file is written."""
        try:
            return self.files.database.stamp()
        except OSError as error:
            raise AuditError(f"{self.files.folder}: the audit is gone ({error.strerror})") from error

    def glance(self) -> Glance:
        """Score version, whether there are scores, the applied split and the views, from one opening of the file."""
        with self.files.database.reading() as connection:
            split = queries.get_meta(connection, SPLIT)
            return Glance(
                columns.score_version(connection),
                queries.get_meta(connection, MAPPING) is not None,
                None if split is None else SplitParams(**split["settings"]),
                views.saved_views(connection),
            )

    def steps(self) -> AuditStatus:
        """Return what each step noted (None before it), and how many pairs there are."""
        with self.files.database.reading() as connection:
            return {
                "source": queries.get_meta(connection, SOURCE),
                "embedding": queries.get_meta(connection, EMBEDDING),
                "mapping": queries.get_meta(connection, MAPPING),
                "health": queries.get_meta(connection, HEALTH),
                "split": queries.get_meta(connection, SPLIT),
                "pairs": queries.pair_count(connection),
            }

    def source(self) -> str | None:
        """Return what was ingested, or None before that."""
        entry = self.files.meta(SOURCE)
        return None if entry is None else str(entry["source"])

    def pair_count(self) -> int:
        """Return the number of pairs in the audit, skipped ones not counted."""
        with self.files.database.reading() as connection:
            return queries.pair_count(connection)

    def most_keys(self) -> int:
        """Count keys that can be decided: of all pairs, and of those set aside until their picture can be read."""
        with self.files.database.reading() as connection:
            return unscored.most_keys(connection)

    def is_scored(self) -> bool:
        """Return whether there are scores to split by."""
        with self.files.database.reading() as connection:
            return queries.has_meta(connection, MAPPING)

    def score_version(self) -> str | None:
        """Return a name that changes whenever the scores do; None before the first scoring."""
        with self.files.database.reading() as connection:
            return columns.score_version(connection)

    def detection_version(self) -> str:
        """Return a name that changes whenever what detectors say of the pairs does; empty before any has judged."""
        with self.files.database.reading() as connection:
            return detections.detection_version(connection)

    def applied_params(self) -> SplitParams | None:
        """Return the settings of the split that the verdicts stored here come from, or None."""
        split = self.files.meta(SPLIT)
        return None if split is None else SplitParams(**split["settings"])

    def training_runs(self) -> list[StoredRun]:
        """Return the runs that trained on it, oldest first: ``folder``, ``asked``, ``result`` (None: not done)."""
        with self.files.database.reading() as connection:
            runs = training.runs(connection)
        home = self.files.folder.resolve()
        return [{**run, "folder": str(home / run["folder"])} for run in runs]

    def training_metrics(self, folder: str | Path) -> pa.Table:
        """Return what the run in ``folder`` logged, by step: kind ("step", "eval"), step, epoch, loss, ca, asr, …"""
        home = self.files.folder.resolve()
        place = Path(folder).resolve()
        name = str(place.relative_to(home)) if place.is_relative_to(home) else str(place)
        with self.files.database.reading() as connection:
            return training.metrics(connection, name)
