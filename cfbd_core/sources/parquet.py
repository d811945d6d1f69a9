"""Parquet tables: image paths, or pictures inside (img2dataset, Hugging Face), or ready embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cfbd_core.errors import SourceError
from cfbd_core.pictures.image_files import bytes_column, holds_bytes, parquet_code
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Batch, Embeddings, Source, SourceOptions
from cfbd_core.sources.cells import Mask, as_mask, as_text
from cfbd_core.sources.columns import NotPairs
from cfbd_core.sources.parquet_bounds import BATCH_BYTES, text_batches
from cfbd_core.sources.paths import BelievedPaths
from cfbd_core.sources.rows import Rows, to_batches, without_long
from cfbd_core.sources.tables import (
    TableName,
    arrow_rows,
    check_types,
    image_paths,
    image_root,
    layout,
    refused_rows,
)
from cfbd_core.sources.tree import Place
from cfbd_core.sources.vectors import different_widths, embedding_matrix, is_embedding
from cfbd_core.wording import in_one_line

BYTES_BATCH_ROWS = 256  # pictures are large


class ParquetSource(Source):
    """Parquet files. Pictures inside are not read here; a pair carries their place."""

    name = "parquet"
    looks_for = "*.parquet"

    def __init__(self, paths: list[Path], options: SourceOptions, *parts: Any) -> None:
        super().__init__(paths, options, *parts)
        self.has_embeddings = self._first_has_vectors()

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the tables at ``place``."""
        return place.files(lambda name: name.lower().endswith((".parquet", ".pq")))

    def read(self) -> Iterator[Batch]:
        """Yield the pairs of all files; without a key column the n-th row of all has the key n."""
        first = 0
        widths: dict[int, tuple[str, int]] = {}

        def read_file(path: Path) -> Iterator[Batch]:
            nonlocal first
            table = _Table(self, path)
            if bool(table.vectors) != self.has_embeddings:
                raise SourceError(f"{self.paths[0]} and {path}: only one of them has embedding columns.")
            try:
                for rows in table.rows(first, widths):
                    yield from to_batches(rows, self.options.captions, self.unread)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{path} is damaged ({in_one_line(error, 200)}).") from None
            first += table.count

        yield from self.each_table(read_file)

    def _first_has_vectors(self) -> bool:
        """Say whether the first table of pairs holds ready embeddings; all have to be like it."""
        for path in self.paths:
            try:
                return bool(_Table(self, path).vectors)
            except NotPairs:
                continue
        return False


class _Table:
    """One file, and which of its columns are read for what."""

    def __init__(self, source: ParquetSource, path: Path) -> None:
        options, unread = source.options, source.unread
        self.path, self.name, self.shard = path, source.names[path], source.shard(path)
        self.file = open_parquet(path)
        self.count: int = self.file.metadata.num_rows
        schema = self.file.schema_arrow
        self.vectors = _embedding_columns(schema)
        named = options.image_col
        self.cells = bytes_column(schema) if named is None else named
        if self.cells not in schema.names or not holds_bytes(schema.field(self.cells).type):
            self.cells = None
        self.layout = layout(
            schema.names, options, TableName(str(path), self.name), unread, not self.vectors, self.cells
        )
        check_types(schema, self.layout, options, str(path), unread)
        if self.layout.list_caption(schema) and self.vectors and options.captions == "all":
            raise SourceError(f"{path}: a ready text embedding belongs to one caption; use --captions first.")
        self.code = parquet_code(schema, self.cells) if self.cells else 0
        self.believed = BelievedPaths(image_root(options, path), named=options.image_root is not None)
        self.paths = image_paths(source, path, self.layout.image or "")
        kind = schema.field(self.cells).type if self.cells else None
        self.inner_path = kind is not None and pa.types.is_struct(kind) and kind.get_field_index("path") >= 0

    def rows(self, first: int, widths: dict[int, tuple[str, int]]) -> Iterator[Rows]:
        """Yield the file's rows; ``first`` is its first row over all files."""
        texts = self.layout.columns()
        columns = [*texts, *self.vectors]
        if self.inner_path:
            columns.append(f"{self.cells}.path")
        present = self._present() if self.cells else np.zeros(0, np.bool_)
        start = 0
        for batch in text_batches(self.file, self.path, texts, columns):
            if isinstance(batch, int):
                yield refused_rows(batch, self.name, start)
                start += batch
                continue
            rows = arrow_rows(batch, self.layout, self.name, self.shard, first + start, start)
            vectors = [self._vectors(rows, batch, i, start, widths) for i in range(len(self.vectors))]
            if vectors:
                rows.image_emb, rows.text_emb = vectors
            if self.cells is not None:
                self._cells(rows, batch, present[start : start + batch.num_rows], start)
            elif self.layout.image is not None:
                self._files(rows, batch.column(self.layout.image))
            yield rows
            start += batch.num_rows

    def _vectors(
        self, rows: Rows, batch: pa.RecordBatch, i: int, start: int, widths: dict[int, tuple[str, int]]
    ) -> Embeddings:
        where = f"{self.path} column {self.vectors[i]!r}"
        matrix, missing = embedding_matrix(batch.column(self.vectors[i]), where, start)
        for row in np.flatnonzero(missing):
            rows.faults.setdefault(int(row), ("missing embedding", f"column {self.vectors[i]!r}"))
        if not missing.all():
            first, width = widths.setdefault(i, (where, matrix.shape[1]))
            if width != matrix.shape[1]:
                raise different_widths(where, matrix.shape[1], first, width)
        return matrix

    def _cells(self, rows: Rows, batch: pa.RecordBatch, present: Mask, start: int) -> None:
        """Point to the pictures inside; a row without one may still name a file."""
        count = batch.num_rows
        inside = pa.array(present)
        rows.image = pc.if_else(inside, str(self.path), pa.scalar(None, pa.string()))
        rows.image_offset = pa.array(np.arange(start, start + count), mask=~present)
        rows.image_size = pa.array(np.full(count, self.code), mask=~present)
        if present.all():
            return
        if self.inner_path:
            outside = pc.struct_field(batch.column(self.cells), "path")
            paths, faults = self.paths.resolve(pc.if_else(inside, pa.scalar(None, pa.string()), outside))
            rows.image = pc.if_else(inside, rows.image, paths)
        else:
            faults = dict.fromkeys(range(count), ("missing image", f"no bytes in column {self.cells!r}"))
        if not self.vectors:
            for row, why in faults.items():
                if not present[row]:
                    rows.faults.setdefault(row, why)

    def _files(self, rows: Rows, column: pa.Array) -> None:
        short, long = without_long(column)
        paths, undecoded = as_text(short)
        for mask, reason in ((undecoded, "not UTF-8"), (long, "missing image")):
            for row in np.flatnonzero(mask).tolist():
                rows.faults.setdefault(row, (reason, "the image path"))
        if self.vectors:
            rows.image = self.believed.resolve(paths)
            return
        rows.image, faults = self.paths.resolve(paths)
        for row, why in faults.items():
            rows.faults.setdefault(row, why)

    def _present(self) -> Mask:
        """Say which rows hold a picture: from the statistics if they say so, else by reading."""
        metadata = self.file.metadata
        leaves = {metadata.schema.column(i).path: i for i in range(len(metadata.schema))}
        leaf = next(name for name in (f"{self.cells}.bytes", self.cells) if name in leaves)
        groups = []
        for group in range(metadata.num_row_groups):
            count = metadata.row_group(group).num_rows
            statistics = metadata.row_group(group).column(leaves[leaf]).statistics
            if statistics is not None and statistics.has_null_count and statistics.null_count == 0:
                groups.append(np.ones(count, np.bool_))
                continue
            size = metadata.row_group(group).column(leaves[leaf]).total_uncompressed_size
            most = max(
                1, min(BYTES_BATCH_ROWS, BATCH_BYTES // max(size, 1))
            )  # a picture may stand in every row
            for batch in self.file.iter_batches(most, row_groups=[group], columns=[leaf]):
                cells = batch.column(0)
                if pa.types.is_struct(cells.type):
                    cells = pc.struct_field(cells, "bytes")
                groups.append(as_mask(pc.fill_null(pc.greater(pc.binary_length(cells), 0), False)))
        return np.concatenate(groups) if groups else np.zeros(0, np.bool_)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises SourceError."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a whole Parquet file ({in_one_line(error, 200)}).") from None
    names = file.schema_arrow.names
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:  # Arrow finds neither of them by name
        raise SourceError(f"{path} has several columns named {doubled!r}; rename all but one.")
    return file


def _embedding_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Return the image's and the caption's embedding columns, or nothing unless both are there."""
    names = [name for name in schema.names if is_embedding(schema.field(name).type)]
    pair = usual.guess(names, usual.IMAGE_EMBEDDING), usual.guess(names, usual.TEXT_EMBEDDING)
    return tuple(name for name in pair if name) if all(pair) else ()
