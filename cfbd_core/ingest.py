"""Take the pairs of a source into an audit.

The reader's batches go to Parquet parts in ``runs/`` and ready embeddings straight into shards;
then one short transaction takes the parts into DuckDB. Until that transaction is done the audit
is as it was, so an ingest that was killed is simply done again.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cfbd_core.config import READY_ENCODER
from cfbd_core.errors import AuditError, SourceError
from cfbd_core.shards import EmbeddingFolder, ShardWriter
from cfbd_core.sources import SourceOptions, fingerprint, open_source
from cfbd_core.sources.base import Batch, Skip, Source
from cfbd_core.store import Database, queries

Progress = Callable[[int], None]
SHARD_SIZE = 65_536  # of ready embeddings: resuming costs nothing here, and few files open faster
READ_AHEAD = 3  # batches


def ingest(
    folder: Path,
    database: Database,
    source: str | Path,
    options: SourceOptions,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read ``source`` into the audit in ``folder``; returns the validation report.

    The report: ``{"pairs", "skipped", "reasons": [{stage, reason, pairs, examples}], "source"}``.
    A source that the audit already holds, unchanged, is not read again.
    Raises SourceError (nothing usable) or AuditError (the audit holds something else).
    """
    opened = open_source(source, options)
    identity = {
        "source": str(source),
        "files": [str(file.absolute()) for file in opened.files()],
        "format": opened.name,
        "fingerprint": fingerprint(opened),
        "options": options.to_dict(),
    }
    with database.reading() as connection:
        held = queries.get_meta(connection, "source")
    shards = EmbeddingFolder(folder / "embeddings")
    if held is not None:
        _check_same(folder, held, identity)
        if opened.has_embeddings and not shards.are_whole():
            _restore_shards(shards, opened, database)
        return validation_report(database)

    started = datetime.now(UTC)
    parts = folder / "runs" / "ingest"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    shards.clear()  # of an ingest that was killed
    skips: list[Skip] = []
    read = 0
    try:
        with ShardWriter(shards, SHARD_SIZE) as writer:
            for number, batch in enumerate(_read_ahead(opened.batches())):
                _write_part(parts / f"pairs_{number:06d}.parquet", batch, read, folder)
                if batch.image_emb is not None and batch.text_emb is not None:
                    writer.append(batch.image_emb, batch.text_emb)
                read += batch.pairs.num_rows
                skips += batch.skips
                if progress:
                    progress(batch.pairs.num_rows)
        if read == 0:
            raise SourceError(_nothing_usable(source, skips))
        with database.writing() as connection:
            queries.add_skips(connection, _skip_table(skips))
            pairs = queries.add_pairs(connection, parts)
            queries.set_meta(connection, "source", identity | {"rows": read})
            if opened.has_embeddings:
                record = {
                    "encoder": READY_ENCODER,
                    "sha256": f"{READY_ENCODER}:{identity['fingerprint']}",
                    "width": writer.width,
                    "shard_size": SHARD_SIZE,
                    "rows": read,
                }
                queries.set_meta(connection, "embedding", record)
            queries.record_run(
                connection, "ingest", started, identity, {"pairs": pairs, "skipped": read - pairs}
            )
        if opened.has_embeddings:
            shards.write_plan(record)
    except BaseException:
        shards.clear()
        raise
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return validation_report(database)


def validation_report(database: Database) -> dict[str, Any]:
    """What was read and what was skipped, with the first examples of each reason."""
    with database.reading() as connection:
        reasons = queries.skip_summary(connection)
        return {
            "pairs": queries.pair_count(connection),
            "skipped": sum(reason["pairs"] for reason in reasons),
            "reasons": reasons,
            "source": queries.get_meta(connection, "source"),
        }


def _check_same(folder: Path, held: dict[str, Any], identity: dict[str, Any]) -> None:
    if held["fingerprint"] != identity["fingerprint"]:
        raise AuditError(
            f"{folder}: this audit already holds {held['source']} as it was at its ingest; "
            "audit another or a changed source in a folder of its own (--audit DIR)"
        )
    for name, value in identity["options"].items():
        if name != "format" and held["options"][name] != value:
            option = f"--{name.replace('_', '-')}"
            raise AuditError(
                f"{folder}: this audit was ingested with {option} {held['options'][name]}, not {value}; "
                f"leave {option} as it was or give a folder of its own (--audit DIR)"
            )


def _restore_shards(shards: EmbeddingFolder, source: Source, database: Database) -> None:
    """Copy ready embeddings again: they were deleted, and rows are numbered in reading order."""
    with database.reading() as connection:
        record = queries.get_meta(connection, "embedding")
    shards.clear()
    with ShardWriter(shards, record["shard_size"]) as writer:
        for batch in _read_ahead(source.batches()):
            if batch.image_emb is not None and batch.text_emb is not None:
                writer.append(batch.image_emb, batch.text_emb)
    shards.write_plan(record)


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, read a few ahead in a thread of its own, while others are being written."""
    reader = ThreadPoolExecutor(1)
    try:
        coming = deque(reader.submit(next, batches, None) for _ in range(READ_AHEAD))
        while (batch := coming.popleft().result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
    finally:
        reader.shutdown(cancel_futures=True)


def _write_part(path: Path, batch: Batch, first_row: int, folder: Path) -> None:
    """Write pairs with their rows; images inside the audit's own folder are named from there."""
    inside = f"{folder.resolve()}/"
    image = batch.pairs.column("image")
    is_inside = pc.fill_null(pc.starts_with(image, inside), False)
    relative = pc.if_else(is_inside, pc.utf8_slice_codeunits(image, len(inside)), image)
    pairs = batch.pairs.set_column(batch.pairs.schema.get_field_index("image"), "image", relative)
    rows = pa.array(np.arange(first_row, first_row + batch.pairs.num_rows, dtype=np.int64))
    table = pa.Table.from_batches([pairs])
    pq.write_table(table.append_column("row", rows), path, compression="zstd")


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


def _nothing_usable(source: str | Path, skips: list[Skip]) -> str:
    if not skips:
        return f"{source}: no pairs in it; is it the right folder or file?"
    first = skips[0]
    return (
        f"{source}: none of its {len(skips)} records is usable; the first, {first.where}: "
        f"{first.reason}{f' ({first.detail})' if first.detail else ''}"
    )
