"""CSV and TSV tables of image paths and captions (RFC 4180, a header line, UTF-8 or UTF-16), also gzipped."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import SourceError
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Batch, Source, only_skips
from cfbd_core.sources.cells import is_unicode, text_column
from cfbd_core.sources.csv_lines import open_text
from cfbd_core.sources.csv_records import Block, Records
from cfbd_core.sources.endings import CAPTION_LISTS, IMAGES, ending
from cfbd_core.sources.rows import Faults, Rows, to_batches
from cfbd_core.sources.tables import TableName, image_paths, layout
from cfbd_core.sources.tree import Place

SUFFIXES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", *CAPTION_LISTS)
ICONV = "convert the file with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW`"
SPACE = re.compile(r"\s")
WITHOUT_COMMA = re.compile(r"""['"]\s+['"]""")  # in a list: Python joins such texts


class CsvSource(Source):
    """Tables of ``image,caption``: open_clip's ``filepath<TAB>title`` and Flickr8k's ``captions.txt`` among them."""

    name = "csv"
    looks_for = "*.csv, *.tsv, captions.txt, also .gz"

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the tables at ``place``."""
        if not place.is_folder and place.path.suffix.lower() == ".txt" and _is_table(place.path):
            return [place.path]
        return place.files(lambda name: name.lower().endswith(SUFFIXES))

    def read(self) -> Iterator[Batch]:
        """Yield the pairs of all files; without a key column the n-th record of all has the key n."""
        first = 0

        def read_file(path: Path) -> Iterator[Batch]:
            nonlocal first
            with open_text(path) as text:
                named = [name for name in (self.options.image_col, self.options.caption_col) if name]
                records = Records(text, path, named, self.names[path])
                table = _Table(self, records, path, first)
                yield from table.batches()
                first += records.count

        yield from self.each_table(read_file)


class _Table:
    """One file; ``first`` is its first record over all files."""

    def __init__(self, source: CsvSource, records: Records, path: Path, first: int) -> None:
        self._source, self._records, self._path, self._first = source, records, path, first
        self._header, self._file = records.header, source.names[path]
        self._columns = layout(
            records.header, source.options, TableName(str(path), self._file), source.unread
        )
        self._image = self._columns.image or ""  # `layout` refuses a CSV without
        self._paths = image_paths(source, path, self._image)
        self._has_lists: bool | None = None  # known once rows were read
        records.watch(self._header.index(self._image), self._is_picture)

    def batches(self) -> Iterator[Batch]:
        undecoded = 0
        for block in self._records.blocks():
            if block.skips:
                yield only_skips(block.skips)
            rows = self._rows(block)
            undecoded += sum(reason == "not UTF-8" for reason, _ in rows.faults.values())
            yield from to_batches(rows, self._source.options.captions, self._source.unread)
        if undecoded * 2 > self._records.count:
            raise SourceError(
                f"{self._path}: {undecoded} of {self._records.count} rows are not UTF-8; {ICONV} and use that."
            )

    def _rows(self, block: Block) -> Rows:
        faults: Faults = {}
        caption = self._captions(self._column(block, self._columns.caption, faults), faults)
        key = self._column(block, self._columns.key, faults) if self._columns.key else self._numbers(block)
        facts = {fact: self._column(block, name, faults) for fact, name in self._columns.facts.items()}
        image, missing = self._paths.resolve(self._images(block, faults))
        for row, why in missing.items():
            faults.setdefault(row, why)
        where = lambda row: f"{self._file} line {block.lines[row]}"  # noqa: E731
        return Rows(
            key, caption, image, where, facts=facts, faults=faults, shard=self._source.shard(self._path)
        )

    def _column(self, block: Block, name: str, faults: Faults) -> pa.Array:
        index = self._header.index(name)
        values, undecoded = text_column([row[index] for row in block.rows])
        for row in np.flatnonzero(undecoded):
            faults.setdefault(int(row), ("not UTF-8", f"column {name!r}; {ICONV}"))
        return values

    def _images(self, block: Block, faults: Faults) -> pa.Array:
        column = self._column(block, self._image, faults)
        return pc.replace_substring_regex(column, r"#\d+$", "") if self._records.has_tokens else column

    def _numbers(self, block: Block) -> pa.Array:
        keys = [f"{self._first + number:09d}" for number in block.numbers]
        for row, part in block.parts.items():
            keys[row] += f"~{part}"
        return pa.array(keys, pa.string())

    def _captions(self, column: pa.Array, faults: Faults) -> pa.Array:
        """Return captions, or lists of them where the column is called so or most of its first cells are lists."""
        is_named = self._columns.caption.strip().lower() in usual.CAPTIONS
        if self._has_lists is None:
            cells = [cell for cell in column.to_pylist() if cell and cell.strip()]
            self._has_lists = is_named or 2 * sum(map(bool, map(_list, cells))) > len(cells)
        if not self._has_lists:
            return column
        lists: list[list[str]] = []
        for row, cell in enumerate(column.to_pylist()):
            is_list = bool(cell) and cell.lstrip().startswith("[")
            captions = _list(cell) if is_list else [cell] if cell else []
            if captions is None:
                faults.setdefault(row, ("unreadable captions list", 'write a JSON list: ["one", "two"]'))
            lists.append(captions or [])
        return pa.array(lists, pa.list_(pa.string()))

    def _is_picture(self, cell: str, own: str) -> bool | None:
        """Say whether the picture that a cell names is there; None if it looks like no picture's name.

        ``own`` is another image cell of the table: names may have spaces, or no ending, where it has.
        """
        if os.path.isfile(os.path.join(self._paths.root, cell.replace("\0", ""))):
            return True
        if ending(cell) in IMAGES and (SPACE.search(own) or not SPACE.search(cell)):
            return False
        return False if ending(own) not in IMAGES and _shape(cell) == _shape(own) else None


def _shape(cell: str) -> str:
    """Return how a name is made up, whatever its letters and numbers are."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", cell.strip()))


def _is_table(path: Path) -> bool:
    """Say whether a text file begins as a table of pictures and captions does."""
    try:
        with open_text(path) as text:
            header = Records(text, path, []).header
    except SourceError:
        return False
    return usual.guess(header, usual.IMAGE) is not None and usual.guess(header, usual.CAPTION) is not None


def _list(cell: str) -> list[str] | None:
    """Read a list of texts, as JSON or as Python writes it."""
    if not cell.lstrip().startswith("["):
        return None
    for read in (json.loads, ast.literal_eval):
        if read is ast.literal_eval and WITHOUT_COMMA.search(cell):
            continue
        try:
            value = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(text, str) and is_unicode(text) for text in value):
            return value
    return None
