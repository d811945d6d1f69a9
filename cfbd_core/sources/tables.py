"""What CSV, Parquet and metadata tables share: which column means what, and their rows as ``Rows``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import SourceError
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import SourceOptions
from cfbd_core.sources.cells import is_list
from cfbd_core.sources.rows import Rows


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


def layout(names: Sequence[str], options: SourceOptions, where: str, image_needed: bool = True) -> Layout:
    """Choose the columns. Raises SourceError naming the columns there are."""
    caption = usual.choose(names, options.caption_col, usual.CAPTION, "--caption-col", where)
    if options.caption_col is None and (options.captions == "all" or caption is None):
        caption = usual.guess(names, usual.CAPTIONS) or caption
    if caption is None:
        raise usual.no_caption(names, where)
    image = usual.choose(names, options.image_col, usual.IMAGE, "--image-col", where)
    if image is None and image_needed:
        raise usual.no_image(names, where)
    label = usual.choose(names, options.label_col, usual.LABEL, "--label-col", where)
    found = {"label": label, "poisoned": usual.guess(names, usual.POISONED)}
    found |= {
        name: usual.guess(names, (name,)) for name in ("attack", "target", "origin_key", "origin_caption")
    }
    facts = {name: column for name, column in found.items() if column is not None}
    chosen = Layout(caption, image, usual.guess(names, usual.KEY), facts)
    for column in chosen.columns():
        if list(names).count(column) > 1:
            raise SourceError(f"{where} has several columns named {column!r}; rename all but one.")
    return chosen


def image_root(options: SourceOptions, file: Path) -> Path:
    """Return the folder that relative image paths of a table start from."""
    return file.absolute().parent if options.image_root is None else Path(options.image_root)


def check_types(schema: pa.Schema, columns: Layout, where: str) -> None:
    """Raise SourceError if a column cannot hold what it is taken for."""
    wrong = [
        (name, option)
        for name, option in (
            (columns.caption, " Name another with --caption-col."),
            (columns.image, " Name another with --image-col."),
            (columns.key, ""),
            *((name, "") for name in columns.facts.values()),
        )
        if name is not None and not _fits(schema.field(name).type, lists=name == columns.caption)
    ]
    for name, advice in wrong:
        raise SourceError(f"{where}: column {name!r} holds {schema.field(name).type}, not text.{advice}")


def arrow_rows(batch: pa.RecordBatch, columns: Layout, file: str, first: int, start: int) -> Rows:
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
    )


def _fits(kind: pa.DataType, lists: bool) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if lists:
        return _text(kind) or (is_list(kind) and _text(kind.value_type))
    return _text(kind) or bool(pa.types.is_primitive(kind)) or bool(pa.types.is_decimal(kind))


def _text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests + binary)
