"""One audit: a folder on disk, and the facade that the command line, the app and users call."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from cfbd_core import embeddings, ingest, report, scoring
from cfbd_core import export as exporting
from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.encoders import Encoder, load_encoder
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.files import LOCK_NAME, one_job, told_when_disk_is_full
from cfbd_core.shards import EmbeddingFolder, shard_count
from cfbd_core.sources import SourceOptions
from cfbd_core.splitting import split_pairs
from cfbd_core.store import Database, queries, schema

DATABASE_NAME = "audit.duckdb"
Progress = Callable[[int], None]


class Audit:
    """An audit in ``folder``; make one with :meth:`create`, come back with :meth:`open`.

    ``ingest → embed → score → split`` build on each other; each can be called again, and does only
    what is missing. Decisions survive all of them.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self._database = folder, database
        self.shards = EmbeddingFolder(folder / "embeddings")

    @classmethod
    def create(cls, folder: str | Path) -> Audit:
        """Make an empty audit; the folder may not exist or must be empty."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with one_job(folder, "create"):
                if any(path.name != LOCK_NAME for path in folder.iterdir()):
                    raise AuditError(f"{folder}: exists and is not empty; give a new folder")
                return cls(folder, Database.create(folder / DATABASE_NAME))
        except FileExistsError as error:
            raise AuditError(f"{folder}: is a file; give a folder") from error
        except OSError as error:
            raise AuditError(f"{folder}: not writable ({error.strerror}); give another folder") from error

    @classmethod
    def open(cls, folder: str | Path) -> Audit:
        """Open an audit. Raises AuditError: none there, or made by a newer version of this tool."""
        folder = Path(folder)
        if not (folder / DATABASE_NAME).is_file():
            raise AuditError(f"{folder}: no audit here; `cfbd run SOURCE --audit {folder}` makes one")
        audit = cls(folder, Database(folder / DATABASE_NAME))
        with audit._database.reading() as connection:
            found = schema.version(connection, folder)
        if found > schema.SCHEMA_VERSION:
            raise AuditError(
                f"{folder}: made by a newer version of CFBD Auditor (schema {found}, this one knows "
                f"{schema.SCHEMA_VERSION}); update with `pip install -U cfbd-auditor`"
            )
        return audit

    @classmethod
    def open_or_create(cls, folder: str | Path) -> Audit:
        """Open the audit in ``folder``, or make one there."""
        return cls.open(folder) if (Path(folder) / DATABASE_NAME).is_file() else cls.create(folder)

    # --- the pipeline ------------------------------------------------------------------------------

    def ingest(
        self, source: str | Path, options: SourceOptions | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Read the pairs of ``source``; returns the validation report (:mod:`cfbd_core.ingest`)."""
        with one_job(self.folder, "ingest"):
            return ingest.ingest(self.folder, self._database, source, options or SourceOptions(), progress)

    def embed(
        self,
        encoder: str | Encoder | None = None,
        params: EmbedParams | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Embed every pair; goes on after the last whole shard. Returns the embedding's record.

        ``encoder`` None is the audit's own, or ``mini``. Raises AuditError when the audit holds
        embeddings of another encoder.
        """
        params = params or EmbedParams()
        with one_job(self.folder, "embed"):
            source = self._needed("source", "cfbd ingest")
            done = self._meta("embedding")
            if done and done["encoder"] == ingest.READY_ENCODER:
                if encoder is not None:
                    raise AuditError(
                        f"{self.folder}: its pairs came with ready embeddings; leave --encoder out"
                    )
                return cast(dict[str, Any], done)
            plan = self.shards.plan()
            if plan and plan == done and encoder is None and self.shards.are_whole():
                return plan
            wanted = encoder or (plan["encoder"] if plan else params.encoder)
            loaded = load_encoder(wanted, params.device) if isinstance(wanted, str) else wanted
            if plan and plan["sha256"] != loaded.sha256:
                raise AuditError(
                    f"{self.folder}: holds embeddings of {plan['encoder']} (sha256 {plan['sha256'][:12]}…), "
                    f"not of {loaded.id} ({loaded.sha256[:12]}…); delete {self.shards.folder} to make them "
                    "anew, or give another --audit folder"
                )
            started = datetime.now(UTC)
            if plan is None:
                plan = {
                    "encoder": loaded.id,
                    "sha256": loaded.sha256,
                    "width": loaded.width,
                    "shard_size": params.shard_size,
                    "batch_size": params.batch_size or embeddings.find_batch_size(loaded),
                    "rows": source["rows"],
                }
                self.shards.write_plan(plan)
            job = embeddings.EmbedJob(
                encoder=loaded,
                rows=plan["rows"],
                fetch=self._fetch,
                batch_size=plan["batch_size"],
                shard_size=plan["shard_size"],
                workers=params.workers,
            )
            embeddings.embed(self.shards, job, progress)
            self._finish_embedding(plan, done, started)
            return plan

    def score(
        self,
        mapping: str = "auto",
        progress: Progress | None = None,
        train_progress: scoring.TrainProgress | None = None,
    ) -> dict[str, Any]:
        """Score every pair with F; returns which F and the encoder's health check."""
        with one_job(self.folder, "score"):
            embedding = self._needed("embedding", "cfbd embed")
            started = datetime.now(UTC)
            with self._database.reading() as connection:
                rows, image_of = queries.pair_rows(connection), queries.image_groups(connection)
            chosen = scoring.choose_mapping(mapping, self.shards, rows, image_of, embedding, train_progress)
            shard_size = embedding["shard_size"]
            table = scoring.score_shards(self.shards, chosen, rows, image_of, shard_size, progress)
            health = scoring.encoder_health(self.shards, rows, image_of, embedding)
            with self._database.writing() as connection:
                queries.replace_scores(connection, table)
                queries.set_meta(connection, "mapping", chosen.to_dict())
                queries.set_meta(connection, "health", health)
                queries.forget_meta(connection, "split")
                queries.record_run(
                    connection, "score", "score", started, {"mapping": mapping}, chosen.to_dict()
                )
            return {"mapping": chosen.to_dict(), "health": health, "pairs": table.num_rows}

    def split(self, params: SplitParams | None = None) -> dict[str, Any]:
        """Split into D_b, D_p, D_s and give every pair a verdict; returns the summary."""
        params = params or SplitParams()
        with one_job(self.folder, "split"):
            self._needed("mapping", "cfbd score")
            started = datetime.now(UTC)
            with self._database.reading() as connection:
                rows, consistency = queries.consistency(connection)
            result = split_pairs(rows, consistency, self.shards.texts(), params, self._keys_of)
            with self._database.writing() as connection:
                queries.replace_verdicts(connection, rows, result.z, result.subset, result.poisoned)
                queries.set_meta(connection, "split", result.summary)
                queries.record_run(
                    connection, "split", "split", started, params.to_dict(), result.summary["params"]
                )
            return result.summary

    # --- what came out -----------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Counts, parameters, evidence and, where known, the truth (INTERFACE)."""
        return report.report(self._database)

    def validation_report(self) -> dict[str, Any]:
        """What the ingest read and skipped."""
        return ingest.validation_report(self._database)

    def pairs(
        self, where: str | None = None, order_by: str | None = None, limit: int | None = None
    ) -> pa.Table:
        """Pairs with scores, verdicts and decisions (``audit_pairs``) as an Arrow table."""
        with self._database.reading() as connection:
            return queries.select_pairs(connection, where, order_by, limit)

    def decide(self, decisions: pa.Table) -> int:
        """Store people's decisions (key, decision keep|remove|unsure|'', note); returns how many."""
        values = set(decisions["decision"].to_pylist()) - {"keep", "remove", "unsure", ""}
        if values:
            raise ParameterError(f"decision {values.pop()!r}: give keep, remove, unsure or nothing")
        with self._database.writing() as connection:
            unknown = queries.add_decisions(connection, decisions)
            if unknown:
                raise ParameterError(
                    f"key {unknown[0]!r} is not in the audit ({len(unknown)} such keys); nothing was stored"
                )
        return int(decisions.num_rows)

    def export(
        self,
        out: str | Path,
        subset: exporting.Subset = "kept",
        out_format: exporting.Format | None = None,
        *,
        spreadsheet_safe: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Write the kept (or removed, or all) pairs to ``out``; returns the sidecar's content."""
        out = Path(out)
        if subset not in exporting.SUBSETS:
            raise ParameterError(f"--subset {subset}: give one of {', '.join(exporting.SUBSETS)}")
        summary = self.report()
        sidecar = {
            "subset": subset,
            **{name: summary[name] for name in ("params", "source", "embedding", "mapping", "evidence")},
            "counts": {name: summary[name] for name in ("pairs", "flagged", "kept", "skipped")},
        }
        with told_when_disk_is_full(self.folder):
            return exporting.export(
                self._export_batches(subset),
                out,
                out_format or exporting.guess_format(out),
                sidecar,
                spreadsheet_safe=spreadsheet_safe,
                progress=progress,
            )

    def pair_count(self) -> int:
        """Pairs in the audit, skipped ones not counted."""
        with self._database.reading() as connection:
            return queries.pair_count(connection)

    def delete_if_empty(self) -> None:
        """Delete the folder unless it holds pairs or a job runs: for an audit whose first ingest failed."""
        try:
            with one_job(self.folder, "delete"):
                if self._meta("source") is None:
                    shutil.rmtree(self.folder)
        except AuditError:
            return  # another process is at work in it

    # --- inside ------------------------------------------------------------------------------------

    def _fetch(self, start: int, stop: int) -> pa.Table:
        with self._database.reading() as connection:
            return queries.to_embed(connection, start, stop)

    def _keys_of(self, rows: np.ndarray) -> list[str]:
        with self._database.reading() as connection:
            return queries.keys_of(connection, rows)

    def _finish_embedding(self, plan: dict[str, Any], done: dict[str, Any] | None, started: datetime) -> None:
        unreadable = embeddings.failures(self.shards, shard_count(plan))
        with self._database.writing() as connection:
            queries.drop_unreadable(connection, unreadable)
            if queries.pair_count(connection) == 0:
                raise AuditError(
                    f"{self.folder}: not one image could be read; the first: {unreadable['reason'][0]} "
                    f"({unreadable['detail'][0]})"
                )
            queries.set_meta(connection, "embedding", plan)
            if done and done["sha256"] != plan["sha256"]:
                queries.forget_scores(connection)
            queries.record_run(
                connection, "embed", "embed", started, plan, {"unreadable": unreadable.num_rows}
            )

    def _export_batches(self, subset: exporting.Subset) -> Iterator[pa.RecordBatch]:
        with self._database.reading() as connection:
            yield from queries.export_batches(connection, None if subset == "all" else subset)

    def _meta(self, name: str) -> Any:
        with self._database.reading() as connection:
            return queries.get_meta(connection, name)

    def _needed(self, name: str, command: str) -> Any:
        found = self._meta(name)
        if found is None:
            raise AuditError(f"{self.folder}: not ready for this step; run `{command}` first")
        return found
