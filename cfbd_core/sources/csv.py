"""CSV and TSV tables of image paths and captions (RFC 4180, a header line, UTF-8 or UTF-16), also gzipped."""

from __future__ import annotations

import ast
import json
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from cfbd_core.errors import SourceError
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Batch, Source, files_with, only_skips
from cfbd_core.sources.cells import is_unicode, text_column
from cfbd_core.sources.csv_records import Block, Records, open_text
from cfbd_core.sources.paths import ImagePaths
from cfbd_core.sources.rows import Faults, Rows, to_batches
from cfbd_core.sources.tables import Layout, image_root, layout

SUFFIXES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz")
ICONV = "convert the file with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW`"


class CsvSource(Source):
    """Tables of ``image,caption``, open_clip's ``filepath<TAB>title`` among them."""

    name = "csv"
    looks_for = "*.csv, *.tsv, also .gz"

    @classmethod
    def find(cls, path: Path) -> list[Path]:
        """Return the tables at ``path``."""
        return files_with(path, SUFFIXES)

    def batches(self) -> Iterator[Batch]:
        """Yield the pairs of all files; without a key column the n-th record of all has the key n."""
        first = 0
        for path in self.paths:
            first += yield from self._read(path, first)

    def _read(self, path: Path, first: int) -> Generator[Batch, None, int]:
        """Yield the pairs of one file and return its number of records."""
        named = [name for name in (self.options.image_col, self.options.caption_col) if name]
        with open_text(path) as text:
            records = Records(text, path, named)
            columns = layout(records.header, self.options, str(path))
            paths = ImagePaths(image_root(self.options, path), columns.image or "", str(path))
            undecoded = 0
            for block in records.blocks():
                if block.skips:
                    yield only_skips(block.skips)
                rows = _rows(block, records.header, columns, paths, first, path.name)
                undecoded += sum(reason == "not UTF-8" for reason, _ in rows.faults.values())
                yield from to_batches(rows, self.options.captions)
            if undecoded * 2 > records.count:
                raise SourceError(
                    f"{path}: {undecoded} of {records.count} rows are not UTF-8; {ICONV} and use that."
                )
            return records.count


def _rows(block: Block, header: list[str], columns: Layout, paths: ImagePaths, first: int, file: str) -> Rows:
    faults: Faults = {}

    def column(name: str) -> pa.Array:
        index = header.index(name)
        values, undecoded = text_column([row[index] for row in block.rows])
        for row in np.flatnonzero(undecoded):
            faults.setdefault(int(row), ("not UTF-8", f"column {name!r}; {ICONV}"))
        return values

    caption = column(columns.caption)
    if columns.caption.strip().lower() in usual.CAPTIONS:
        caption = _lists(caption, faults)
    key = column(columns.key) if columns.key else pa.array([f"{first + n:09d}" for n in block.numbers])
    facts = {fact: column(name) for fact, name in columns.facts.items()}
    assert columns.image is not None  # `layout` refuses a CSV without
    image, missing = paths.resolve(column(columns.image))
    for row, why in missing.items():
        faults.setdefault(row, why)
    lines = block.lines
    return Rows(key, caption, image, lambda row: f"{file} line {lines[row]}", facts=facts, faults=faults)


def _lists(column: pa.Array, faults: Faults) -> pa.Array:
    """Read cells that hold a list of captions, as JSON or as Python writes it."""
    lists = [_list(cell) if cell else [] for cell in column.to_pylist()]
    for row, captions in enumerate(lists):
        if captions is None:
            faults.setdefault(row, ("unreadable captions list", 'write a JSON list: ["one", "two"]'))
    return pa.array([captions or [] for captions in lists], pa.list_(pa.string()))


def _list(cell: str) -> list[str] | None:
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(text, str) and is_unicode(text) for text in value):
            return value
    return None
