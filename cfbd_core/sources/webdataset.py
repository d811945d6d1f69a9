"""WebDataset and img2dataset tars: ``key.jpg``, ``key.txt`` and ``key.json`` side by side.

Pictures stay in the tar: a pair carries the place of its picture's bytes, so that any of them can be
read later without a scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from cfbd_core.errors import SourceError
from cfbd_core.machine.tars import escaped_key
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.sources.base import Batch, Skip, Source, only_skips
from cfbd_core.sources.endings import IMAGES
from cfbd_core.sources.records import MAX_TEXT_BYTES, Record, RecordReader, record_batches
from cfbd_core.sources.tar_records import TEXTS, Group, TarRecords
from cfbd_core.sources.tree import Place

GUNZIP = "its pictures cannot be read in place: gunzip it first"


class WebDatasetSource(Source):
    """Shards of records; ``--image-col`` names an extension, the other columns name JSON fields."""

    name = "webdataset"
    looks_for = "*.tar"

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the tars at ``place``."""
        return place.files(lambda name: name.lower().endswith((".tar", ".tar.gz", ".tgz")))

    def read(self) -> Iterator[Batch]:
        """Yield the pairs shard by shard; a shard that was cut gives its whole records and one skip."""
        packed = [path for path in self.paths if _is_gzip(path)]
        if len(packed) == len(self.paths):
            raise SourceError(f"{packed[0]} is compressed, {GUNZIP}.")
        if packed:
            yield only_skips([Skip(None, self.names[path], "compressed tar", GUNZIP) for path in packed])
        reader = RecordReader(self.options, self.unread)
        for path in self.paths:
            if path not in packed:
                yield from self._shard(path, reader)

    def _shard(self, path: Path, reader: RecordReader) -> Iterator[Batch]:
        with path.open("rb") as file:
            groups = TarRecords(file, self.names[path], self._wanted(), self.unread)
            records = (self._record(group, file, path, reader) for group in groups)
            yield from record_batches(records, self.options.captions, self.unread, self.shard(path))
        reader.check_named(str(path))
        if groups.trouble:
            yield only_skips(groups.trouble)

    def _wanted(self) -> Sequence[str]:
        return (self.options.image_col.lstrip(".").lower(),) if self.options.image_col else IMAGES

    def _record(self, group: Group, file: IO[bytes], path: Path, reader: RecordReader) -> Record:
        shard = self.names[path]
        if group.image is None:
            return Record(group.key, f"{shard} record {group.key}", fault=("missing image", ""))
        image = group.image
        place = PicturePlace(str(path), image.offset, image.size)
        record = Record(group.key, f"{shard} member {image.name}", place)
        if image.size == 0:
            record.fault = ("empty image", f"{image.name} has 0 bytes")
        texts: dict[str, bytes] = {}
        for ending in TEXTS:
            if ending in group.members:
                text = group.members[ending]
                if text.size > MAX_TEXT_BYTES:
                    record.fault = record.fault or ("text too long", f"{text.name} has {text.size} bytes")
                else:
                    file.seek(text.offset)
                    texts[ending] = file.read(text.size)
        if "cls" in texts:
            record.facts["label"] = texts["cls"].decode("utf-8", "replace").strip()
        if "txt" in texts and "caption" in texts:
            self.unread.add("further text of a record", f"{shard} member {group.members['caption'].name}")
        reader.describe(record, texts.get("txt", texts.get("caption")), texts.get("json"), escaped_key)
        return record


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
