"""What CSV, Parquet and metadata tables share: which column means what, and their rows as ``Rows``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import SourceError
from cfbd_core.pictures.image_files import IMAGE_COLUMNS
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Source, SourceOptions
from cfbd_core.sources.cells import is_list
from cfbd_core.sources.paths import ImageColumn, ImagePaths
from cfbd_core.sources.rows import Rows
from cfbd_core.sources.unread import Unread


@dataclass
class Layout:
    """The columns of one table by their meaning; ``caption`` may hold lists."""

    caption: str
    image: str | None
    key: str | None
    facts: dict[str, str]  # label, poisoned, attack, target, origin_key, origin_caption -> column

    def columns(self) -> list[str]:
        """Return the columns to read, each once."""
        every = [self.key, self.caption, self.image, *self.facts.values()]
        return list(dict.fromkeys(column for column in every if column is not None))

    def list_caption(self, schema: pa.Schema) -> bool:
        """Say whether the caption column holds lists."""
        return is_list(schema.field(self.caption).type)


class TableName(NamedTuple):
    """A table's path, for errors, and what a report calls it."""

    path: str
    told: str


def layout(
    names: Sequence[str],
    options: SourceOptions,
    table: TableName,
    unread: Unread,
    image_needed: bool = True,
    cells: str | None = None,
) -> Layout:
    """Choose the columns; those that could have been chosen instead are counted in ``unread``.

    ``cells`` is the column of the pictures themselves, if there is one. Raises SourceError naming the columns.
    """
    where, name = table
    caption = usual.choose(names, options.caption_col, usual.CAPTION, "--caption-col", where)
    if options.caption_col is None and (options.captions == "all" or caption is None):
        caption = usual.guess(names, usual.CAPTIONS) or caption
    if caption is None:
        raise usual.no_caption(names, where)
    image = usual.choose(names, options.image_col, usual.IMAGE, "--image-col", where)
    if image is None and image_needed and cells is None:
        raise usual.no_image(names, where)
    label = usual.choose(names, options.label_col, usual.LABEL, "--label-col", where)
    columns_of_facts = {"label": label, "poisoned": usual.guess(names, usual.POISONED)}
    columns_of_facts |= {
        fact: usual.guess(names, (fact,)) for fact in ("attack", "target", "origin_key", "origin_caption")
    }
    facts = {fact: column for fact, column in columns_of_facts.items() if column is not None}
    chosen = Layout(caption, image if cells is None else None, usual.guess(names, usual.KEY), facts)
    for column in chosen.columns():
        if list(names).count(column) > 1:
            raise SourceError(f"{where} has several columns named {column!r}; rename all but one.")
    unread.columns("caption", caption, usual.others(names, usual.CAPTION + usual.CAPTIONS, caption), name)
    image = cells or image
    unread.columns("image", image, usual.others(names, usual.IMAGE + IMAGE_COLUMNS, image), name)
    return chosen


def image_paths(source: Source, file: Path, column: str) -> ImagePaths:
    """Return what turns the image column of a table into paths of pictures."""
    return ImagePaths(
        image_root(source.options, file),
        ImageColumn(column, str(file)),
        is_named=source.options.image_root is not None,
        shown=source.shown,
        note=source.unread.note,
    )


def image_root(options: SourceOptions, file: Path) -> Path:
    """Return the folder that relative image paths of a table start from."""
    return file.absolute().parent if options.image_root is None else Path(options.image_root)


def check_types(
    schema: pa.Schema, columns: Layout, options: SourceOptions, where: str, unread: Unread
) -> None:
    """Raise SourceError if a column cannot hold what it is taken for; a fact that was only guessed is not read then."""
    for name, option in ((columns.caption, "--caption-col"), (columns.image, "--image-col")):
        if name is not None and not _fits(schema.field(name).type, lists=name == columns.caption):
            kind = schema.field(name).type
            raise SourceError(f"{where}: column {name!r} holds {kind}, not text. Name another with {option}.")
    if columns.key is not None and not _fits(schema.field(columns.key).type):
        unread.note(_no_text(schema, columns.key, where))
        columns.key = None
    for fact, name in list(columns.facts.items()):
        if not _fits(schema.field(name).type):
            fault = _no_text(schema, name, where)
            if fact == "poisoned" or (fact == "label" and options.label_col is not None):
                raise SourceError(f"{fault}; drop or rename it.")
            unread.note(fault)
            del columns.facts[fact]


def _no_text(schema: pa.Schema, name: str, where: str) -> str:
    return f"{where}: column {name!r} holds {schema.field(name).type}, not text, and is not read as such"


def arrow_rows(batch: pa.RecordBatch, columns: Layout, file: str, shard: str, first: int, start: int) -> Rows:
    """Return a batch of an Arrow table as ``Rows``, still without pictures.

    ``first`` is the batch's first row over all files, ``start`` in its own.
    """
    count = batch.num_rows
    if columns.key is None:
        numbers = pa.array(np.arange(first, first + count)).cast(pa.string())
        key = pc.utf8_lpad(numbers, width=9, padding="0")
    else:
        key = batch.column(columns.key)
    return Rows(
        key=key,
        caption=batch.column(columns.caption),
        image=pa.nulls(count, pa.string()),
        where=lambda row: f"{file} row {start + row}",
        facts={fact: batch.column(name) for fact, name in columns.facts.items()},
        shard=shard,
    )


def refused_rows(count: int, file: str, start: int) -> Rows:
    """Return rows, from row ``start`` of a file on, whose captions are too long to be read at all."""
    nothing = pa.nulls(count, pa.string())
    why = ("caption too long", "the row group holds over half a gigabyte of text; write it in smaller ones")
    faults = dict.fromkeys(range(count), why)
    return Rows(nothing, nothing, nothing, lambda row: f"{file} row {start + row}", faults=faults)


def _fits(kind: pa.DataType, lists: bool = False) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if lists:
        return _text(kind) or (is_list(kind) and _text(kind.value_type))
    return _text(kind) or bool(pa.types.is_primitive(kind)) or bool(pa.types.is_decimal(kind))


def _text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests + binary)
