"""Embed a whole audit: which encoder, which plan, and what becomes of images that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from cfbd_core import embeddings
from cfbd_core.config import READY_ENCODER, EmbedParams
from cfbd_core.encoders import Encoder, load_encoder
from cfbd_core.errors import AuditError, EncoderError
from cfbd_core.shards import EmbeddingFolder, shard_count
from cfbd_core.store import Database, queries

FEW_GONE = 10
SHARE_GONE = 0.01  # of the images: more that vanish after the ingest are a disk that is not there


@dataclass(frozen=True)
class EmbedAudit:
    """The step ``embed`` of the audit in ``folder``; ``fetch(start, stop)`` reads pairs by row."""

    folder: Path
    database: Database
    shards: EmbeddingFolder
    fetch: Callable[[int, int], pa.Table]

    def run(
        self, encoder: str | Encoder | None, params: EmbedParams, progress: Callable[[int], None] | None
    ) -> dict[str, Any]:
        """Embed what is missing; returns the embedding's record. See :meth:`cfbd_core.audit.Audit.embed`."""
        with self.database.reading() as connection:
            source = queries.get_meta(connection, "source")
            done = queries.get_meta(connection, "embedding")
        plan = self.shards.plan()
        if done and done["encoder"] == READY_ENCODER:
            return self._ready(encoder, done)
        if plan and plan == done and encoder is None and self.shards.are_whole():
            return plan
        wanted = encoder or (plan["encoder"] if plan else params.encoder)
        loaded = load_encoder(wanted, params.device) if isinstance(wanted, str) else wanted
        started = datetime.now(UTC)
        plan = self._plan(plan, loaded, params, source["rows"])
        job = embeddings.EmbedJob(
            encoder=loaded,
            rows=plan["rows"],
            fetch=self.fetch,
            batch_size=plan["batch_size"],
            shard_size=plan["shard_size"],
            workers=params.workers,
        )
        try:
            embeddings.embed(self.shards, job, progress)
        except torch.cuda.OutOfMemoryError as error:
            raise EncoderError(
                f"the GPU's memory does not hold {job.batch_size} images a pass; "
                f"give --batch-size {max(1, job.batch_size // 2)}"
            ) from error
        self._commit(plan, done, started)
        return plan

    def _ready(self, encoder: str | Encoder | None, done: dict[str, Any]) -> dict[str, Any]:
        if encoder is not None:
            raise AuditError(f"{self.folder}: its pairs came with ready embeddings; leave --encoder out")
        if not self.shards.are_whole():
            raise AuditError(
                f"{self.folder}: the ready embeddings are gone; `cfbd ingest` the same source again"
            )
        return done

    def _plan(
        self, plan: dict[str, Any] | None, encoder: Encoder, params: EmbedParams, rows: int
    ) -> dict[str, Any]:
        """The plan to go on with, or a new one; AuditError when there are embeddings of another encoder."""
        if plan is None:
            self.shards.clear()
            plan = {
                "encoder": encoder.id,
                "sha256": encoder.sha256,
                "architecture": encoder.architecture,
                "width": encoder.width,
                "shard_size": params.shard_size,
                "batch_size": params.batch_size or embeddings.find_batch_size(encoder),
                "rows": rows,
            }
            self.shards.write_plan(plan)
        elif (plan["sha256"], plan["architecture"]) != (encoder.sha256, encoder.architecture):
            raise AuditError(
                f"{self.folder}: holds embeddings of {plan['encoder']} (sha256 {plan['sha256'][:12]}…), "
                f"not of {encoder.id} ({encoder.sha256[:12]}…); delete {self.shards.folder} to make them "
                "anew, or give another --audit folder"
            )
        elif params.batch_size and params.batch_size != plan["batch_size"]:
            plan = plan | {"batch_size": params.batch_size}  # asked for: memory may not hold the first one
            self.shards.write_plan(plan)
        return plan

    def _commit(self, plan: dict[str, Any], done: dict[str, Any] | None, started: datetime) -> None:
        """Move pairs without an image to ``skipped`` and record the embedding, in one transaction."""
        unreadable = embeddings.failures(self.shards, shard_count(plan))
        with self.database.writing() as connection:
            pairs = queries.pair_count(connection)
            self._check_failures(unreadable, pairs)
            queries.drop_pairs(connection, unreadable, "embed")
            queries.set_meta(connection, "embedding", plan)
            if done and done != plan:
                queries.forget_scores(connection)
            stats = {"unreadable": unreadable.num_rows}
            queries.record_run(connection, "embed", started, plan, stats)

    def _check_failures(self, unreadable: pa.Table, pairs: int) -> None:
        passing = pa.array(embeddings.PASSING)
        gone = unreadable.filter(pc.is_in(unreadable["reason"], value_set=passing))
        if gone.num_rows and (gone.num_rows == pairs or gone.num_rows > max(FEW_GONE, SHARE_GONE * pairs)):
            first = gone["detail"][0].as_py() or gone["reason"][0].as_py()
            raise AuditError(
                f"{self.folder}: {gone.num_rows} images are not there any more, the first: {first}; "
                "bring them back and run again"
            )
        if unreadable.num_rows == pairs:
            first = f"{unreadable['reason'][0]} ({unreadable['detail'][0]})"
            raise AuditError(
                f"{self.folder}: not one image could be read, the first: {first}; "
                "is the image column the right one? start a new audit with --image-col"
            )
