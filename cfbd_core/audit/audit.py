"""One audit: a folder on disk, and the facade that the command line, the app and users call."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core import export as exporting
from cfbd_core.audit import detect as judging
from cfbd_core.audit import ingest, report
from cfbd_core.audit.detect import Compared
from cfbd_core.audit.duplicates import collapsible
from cfbd_core.audit.ingest import ValidationReport
from cfbd_core.audit.log import AuditLog
from cfbd_core.audit.report import Report
from cfbd_core.audit.source_state import SourceState
from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.detectors import DETECTORS, Cfbd
from cfbd_core.detectors import detect as judge
from cfbd_core.embedding.shards import way_out
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.files import clear_dead, one_job, report_in_one_line
from cfbd_core.machine.places import DATABASE_NAME, UNFINISHED
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.sources import SourceOptions
from cfbd_core.store import Database, detections, queries, unscored
from cfbd_core.store.entries import EmbeddingEntry, SplitSummary
from cfbd_core.store.meta import EMBEDDING, HEALTH, MAPPING, SOURCE, SPLIT, MetaName
from cfbd_core.store.scores import judged, read_consistency, read_scores, replace_scores, replace_verdicts

if TYPE_CHECKING:
    from cfbd_core.audit.scoring import ScoringResult
    from cfbd_core.embedding.encoders import Encoder
    from cfbd_core.embedding.expected import Expect

SPOOLED = re.compile(r"export\.(?P<process>\d+)\..+\.arrow")
T = TypeVar("T")


class Audit(AuditLog):
    """An audit in ``folder``; make one with :meth:`create`, come back with :meth:`open`.

    ``ingest → embed → score → split`` build on each other; each can be called again, and does only
    what is missing. Decisions survive all of them.
    """

    @classmethod
    def create(cls, folder: str | Path) -> Audit:
        """Make an empty audit; the folder may not exist or must be empty."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_unused(folder)  # before a lock is left there
            with one_job(folder, "create"):
                _check_unused(folder)
                return cls(folder, Database.create(folder / DATABASE_NAME))
        except FileExistsError as error:
            raise AuditError(f"{folder}: is a file; give a folder") from error
        except OSError as error:
            raise AuditError(f"{folder}: not writable ({error.strerror}); give another folder") from error

    @classmethod
    def open(cls, folder: str | Path) -> Audit:
        """Open an audit. Raises AuditError: none there, or made by a newer version of this tool."""
        folder = Path(folder)
        if not os.path.isfile(folder / DATABASE_NAME):
            raise AuditError(f"{folder}: no audit here; `cfbd run SOURCE --audit {folder}` makes one")
        audit = cls(folder, Database(folder / DATABASE_NAME))
        audit._database.check()
        return audit

    @classmethod
    def open_or_create(cls, folder: str | Path) -> Audit:
        """Open the audit in ``folder``, or make one there."""
        return cls.open(folder) if os.path.isfile(Path(folder) / DATABASE_NAME) else cls.create(folder)

    # --- the pipeline ------------------------------------------------------------------------------

    def ingest(
        self, source: str | Path, options: SourceOptions | None = None, progress: Progress = no_progress
    ) -> ValidationReport:
        """Read the pairs of ``source``; returns the validation report."""
        with one_job(self.folder, "ingest"):
            return ingest.ingest(self.folder, self._database, source, options or SourceOptions(), progress)

    def source(self) -> str | None:
        """Return what was ingested, or None before that."""
        entry = self._meta(SOURCE)
        return None if entry is None else str(entry["source"])

    def embed(
        self,
        encoder: str | Encoder | None = None,
        params: EmbedParams | None = None,
        progress: Progress = no_progress,
    ) -> EmbeddingEntry:
        """Embed every pair; goes on after the last whole shard. Returns the embedding's record.

        Where embeddings are made again, ``not_compared`` is added to it if there are pairs of which it is not known
        what their pictures were: these are embedded as they are now.
        ``encoder`` None is the audit's own, or ``mini``. Raises AuditError when the audit holds
        embeddings of another encoder.
        """
        from cfbd_core.audit.embed import EmbedAudit  # torch takes a second to import: only where it works

        with one_job(self.folder, "embed"):
            self._needed(SOURCE, "cfbd ingest")
            job = EmbedAudit(self.folder, self._database, self.shards, self._fetch, self._located)
            return job.run(encoder, params or EmbedParams(), progress)

    def score(
        self,
        mapping: str = "auto",
        progress: Progress = no_progress,
    ) -> ScoringResult:
        """Score every pair with F; returns which F, the encoder's health check, and which pairs have no score, why."""
        from cfbd_core.audit import scoring

        with one_job(self.folder, "score"):
            embedding = self._needed(EMBEDDING, "cfbd embed")
            if self.shards.check_whole() != embedding:
                raise AuditError(
                    f"{self.folder}: the embeddings are not those of the audit; {way_out(embedding)}"
                )
            started = datetime.now(UTC)
            with self._database.reading() as connection:
                rows, image_of = queries.pair_rows(connection), queries.image_groups(connection)
            mapping_file = self.folder / scoring.MAPPING_NAME
            chosen = scoring.choose_mapping(
                mapping, self.shards, rows, image_of, embedding, mapping_file, progress
            )
            shard_size = embedding["shard_size"]
            table = scoring.score_shards(self.shards, chosen, rows, image_of, shard_size, progress)
            without = scoring.without_score(table, embedding)
            if without.num_rows:
                table = table.filter(table["consistency"].is_valid())
                scored = ~np.isin(rows, without["row"].to_numpy())
                rows, image_of = rows[scored], image_of[scored]
            if not len(rows):
                raise scoring.nothing_usable(self.shards, embedding)
            health = scoring.encoder_health(self.shards, rows, image_of, embedding)
            with self._database.writing() as connection:
                unscored.replace_unscored(connection, without)
                replace_scores(connection, table)
                queries.set_meta(connection, MAPPING, chosen.to_dict())
                queries.set_meta(connection, HEALTH, health)
                queries.forget_meta(connection, SPLIT)
                queries.record_run(connection, "score", started, {"mapping": mapping}, chosen.to_dict())
                reasons = unscored.unscored_summary(connection)
            return {
                "mapping": chosen.to_dict(),
                "health": health,
                "pairs": table.num_rows,
                "unscored": without.num_rows,
                "unscored_reasons": reasons,
            }

    def split(self, params: SplitParams | None = None) -> SplitSummary:
        """Split into D_b, D_p, D_s and give every pair a verdict; returns the summary."""
        params = params or SplitParams()
        with one_job(self.folder, "split"):
            self._needed(MAPPING, "cfbd score")
            started = datetime.now(UTC)
            with self._database.reading() as connection:
                rows, consistency = read_consistency(connection)
            pairs = judging.pairs_to_split(
                rows,
                consistency,
                self.shards.texts(),
                seed=params.seed,
                keys_of=self.keys_of,
                captions_of=self.captions_of,
                clusters=collapsible(self, rows) if params.collapse_duplicates else None,
            )
            detection = Cfbd.from_registry(DETECTORS).under(params).split(pairs)
            summary = detection.summary
            with self._database.writing() as connection:
                replace_verdicts(connection, rows, detection.z, detection.subset, detection.poisoned)
                queries.set_meta(connection, SPLIT, summary)
                queries.record_run(connection, "split", started, params.to_dict(), summary["params"])
            return summary

    def detect(
        self,
        *names: str,
        seed: int = 0,
        losses: Mapping[str, float] | None = None,
        progress: Progress = no_progress,
    ) -> list[Compared]:
        """Let detectors judge the scored pairs and store what they say beside the verdict; returns :meth:`detections`.

        ``losses`` by key are of training on these pairs, for detectors that judge by it; ``progress`` gets the
        name of each as it begins. Raises ParameterError: no such detector, or pairs that one cannot judge; PluginError:
        one of another package raises or answers wrongly. Nothing is stored then.
        """
        judging.check_names(names)
        with one_job(self.folder, "detect"):
            self._needed(MAPPING, "cfbd score")
            started = datetime.now(UTC)
            with self._database.reading() as connection:
                scores = read_scores(connection)
                is_scored = np.isin(queries.pair_rows(connection), scores["row"].to_numpy())
                image_ids = queries.image_groups(connection)[is_scored]
            pairs = judging.pairs_to_judge(
                scores,
                self.shards,
                seed=seed,
                keys_of=self.keys_of,
                captions_of=self.captions_of,
                image_ids=image_ids,
                mapping=self._mapping_of_scores,
                losses=losses,
            )
            new_detections = []
            chosen = list(dict.fromkeys(names))
            for number, name in enumerate(chosen, 1):
                progress(name, number, len(chosen))
                new_detections.append(judging.stored(name, judge(name, pairs), scores["row"].to_numpy()))
            with self._database.writing() as connection:
                for one in new_detections:
                    detections.replace_detection(connection, one)
                settings = {"detectors": [one.name for one in new_detections], "seed": seed}
                flagged = {one.name: int(one.flagged.sum()) for one in new_detections}
                queries.record_run(connection, "detect", started, settings, flagged)
        return [one for one in self.detections() if one["detector"] in names]

    def detections(self) -> list[Compared]:
        """Return each stored detection beside the verdict and the truth (:func:`cfbd_core.audit.detect.compared`)."""
        with self._database.reading() as connection:
            stored = detections.detections(connection)
            outcome = judged(connection)
        return [judging.compared(one, *outcome) for one in stored]

    # --- what came out -----------------------------------------------------------------------------

    def report(self, split: str | None = None) -> Report:
        """Return counts, parameters, evidence and, where known, the truth; ``split`` as of :meth:`export`."""
        return report.report(self._database, split)

    def check_source(self) -> None:
        """Raise SourceError, which names the file, where the source holds other pairs than were ingested."""
        SourceState(self.folder, self._database).check()

    def validation_report(self) -> ValidationReport:
        """Return what the ingest read and skipped, and what could not be embedded or scored."""
        return ingest.validation_report(self._database)

    def pairs(
        self, where: str | None = None, order_by: str | None = None, limit: int | None = None
    ) -> pa.Table:
        """Return pairs with scores, verdicts and decisions (``audit_pairs``) as an Arrow table."""
        with self._database.reading() as connection:
            return self._located(queries.select_pairs(connection, where, order_by, limit))

    def export(
        self,
        out: str | Path,
        subset: exporting.Subset = "kept",
        out_format: exporting.Format | None = None,
        *,
        progress: Progress = no_progress,
        split: str | None = None,
        dry_run: bool = False,
        **style: Unpack[exporting.StyleOptions],
    ) -> exporting.Sidecar | exporting.DryRun:
        """Write the kept (or removed, or all) pairs to ``out``; returns the sidecar's content.

        ``split`` is the id of the settings that the verdicts have to be of (:attr:`SplitParams.id`): raises
        ParameterError where another split has taken its place. ``dry_run`` writes nothing and returns what it would
        (:func:`cfbd_core.export.dry_run`). ``style`` are the fields of :class:`cfbd_core.export.Style`.
        """
        out = Path(out)
        if subset not in exporting.SUBSETS:
            raise ParameterError(f"--subset {subset}: give one of {', '.join(exporting.SUBSETS)}")
        summary = self.report(split)
        neither = summary["pairs"] - summary["flagged"] - summary["kept"]  # without a score
        sidecar: exporting.ExportOrigin = {
            "audit": str(self.folder.resolve()),
            "subset": subset,
            "params": summary["params"],
            "source": summary["source"],
            "embedding": summary["embedding"],
            "mapping": summary["mapping"],
            "evidence": summary["evidence"],
            "counts": {
                "pairs": summary["pairs"],
                "flagged": summary["flagged"],
                "kept": summary["kept"],
                "skipped": summary["skipped"],
                "neither": neither,
            },
            "warnings": _left_out(neither) if subset != "all" else [],
        }
        with report_in_one_line(self.folder), self._spooled_subset(subset, split) as batches:
            return self.write_export(
                batches,
                out,
                out_format or exporting.guess_format(out),
                sidecar,
                progress=progress,
                dry_run=dry_run,
                **style,
            )

    def write_export(
        self,
        batches: Iterator[pa.RecordBatch],
        out: Path,
        out_format: exporting.Format,
        sidecar: exporting.ExportOrigin,
        *,
        progress: Progress = no_progress,
        dry_run: bool = False,
        **style: Unpack[exporting.StyleOptions],
    ) -> exporting.Sidecar | exporting.DryRun:
        """Export spooled pairs, over nothing of the audit or its source, and with no picture but those embedded.

        Raises SourceError where the source, or a picture, has changed.
        """
        protected = [self.folder, *self.source_places()]
        if dry_run:
            return exporting.dry_run(
                batches, out, out_format, sidecar, progress=progress, protected=protected, **style
            )
        if style.get("verify", True):
            self.check_source()
        return exporting.export(
            batches,
            out,
            out_format,
            sidecar,
            progress=progress,
            protected=protected,
            shards=self.shards,
            **style,
        )

    def pair_count(self) -> int:
        """Return the number of pairs in the audit, skipped ones not counted."""
        with self._database.reading() as connection:
            return queries.pair_count(connection)

    def most_keys(self) -> int:
        """Keys that can be decided: of all pairs, and of those that are set aside until their picture can be read."""
        with self._database.reading() as connection:
            return unscored.most_keys(connection)

    def delete_if_empty(self) -> None:
        """Delete the folder unless it holds pairs or a job runs: for an audit whose first ingest failed."""
        try:
            with one_job(self.folder, "delete"):
                if self._meta(SOURCE) is None:
                    shutil.rmtree(self.folder.resolve(), ignore_errors=True)
        except AuditError:
            return  # another process is at work in it

    # --- inside ------------------------------------------------------------------------------------

    def _fetch(self, start: int, stop: int) -> pa.Table:
        with self._database.reading() as connection:
            return self._located(unscored.to_embed(connection, start, stop))

    def spooled_rows(self, rows: np.ndarray) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Batches of ``audit_pairs`` at ``rows`` int64 (m,), in that order; rows that are gone are left out."""
        return self._spooled(lambda connection, path: queries.spool_rows(connection, rows, path))

    def _spooled_subset(
        self, subset: exporting.Subset, split: str | None = None
    ) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        def spool_to(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
            queries.spool_pairs(connection, None if subset == "all" else subset, path)
            # After it, so that a split that came in between is noticed.
            report.check_split(queries.get_meta(connection, SPLIT), split)

        return self._spooled(spool_to)

    @contextmanager
    def _spooled(
        self, spool_to: Callable[[duckdb.DuckDBPyConnection, Path], None]
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches of the chosen pairs from a copy, so that the database is free while they are written.

        The copy lies in the audit; elsewhere where that may only be read.
        """
        runs = self.folder / "runs"
        with suppress(OSError):
            runs.mkdir(exist_ok=True)
        place = runs if os.access(runs, os.W_OK) else None
        if place is not None:
            clear_dead(place, SPOOLED)
        with tempfile.NamedTemporaryFile(
            dir=place, prefix=f"export.{os.getpid()}.", suffix=".arrow"
        ) as spool:
            with self._database.reading() as connection:
                spool_to(connection, Path(spool.name))
            with pa.memory_map(spool.name) as file, pa.ipc.open_file(file) as reader:
                parts = (reader.get_batch(number) for number in range(reader.num_record_batches))
                yield (self._located(pa.Table.from_batches([part])).to_batches()[0] for part in parts)

    def _mapping_of_scores(self) -> Expect:
        from cfbd_core.audit import scoring

        return scoring.mapping_of(self._needed(MAPPING, "cfbd score"), self.folder)

    def _needed(self, name: MetaName[T], command: str) -> T:
        value = self._meta(name)
        if value is None:
            raise AuditError(f"{self.folder}: not ready for this step; run `{command}` first")
        return value


def _check_unused(folder: Path) -> None:
    """Raise AuditError where a folder holds something else than what a job left that made an audit."""
    if any(path.name not in UNFINISHED for path in folder.iterdir()):
        raise AuditError(f"{folder}: exists and is not empty; give a new folder")


def _left_out(pairs: int) -> list[str]:
    """Return the warning of an export that pairs without a verdict are not part of."""
    if not pairs:
        return []
    return [
        f"{pairs:,} pairs have no verdict, and are neither kept nor removed; --subset all writes them, too"
    ]
