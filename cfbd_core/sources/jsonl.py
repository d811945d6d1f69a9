"""JSON Lines: one object a line with a picture's path and a caption, as ``metadata.jsonl`` of an image folder."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from cfbd_core.errors import SourceError
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Batch, Source
from cfbd_core.sources.cells import is_unicode
from cfbd_core.sources.paths import ImagePaths
from cfbd_core.sources.records import MAX_TEXT_BYTES, Record, RecordReader, as_fact, record_batches
from cfbd_core.sources.tables import TableName, image_paths, layout
from cfbd_core.sources.tree import Place

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz")


class JsonLinesSource(Source):
    """Objects with ``file_name`` and ``text``, or other usual names; options name their fields."""

    name = "jsonl"
    looks_for = "*.jsonl"

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the files at ``place``."""
        return place.files(lambda name: name.lower().endswith(SUFFIXES))

    def read(self) -> Iterator[Batch]:
        """Yield the pairs of all files; without a key field the n-th line of all has the key n."""
        first = 0

        def read_file(path: Path) -> Iterator[Batch]:
            nonlocal first
            reader = _File(self, path, first)
            yield from record_batches(reader.records(), self.options.captions, self.unread, self.shard(path))
            reader.fields.check_named(str(path))
            first += reader.count

        yield from self.each_table(read_file)


class _File:
    """One file; ``first`` is its first line over all files, ``count`` how many were read, blank ones left out."""

    def __init__(self, source: JsonLinesSource, path: Path, first: int) -> None:
        self.count = 0
        self.fields = RecordReader(source.options, source.unread)
        self._source, self._path, self._first = source, path, first
        self._name = source.names[path]
        self._paths: ImagePaths | None = None

    def records(self) -> Iterator[Record]:
        with _open(self._path) as file:
            number = 0
            while line := self._line(file, number := number + 1):
                if isinstance(line, Record):
                    yield line
                    return
                if line.strip():
                    yield self._record(line, f"{self._name} line {number}")
                    self.count += 1

    def _line(self, file: IO[bytes], number: int) -> bytes | Record:
        """Return the next line, at most a little more than may be read; or what is wrong with the rest of the file."""
        try:
            line = file.readline(MAX_TEXT_BYTES + 1)
            rest = line
            while len(rest) > MAX_TEXT_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(MAX_TEXT_BYTES + 1)
            return line
        except EOFError:
            detail = "the compressed file ends too early; what comes after this line is missing"
            return Record("", f"{self._name} line {number}", fault=("truncated file", detail))
        except (OSError, zlib.error) as error:
            raise SourceError(f"{self._path} line {number}: the file is damaged ({error}).") from None

    def _record(self, line: bytes, where: str) -> Record:
        record = Record(f"{self._first + self.count:09d}", where)
        if len(line) > MAX_TEXT_BYTES:
            record.fault = ("text too long", f"the line has more than {MAX_TEXT_BYTES} bytes")
            return record
        try:
            values = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            record.fault = ("not UTF-8", "convert the file with iconv")
            return record
        except (ValueError, RecursionError) as error:
            record.fault = ("unreadable json", str(error))
            return record
        if not isinstance(values, dict) or not values:
            record.fault = ("unreadable json", "a JSON object with a picture and a caption is needed")
            return record
        self._fill(record, values)
        return record

    def _fill(self, record: Record, values: dict[str, Any]) -> None:
        names = list(values)
        key = usual.guess(names, usual.KEY)
        if key is not None:
            record.key = as_fact(values[key]) or ""
        column = self._source.options.image_col or usual.guess(names, usual.IMAGE)
        name = values.get(column or "")
        if self._paths is None:
            self._paths = self._begin(values, name)
        if isinstance(name, str) and is_unicode(name):
            file, record.fault = self._paths.find(name)
            record.place = PicturePlace(file or "")
        else:
            record.fault = (
                "missing image",
                f"no text in the field {column!r}" if column else "no field names one",
            )
        self.fields.fill(record, values)

    def _begin(self, values: dict[str, Any], name: object) -> ImagePaths:
        """See by the first object what the file holds. Raises NotPairs."""
        options = self._source.options
        named = [name for name in (options.image_col, options.caption_col, options.label_col) if name]
        fields = list(dict.fromkeys([*values, *named]))  # later objects may have those that are named
        columns = layout(fields, options, TableName(str(self._path), self._name), self._source.unread)
        paths = image_paths(self._source, self._path, columns.image or "")
        if isinstance(name, str) and is_unicode(name):
            paths.resolve(pa.array([name]))
        return paths


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")
