"""A source that an audit already holds, ingested again: the same, only touched, found elsewhere, or another.

Ready embeddings that were deleted or damaged come back with it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cfbd_core.audit.parts import EmbeddingsHash, read_ahead
from cfbd_core.audit.source_state import OTHER_EMBEDDINGS, SourceState, identity_of, stamps_of
from cfbd_core.config import READY_ENCODER
from cfbd_core.embedding.shards import EmbeddingFolder, ShardWriter
from cfbd_core.errors import AuditError
from cfbd_core.machine.progress import Progress
from cfbd_core.machine.stamps import Stamp
from cfbd_core.pictures.picture import ANEW
from cfbd_core.sources import FORMATS, Source, SourceOptions, open_source
from cfbd_core.store import Database, again, queries, unscored
from cfbd_core.store.entries import EmbeddingEntry, SourceEntry, SourceIdentity
from cfbd_core.store.meta import EMBEDDING, SOURCE, STAMPS

SHARD_SIZE = 65_536  # of ready embeddings: resuming costs nothing here, and few files open faster


def ingest_again(
    state: SourceState, source: str | Path, options: SourceOptions, progress: Progress
) -> str | None:
    """Take ``source`` as that of an audit that has one; returns what the report says of it, if it changed.

    Raises SourceError (nothing there), AuditError (it holds other pairs, or is read in another way).
    """
    entry = state.entry()
    root = entry["options"]["image_root"]
    if options.image_root is None and root is not None and Path(root).is_dir():
        options = replace(options, image_root=root)  # given once, it need not be given again
    opened = _opened(source, options, entry)
    identity = identity_of(source, opened, options)
    stamps = stamps_of(identity["files"])
    _check_options(state.folder, entry, identity)
    news = None
    if not state.is_unchanged(identity, stamps):
        news = _compare_again(state, opened, identity, stamps, progress)
    shards = EmbeddingFolder(state.folder / "embeddings")
    if opened.has_embeddings and not _are_usable(shards, state.database):
        _restore_shards(shards, opened, state.database, entry)
    return news


def _check_options(folder: Path, entry: SourceEntry, identity: SourceIdentity) -> None:
    """Raise AuditError where the source is read in another way; another place of its pictures may have been found."""
    for name, value in identity["options"].items():
        if name not in ("format", "image_root") and entry["options"].get(name) != value:
            option = f"--{name.replace('_', '-')}"
            raise AuditError(
                f"{folder}: this audit was ingested with {option} {entry['options'].get(name)}, not {value}; "
                f"leave {option} as it was or give a folder of its own (--audit DIR)"
            )


def _compare_again(
    state: SourceState,
    opened: Source,
    identity: SourceIdentity,
    stamps: list[Stamp],
    progress: Progress,
) -> str:
    """Read a source whose files are elsewhere, or were touched, and hold on to it if its pairs are those of the audit.

    Returns what the report says of it. Raises AuditError where it holds other pairs.
    """
    with state.read(opened, progress) as content:
        has_moved = state.has_moved(content.entry, identity)
        difference = content.difference() or (None if has_moved else state.other_picture())
        if difference is not None:
            raise AuditError(
                f"{state.folder}: this audit already holds {content.entry['source']} as it was at its ingest, and "
                f"{difference.file or identity['source']} differs or has changed since ({difference.what}); "
                "audit another or a changed source in a folder of its own (--audit DIR)"
            )
        with state.database.writing() as connection:
            if has_moved:
                again.point_to(connection, content.parts, content.is_by_row)
            record: SourceEntry = {**identity, "rows": content.entry["rows"]}
            if "reader" in content.entry:
                record["reader"] = content.entry["reader"]
            queries.set_meta(connection, SOURCE, record)
            queries.set_meta(connection, STAMPS, stamps)
    if has_moved:
        return f"found again at {identity['source']}: the same pairs as at {content.entry['source']}"
    return "its files were touched; they hold the same pairs (pictures are compared whenever they are read)"


def _are_usable(shards: EmbeddingFolder, database: Database) -> bool:
    """Return whether ready embeddings are all there, and gave a score to every pair that was scored with them."""
    with database.reading() as connection:
        damaged = unscored.unscored_rows(connection)
    return shards.are_whole() and not len(damaged)


def _restore_shards(shards: EmbeddingFolder, source: Source, database: Database, entry: SourceEntry) -> None:
    """Copy ready embeddings again: they were deleted or damaged, and rows are numbered in reading order."""
    with database.reading() as connection:
        record = queries.derived_meta(connection, EMBEDDING).value
    shards.clear()
    content, rows = EmbeddingsHash(), 0
    with ShardWriter(shards, record["shard_size"] if record else SHARD_SIZE) as writer:
        for batch in read_ahead(source):
            content.update(batch)
            if batch.image_emb is not None and batch.text_emb is not None:
                writer.append(batch.image_emb, batch.text_emb)
            rows += batch.pairs.num_rows
    known = record.get("content") if record else None  # audits of older versions do not know it
    if rows != entry["rows"] or known not in (None, content.hexdigest()):
        shards.clear()
        raise AuditError(f"{source.files()[0]}: {OTHER_EMBEDDINGS}; {ANEW}")
    if not record:  # it was damaged
        record = ready_record(entry["fingerprint"], writer, rows, content)
        with database.writing() as connection:
            queries.set_meta(connection, EMBEDDING, record)
    shards.write_plan(record)


def ready_record(fingerprint: str, writer: ShardWriter, rows: int, content: EmbeddingsHash) -> EmbeddingEntry:
    """Return what an audit keeps of embeddings that came with its source, as ``writer`` wrote them."""
    return {
        "encoder": READY_ENCODER,
        "sha256": f"{READY_ENCODER}:{fingerprint}",
        "width": writer.width,
        "shard_size": writer.shard_size,
        "rows": rows,
        "content": content.hexdigest(),
    }


def _opened(source: str | Path, options: SourceOptions, entry: SourceEntry) -> Source:
    """Open the source; for an audit of an older version, only what that version read of it."""
    if "reader" in entry or entry["format"] not in FORMATS:
        return open_source(source, options)
    opened = open_source(source, replace(options, format=entry["format"]))
    files = {str(path.absolute()): path for path in opened.paths}
    if all(file in files for file in entry["files"]):
        return type(opened)([files[file] for file in entry["files"]], options)
    return opened
