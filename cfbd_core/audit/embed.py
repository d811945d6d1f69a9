"""Embed a whole audit: which encoder, which plan, and what becomes of images that cannot be read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cfbd_core.audit.files import AuditFiles
from cfbd_core.audit.source_state import SourceState
from cfbd_core.config import READY_ENCODER, EmbedParams
from cfbd_core.embedding import batch_loop as embeddings
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.embedding.shards import shard_count
from cfbd_core.errors import AuditError, EncoderError
from cfbd_core.machine.progress import Counter, Progress
from cfbd_core.pictures.picture import MOVED, digest_at
from cfbd_core.pictures.place import places_of
from cfbd_core.store import queries, unscored
from cfbd_core.store.entries import EmbeddingEntry
from cfbd_core.store.meta import EMBEDDING, SOURCE
from cfbd_core.store.scores import forget_scores

FEW_IMAGES_GONE = 10
MOST_SHARE_GONE = 0.01  # of the images: more that vanish after the ingest are a disk that is not there


@dataclass(frozen=True)
class EmbedAudit:
    """The step ``embed`` of an audit."""

    files: AuditFiles

    def run(self, encoder: str | Encoder | None, params: EmbedParams, progress: Progress) -> EmbeddingEntry:
        """Embed what is missing. See :meth:`cfbd_core.audit.audit.Audit.embed`."""
        with self.files.database.reading() as connection:
            source = queries.needed_meta(connection, SOURCE)
            embedding = queries.derived_meta(connection, EMBEDDING)
            counter = Counter(progress, "embed", queries.pair_count(connection))
        done, was_done = embedding.value, embedding.is_kept
        plan = self._stored_plan(done, source["rows"])
        SourceState(self.files.folder, self.files.database).check()
        known = done or plan
        if known is not None and known["encoder"] == READY_ENCODER:
            return self._ready(encoder, done)
        self.files.shards.keep_digests(source["rows"])
        again = self._again(plan) if plan else set()
        if plan and plan == done and encoder is None and not again and self.files.shards.are_whole():
            return plan
        if was_done and not (known or encoder):
            raise AuditError(
                f"{self.files.folder}: which encoder made its embeddings cannot be read any more; "
                "name it with --encoder"
            )
        made_by = plan or done
        wanted = encoder or (params.encoder if made_by is None else made_by["encoder"])
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
            new = embeddings.embed(self.files.shards, job, counter, again)
        except torch.cuda.OutOfMemoryError as error:
            raise EncoderError(
                f"the GPU's memory does not hold {job.batch_size} images a pass; "
                f"give --batch-size {max(1, job.batch_size // 2)}"
            ) from error
        is_other = was_done and done != plan
        brought_back = self._commit(plan, is_other, started)
        not_known = new - brought_back if was_done else 0
        return {**plan, "not_compared": not_known} if not_known > 0 else plan

    def fetch(self, start: int, stop: int) -> pa.Table:
        """Return the pairs at the rows from ``start`` to ``stop``, with the present paths of their images."""
        with self.files.database.reading() as connection:
            return self.files.located(unscored.to_embed(connection, start, stop))

    def _stored_plan(self, done: EmbeddingEntry | None, rows: int) -> EmbeddingEntry | None:
        """The plan that the shards were made by; one that is damaged is known from the audit, once it was done."""
        plan = self.files.shards.plan()
        if plan is not None and plan["rows"] == rows:
            return plan
        if done and self.files.shards.stats_path(0).exists():
            self.files.shards.write_plan(done)
            return done
        return None

    def _again(self, plan: EmbeddingEntry) -> set[int]:
        """Shards to make anew: with embeddings that gave no score, or pictures that can be read by now."""
        with self.files.database.reading() as connection:
            rows = unscored.unscored_rows(connection).tolist()
            aside = self.files.located(unscored.aside(connection))
        failed = embeddings.failed_hashes(self.files.shards, shard_count(plan)) if aside.num_rows else {}
        with ThreadPoolExecutor(thread_name_prefix="hash") as workers:
            now = workers.map(digest_at, places_of(aside))
            rows += [
                row
                for row, digest in zip(aside["row"].to_pylist(), now, strict=True)
                if digest.hex() not in ("", failed.get(row))
            ]
        return {row // plan["shard_size"] for row in rows}

    def _ready(self, encoder: str | Encoder | None, done: EmbeddingEntry | None) -> EmbeddingEntry:
        if encoder is not None:
            raise AuditError(
                f"{self.files.folder}: its pairs came with ready embeddings; leave --encoder out"
            )
        plan = self.files.shards.check_whole()
        if done != plan:  # its record was damaged
            with self.files.database.writing() as connection:
                queries.set_meta(connection, EMBEDDING, plan)
        return plan

    def _plan(
        self, plan: EmbeddingEntry | None, encoder: Encoder, params: EmbedParams, rows: int
    ) -> EmbeddingEntry:
        """The plan to go on with, or a new one; AuditError when there are embeddings of another encoder."""
        if plan is not None and (plan["rows"] != rows or not plan.keys() >= {"architecture", "batch_size"}):
            plan = None  # damaged
        if plan is None:
            self.files.shards.clear()
            plan = {
                "encoder": encoder.id,
                "sha256": encoder.sha256,
                "architecture": encoder.architecture,
                "width": encoder.width,
                "shard_size": params.shard_size,
                "batch_size": params.batch_size or embeddings.find_batch_size(encoder),
                "rows": rows,
            }
            self.files.shards.write_plan(plan)
        elif (plan["sha256"], plan["architecture"]) != (encoder.sha256, encoder.architecture):
            raise AuditError(
                f"{self.files.folder}: holds embeddings of {plan['encoder']} (sha256 {plan['sha256'][:12]}…), "
                f"not of {encoder.id} ({encoder.sha256[:12]}…); delete {self.files.shards.folder} to make them "
                "anew, or give another --audit folder"
            )
        elif params.batch_size and params.batch_size != plan["batch_size"]:
            plan = {**plan, "batch_size": params.batch_size}  # asked for: memory may not hold the first one
            self.files.shards.write_plan(plan)
        return plan

    def _commit(self, plan: EmbeddingEntry, is_other: bool, started: datetime) -> int:
        """Set pairs without an image aside and record the embedding, in one transaction; returns how many came back.

        Scores go where it ``is_other`` than the one that they were made of.
        """
        failures = embeddings.failures(self.files.shards, shard_count(plan))
        is_gone = SourceState(self.files.folder, self.files.database).is_gone()
        with self.files.database.writing() as connection:
            unreadable = unscored.among_pairs(connection, failures)
            aside = unscored.aside(connection)["row"]
            pairs = queries.pair_count(connection) + len(aside)
            self._check_failures(unreadable, pairs, is_gone)
            unscored.set_aside(connection, unreadable)
            queries.set_meta(connection, EMBEDDING, plan)
            if is_other:
                forget_scores(connection)
            stats = {"unreadable": unreadable.num_rows}
            queries.record_run(connection, "embed", started, plan, stats)
        return int(np.isin(aside.to_numpy(), unreadable["row"].to_numpy(), invert=True).sum())

    def _check_failures(self, unreadable: pa.Table, pairs: int, source_is_gone: bool) -> None:
        passing = pa.array(embeddings.PASSING)
        gone = unreadable.filter(pc.is_in(unreadable["reason"], value_set=passing))
        are_many = gone.num_rows == pairs or gone.num_rows > max(FEW_IMAGES_GONE, MOST_SHARE_GONE * pairs)
        if gone.num_rows and (are_many or source_is_gone):
            first = gone["detail"][0].as_py() or gone["reason"][0].as_py()
            raise AuditError(
                f"{self.files.folder}: {gone.num_rows} images are not there any more, the first: {first}; "
                f"bring them back and run again, or {MOVED}"
            )
        if unreadable.num_rows == pairs:
            first = f"{unreadable['reason'][0]} ({unreadable['detail'][0]})"
            raise AuditError(
                f"{self.files.folder}: not one image could be read, the first: {first}; "
                "is the image column the right one? start a new audit with --image-col"
            )
