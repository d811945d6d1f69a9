"""WebDataset and img2dataset tars: ``key.jpg``, ``key.txt`` and ``key.json`` side by side.

Pictures stay in the tar: a pair carries the place of its picture's bytes, so that any of them can be
read later without a scan.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cfbd_core.errors import SourceError
from cfbd_core.sources.base import Batch, Skip, Source, files_with, only_skips
from cfbd_core.sources.records import MAX_TEXT_BYTES, Record, RecordReader, record_batches
from cfbd_core.tars import DamagedTar, escaped_key, tar_members

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "ico")
BLOCK = tarfile.BLOCKSIZE


@dataclass
class _Group:
    """The members that share a key and follow each other."""

    key: str
    members: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # extension -> name, offset, size


class WebDatasetSource(Source):
    """Shards of records; ``--image-col`` names an extension, the other columns name JSON fields."""

    name = "webdataset"
    looks_for = "*.tar"

    @classmethod
    def find(cls, path: Path) -> list[Path]:
        """Return the tars at ``path``."""
        return files_with(path, (".tar", ".tar.gz", ".tgz"))

    def batches(self) -> Iterator[Batch]:
        """Yield the pairs shard by shard; a shard that was cut gives its whole records and one skip."""
        reader = RecordReader(self.options)
        for path in self.paths:
            trouble: list[Skip] = []
            with path.open("rb") as file:
                records = (self._record(group, file, path, reader) for group in _groups(file, path, trouble))
                yield from record_batches(records, self.options.captions)
            reader.check_named(str(path))
            if trouble:
                yield only_skips(trouble)

    def _record(self, group: _Group, file: IO[bytes], path: Path, reader: RecordReader) -> Record:
        wanted = (self.options.image_col.lstrip(".").lower(),) if self.options.image_col else IMAGES
        image = next((group.members[ending] for ending in wanted if ending in group.members), None)
        if image is None:
            return Record(group.key, f"{path.name} record {group.key}", fault=("missing image", ""))
        name, offset, size = image
        record = Record(group.key, f"{path.name} member {name}", str(path), offset, size)
        if size == 0:
            record.fault = ("empty image", f"{name} has 0 bytes")
        texts: dict[str, bytes] = {}
        for ending in ("txt", "caption", "json", "cls"):
            if ending in group.members:
                name, offset, size = group.members[ending]
                if size > MAX_TEXT_BYTES:
                    record.fault = record.fault or ("text too long", f"{name} has {size} bytes")
                else:
                    file.seek(offset)
                    texts[ending] = file.read(size)
        if "cls" in texts:
            record.facts["label"] = texts["cls"].decode("utf-8", "replace").strip()
        reader.describe(record, texts.get("txt", texts.get("caption")), texts.get("json"), escaped_key)
        return record


def _groups(file: IO[bytes], path: Path, trouble: list[Skip]) -> Iterator[_Group]:
    """Yield the records of a tar; what is wrong with its end goes to ``trouble``."""
    group: _Group | None = None
    usual: set[str] = set()  # the extensions of the record before
    for member in _members(file, path, trouble):
        folder, slash, base = member.name.removeprefix("./").rpartition("/")
        stem, dot, ending = base.partition(".")
        if not member.isfile() or not stem or not dot:
            continue
        key, ending = folder + slash + stem, ending.lower()
        if group is None or key != group.key or ending in group.members:
            if group is not None:
                yield group
                usual = set(group.members)
            group = _Group(key)
        group.members[ending] = (member.name, member.offset_data, member.size)
    if group is not None:
        lost = sorted(usual - set(group.members)) if trouble else []
        if lost:
            detail = f"the record lacks its {', '.join(lost)}"
            trouble.append(Skip(group.key, f"{path.name} record {group.key}", "truncated tar", detail))
        else:
            yield group


def _members(file: IO[bytes], path: Path, trouble: list[Skip]) -> Iterator[tarfile.TarInfo]:
    """Yield the members whose bytes are all there, then say whether the tar ends as it should."""
    if file.read(2) == b"\x1f\x8b":
        raise SourceError(f"{path} is compressed, its pictures cannot be read in place: gunzip it first.")
    length = file.seek(0, 2)
    file.seek(0)
    end, broken, where = 0, False, f"{path.name} after its start"
    try:
        for member in tar_members(file):
            end = member.offset_data + -(-member.size // BLOCK) * BLOCK
            if member.offset_data + member.size > length:
                break
            where = f"{path.name} after {member.name}"
            yield member
    except DamagedTar as error:
        trouble.append(Skip(None, where, "damaged tar", str(error).removeprefix("damaged tar: ")))
        return
    except (tarfile.TarError, ValueError, EOFError):
        broken = True
    file.seek(min(end, length))
    rest = file.read(BLOCK)
    if end > length or len(rest) < BLOCK or (broken and end):
        detail = f"the file ends at byte {length}, without an end mark; download or copy it again"
        trouble.append(Skip(None, where, "truncated tar", detail))
    elif rest.strip(b"\0"):
        trouble.append(Skip(None, where, "damaged tar", f"no member begins at byte {end}"))
