"""Take the pairs of a source into an audit.

The reader's batches go to Parquet parts in ``runs/`` and ready embeddings straight into shards;
then one short transaction takes the parts into DuckDB. Until that transaction is done the audit
is as it was, so an ingest that was killed is simply done again.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, TypedDict

import duckdb
import pyarrow as pa

from cfbd_core.audit.ingest_again import SHARD_SIZE, ingest_again, ready_record
from cfbd_core.audit.parts import EmbeddingsHash, read_parts
from cfbd_core.audit.source_digests import SourceDigests
from cfbd_core.audit.source_state import SourceState, identity_of, stamps_of
from cfbd_core.embedding.shards import EmbeddingFolder, ShardWriter
from cfbd_core.errors import SourceError
from cfbd_core.machine.progress import Counter, Progress, no_progress
from cfbd_core.machine.stamps import Stamp
from cfbd_core.sources import SourceOptions, open_source
from cfbd_core.sources.base import Skip
from cfbd_core.store import Database, queries, unscored
from cfbd_core.store.adding import Added, add_pairs, add_skips
from cfbd_core.store.entries import (
    SkipReason,
    SourceEntry,
    SourceIdentity,
    UnreadEntry,
    UnreadKind,
    UnscoredReason,
)
from cfbd_core.store.meta import EMBEDDING, SOURCE, STAMPS, UNREAD
from cfbd_core.wording import counted, has_or_have, is_or_are

NOT_COUNTED = "this audit was made by a version that did not count what it left unread; a new audit does"


def ingest(
    folder: Path,
    database: Database,
    source: str | Path,
    options: SourceOptions,
    progress: Progress = no_progress,
) -> ValidationReport:
    """Read ``source`` into the audit in ``folder``; returns the validation report.

    The report: ``{"pairs", "skipped", "reasons": [{stage, reason, pairs, examples}], "unscored", "unread": {kind: n},
    "unread_kinds": [{kind, count, advice, examples}], "notes": [sentence], "source"}``.
    A source that the audit already holds, unchanged, is not read again; one that was moved or touched is, and the
    report's ``again`` says that it was found.
    Raises SourceError (nothing usable) or AuditError (the audit holds something else).
    """
    with database.reading() as connection:
        known = queries.get_meta(connection, SOURCE)
    if known is not None:
        news = ingest_again(SourceState(folder, database), source, options, progress)
        return _with_again(validation_report(database), news)
    opened = open_source(source, options)
    identity: SourceIdentity = {**identity_of(source, opened, options), "reader": 2}
    stamps = stamps_of(identity["files"])
    shards = EmbeddingFolder(folder / "embeddings")
    started = datetime.now(UTC)
    parts = _empty_parts(folder)
    _clear(shards)  # of an ingest that was killed
    skips: list[Skip] = []
    named: list[tuple[int, str]] = []  # first row, name
    content = EmbeddingsHash()
    digests = SourceDigests()
    counter = Counter(progress, "ingest")
    read = 0
    try:
        with ShardWriter(shards, SHARD_SIZE) as writer:
            for batch in read_parts(opened, parts, folder):
                content.update(batch)
                if batch.image_emb is not None and batch.text_emb is not None:
                    writer.append(batch.image_emb, batch.text_emb)
                    digests.update(batch.pairs)
                named += [(read, batch.shard)] * bool(batch.pairs.num_rows)
                read += batch.pairs.num_rows
                skips += batch.skips
                counter.add(batch.pairs.num_rows)
        if read == 0:
            raise SourceError(_nothing_usable(source, skips))
        digests.keep(shards.pictures)
        with database.writing(reads=parts) as connection:
            add_skips(connection, _skip_table(skips))
            added = add_pairs(connection, parts, named)
            if added.renamed:
                opened.unread.note(_renamed(added))
            _keep(connection, {**identity, "rows": read}, opened.unread.to_dict(), stamps)
            if opened.has_embeddings:
                embedding = ready_record(identity["fingerprint"], writer, read, content)
                queries.set_meta(connection, EMBEDDING, embedding)
            queries.record_run(
                connection, "ingest", started, identity, {"pairs": added.pairs, "skipped": read - added.pairs}
            )
        if opened.has_embeddings:
            shards.write_plan(embedding)
    except BaseException:
        _clear(shards)
        raise
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return validation_report(database)


def _with_again(report: ValidationReport, sentence: str | None) -> ValidationReport:
    if sentence is not None:
        report["again"] = sentence
    return report


def _keep(
    connection: duckdb.DuckDBPyConnection, source: SourceEntry, unread: UnreadEntry, stamps: list[Stamp]
) -> None:
    queries.set_meta(connection, SOURCE, source)
    queries.set_meta(connection, UNREAD, unread)
    queries.set_meta(connection, STAMPS, stamps)


def _clear(shards: EmbeddingFolder) -> None:
    shards.clear()
    shutil.rmtree(shards.pictures.folder, ignore_errors=True)


def _empty_parts(folder: Path) -> Path:
    parts = folder / "runs" / "ingest"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    return parts


class UnreadReport(TypedDict):
    """What a source held that was not read: counted by kind, the kinds with examples and advice, and notes."""

    unread: dict[str, int]
    unread_kinds: list[UnreadKind]
    notes: list[str]


class ValidationReport(UnreadReport):
    """What an ingest read and skipped; ``again`` tells how a source that the audit holds was found again."""

    pairs: int
    skipped: int
    reasons: list[SkipReason]
    unscored: list[UnscoredReason]
    source: SourceEntry | None
    again: NotRequired[str]


def validation_report(database: Database) -> ValidationReport:
    """Return what was read and what was skipped, with the first examples of each reason."""
    with database.reading() as connection:
        reasons, unread = queries.skip_summary(connection), unread_report(connection)
        return {
            "pairs": queries.pair_count(connection),
            "skipped": sum(reason["pairs"] for reason in reasons),
            "reasons": reasons,
            "unscored": unscored.unscored_summary(connection),
            "unread": unread["unread"],
            "unread_kinds": unread["unread_kinds"],
            "notes": unread["notes"],
            "source": queries.get_meta(connection, SOURCE),
        }


def unread_report(connection: duckdb.DuckDBPyConnection) -> UnreadReport:
    """What was seen and not read: ``unread`` {kind: n}, ``unread_kinds`` with examples and advice, and ``notes``."""
    report = queries.get_meta(connection, UNREAD)
    if report is None:
        is_ingested = queries.get_meta(connection, SOURCE) is not None
        report = {"kinds": [], "notes": [NOT_COUNTED] if is_ingested else []}
    return {
        "unread": {one["kind"]: one["count"] for one in report["kinds"]},
        "unread_kinds": report["kinds"],
        "notes": report["notes"],
    }


def _skip_table(skips: list[Skip]) -> pa.Table:
    return pa.table(
        {
            "key": pa.array([skip.key for skip in skips], pa.string()),
            "position": pa.array([skip.where for skip in skips], pa.string()),
            "stage": pa.array(["ingest"] * len(skips), pa.string()),
            "reason": pa.array([skip.reason for skip in skips], pa.string()),
            "detail": pa.array([skip.detail for skip in skips], pa.string()),
        }
    )


def _renamed(added: Added) -> str:
    return (
        f"{counted(added.renamed, 'pair')} {has_or_have(added.renamed)} a key that an earlier one has and "
        f"{is_or_are(added.renamed)} called SHARD/KEY or KEY~2: {', '.join(added.examples)}"
        + (" …" if added.renamed > len(added.examples) else "")
    )


def _nothing_usable(source: str | Path, skips: list[Skip]) -> str:
    if not skips:
        return f"{source}: no pairs in it; is it the right folder or file?"
    first = skips[0]
    way_out = "; --image-root says where its pictures are" if first.reason == "missing image" else ""
    return (
        f"{source}: none of its {len(skips)} records is usable; the first, {first.where}: "
        f"{first.reason}{f' ({first.detail})' if first.detail else ''}{way_out}"
    )
