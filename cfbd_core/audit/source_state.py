"""Is a source still what was ingested? First a look at its files' stamps; where they differ it is read and compared.

The audit holds every pair, with the place of its picture, in the order in which they were read. So there is nothing
to store for the comparison but the stamps, and audits of older versions are compared as well.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cfbd_core.audit.parts import EmbeddingsHash, read_parts
from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import AuditError, SourceError
from cfbd_core.machine.progress import Counter, Progress, no_progress
from cfbd_core.machine.stamps import NO_STAMP, Stamp, is_unchanged, stamp_of
from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.images import CHANGED, BadImage
from cfbd_core.pictures.picture import ANEW, MOVED, Picture, pictures_of
from cfbd_core.sources import FORMATS, Source, SourceOptions, fingerprint
from cfbd_core.sources.cells import is_unicode
from cfbd_core.sources.locate import check_file
from cfbd_core.store import Database, again, queries
from cfbd_core.store.entries import SourceEntry, SourceIdentity
from cfbd_core.store.meta import EMBEDDING, SOURCE, STAMPS

PICTURES_AT_A_TIME = 4096  # pictures
OTHER_EMBEDDINGS = "the embeddings in it, or beside it, changed since they were ingested"


@dataclass(frozen=True)
class SourceState:
    """The source of the audit in ``folder``, as it was ingested and as it is."""

    folder: Path
    database: Database

    def check(self) -> None:
        """Raise SourceError, which names the file, where the source holds other pairs than were ingested.

        One that was only touched is remembered as it is now. A source that is not there at all says nothing here: its
        pairs are in the audit, and whoever reads its pictures misses them.
        """
        entry = self.entry()
        now = stamps_of(entry["files"])
        if _are_gone(now) or self.is_unchanged(entry, now):
            return
        first = self._changed(entry, now)
        if stamp_of(first) == NO_STAMP:
            raise SourceError(f"{first}: changed since it was ingested (it is gone); {ANEW}, or {MOVED}")
        try:
            with self.read(reader_of(entry)) as content:
                difference = content.difference() or self.other_picture()
        except SourceError as error:
            raise SourceError(f"{first}: changed since it was ingested: {error}") from None
        if difference is not None:
            named = difference.file or first
            raise SourceError(f"{named}: changed since it was ingested ({difference.what}); {ANEW}")
        with suppress(AuditError), self.database.writing() as connection:  # of an audit that may only be read
            queries.set_meta(connection, STAMPS, now)

    def other_picture(self) -> Difference | None:
        """The first picture that is another one than was embedded; those whose file nobody has written to are not read.

        For a source that was touched: the same keys and captions may lie beside other pictures.
        """
        shards = EmbeddingFolder(self.folder / "embeddings")
        with self.database.reading() as connection:
            rows = queries.pair_rows(connection)
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(rows), PICTURES_AT_A_TIME):
                part = rows[start : start + PICTURES_AT_A_TIME]
                with self.database.reading() as connection:
                    pairs = queries.places_of(connection, part)
                inside = [self._in_folder(picture) for picture in pictures_of(shards, pairs)]
                stamps = shards.image_stamps(part).tolist()
                known = [
                    (key, picture)
                    for key, picture, stamp in zip(pairs["key"].to_pylist(), inside, stamps, strict=True)
                    if picture.digest
                    and not (picture.place.is_own_file and is_unchanged(picture.file, stamp))
                ]
                for (key, picture), is_other in zip(known, pool.map(_is_other, known), strict=True):
                    if is_other:
                        return Difference(f"key {key!r}: another picture", picture.file)
        return None

    def _in_folder(self, picture: Picture) -> Picture:
        """Return the picture by the path of its file; the audit names files in its own folder from there."""
        if not picture.file:
            return picture
        return picture._replace(place=picture.place._replace(file=str(self.folder / picture.file)))

    def is_gone(self) -> bool:
        """Return whether nothing of the source is where it was: it was moved, deleted, or its disk is not there."""
        return _are_gone(stamps_of(self.entry()["files"]))

    def is_unchanged(self, identity: SourceIdentity, now: list[Stamp]) -> bool:
        """Whether the files that ``identity`` names are those that were ingested, and nobody has written to them."""
        entry = self.entry()
        if self.has_moved(entry, identity):
            return False
        known = self._stamps()
        if known is None:  # an audit of an older version
            with suppress(SourceError, OSError):
                return bool(fingerprint(reader_of(entry)) == entry["fingerprint"])
            return False
        return [list(stamp) for stamp in now] == known

    @staticmethod
    def has_moved(entry: SourceEntry, identity: SourceIdentity) -> bool:
        """Return whether two entries of a source name other files, or another folder of pictures."""
        roots = (one["options"]["image_root"] for one in (entry, identity))
        return entry["files"] != identity["files"] or len(set(roots)) > 1

    @contextmanager
    def read(self, source: Source, progress: Progress = no_progress) -> Iterator[ReadAgain]:
        """Read a source, to be compared with the audit's pairs. Raises SourceError."""
        _clear_left(self.folder / "runs")
        parts = self.folder / "runs" / f"again.{os.getpid()}.{threading.get_ident()}"
        parts.mkdir(parents=True)
        rows, content, counter = 0, EmbeddingsHash(), Counter(progress, "ingest")
        try:
            for batch in read_parts(source, parts, self.folder):
                rows += batch.pairs.num_rows
                content.update(batch)
                counter.add(batch.pairs.num_rows)
            yield ReadAgain(self, self.entry(), parts, rows, content.hexdigest())
        finally:
            shutil.rmtree(parts, ignore_errors=True)

    def entry(self) -> SourceEntry:
        """Return the source as the audit holds it. Raises AuditError before the ingest."""
        with self.database.reading() as connection:
            entry = queries.get_meta(connection, SOURCE)
        if entry is None:
            raise AuditError(f"{self.folder}: not ready for this step; run `cfbd ingest` first")
        return entry

    def _stamps(self) -> Sequence[Sequence[int]] | None:
        """Return the stamps that the source's files had; None where they are not known: then the source is compared."""
        with self.database.reading() as connection:
            source = queries.needed_meta(connection, SOURCE)
            try:
                stamps = queries.get_meta(connection, STAMPS)
            except AuditError:  # damaged
                return None
        return stamps if stamps is not None and len(stamps) == len(source["files"]) else None

    def _changed(self, entry: SourceEntry, now: list[Stamp]) -> str:
        """Return the file to name where several changed: one that is gone, else the first whose stamp is another."""
        known = self._stamps() or [[]] * len(now)
        changed = [
            at for at, (stamp, before) in enumerate(zip(now, known, strict=True)) if list(stamp) != before
        ]
        gone = [at for at in changed if now[at] == NO_STAMP]
        return str(entry["files"][(gone or changed)[0]])


@dataclass(frozen=True)
class Difference:
    """What differs, in words, and the tar or table that it was found in, if it is one of these."""

    what: str
    file: str | None = None


@dataclass(frozen=True)
class ReadAgain:
    """A source that was read again: ``rows`` pairs in ``parts``, to be compared with those of ``held``."""

    state: SourceState
    entry: SourceEntry
    parts: Path
    rows: int
    content: str

    @property
    def is_by_row(self) -> bool:
        """Whether the audit was made by a version that read what this one reads, and in this order."""
        return "reader" in self.entry

    def difference(self) -> Difference | None:
        """Return how it differs from what the audit holds; None where it is the same."""
        if not self.rows:
            return Difference("it holds no pairs")
        with self.state.database.reading() as connection:
            difference = again.first_difference(connection, self.parts, self.is_by_row)
            embedding = queries.get_meta(connection, EMBEDDING)
        if difference is not None:
            file = None if difference.container is None else str(self.state.folder / difference.container)
            return Difference(f"pair {difference.row}, key {difference.key!r}: {difference.what}", file)
        if self.is_by_row and self.rows != self.entry["rows"]:
            return Difference(f"it holds {self.rows:,} pairs, not {self.entry['rows']:,}")
        if embedding is not None and embedding.get("content") not in (None, self.content):
            return Difference(OTHER_EMBEDDINGS)
        return None


def _is_other(one: tuple[str, Picture]) -> bool:
    try:
        one[1].read()
    except BadImage as bad:  # one that cannot be read is reported by whoever needs it
        return bad.reason == CHANGED
    return False


def stamps_of(files: list[str]) -> list[Stamp]:
    """Return the stamps of a source's files."""
    return [stamp_of(file) for file in files]


def _are_gone(stamps: list[Stamp]) -> bool:
    return all(stamp == NO_STAMP for stamp in stamps)


def _clear_left(runs: Path) -> None:
    """Delete what processes that are gone had read."""
    for left in runs.glob("again.*.*"):
        process = left.name.split(".")[1]
        if not process.isdigit() or not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)


def identity_of(source: str | Path, opened: Source, options: SourceOptions) -> SourceIdentity:
    """Return what the audit keeps of its source: how to find and to read it again."""
    identity: SourceIdentity = {
        "source": str(source),
        "files": _named(opened.files()),
        "format": opened.name,
        "fingerprint": fingerprint(opened),
        "options": options.to_dict(),
    }
    if opened.paths != opened.files():
        identity["paths"] = _named(opened.paths)
    return identity


def _named(files: list[Path]) -> list[str]:
    """Absolute paths; those that are not UTF-8 gave no pair, and JSON cannot hold them."""
    return [name for name in (str(file.absolute()) for file in files) if is_unicode(name)]


def reader_of(entry: SourceEntry) -> Source:
    """Return the reader of a source as the audit holds it. Raises SourceError."""
    if entry["format"] not in FORMATS:
        raise SourceError(f"{entry['source']}: this version has no reader of {entry['format']!r}")
    paths = entry.get("paths") or ([entry["source"]] if entry["format"] == "folder" else entry["files"])
    for path in {*paths, *entry["files"]}:  # an audit may come from a stranger: never a pipe or a device
        if os.path.exists(path):
            check_file(Path(path))
    return FORMATS[entry["format"]]([Path(path) for path in paths], SourceOptions(**entry["options"]))
