"""How much of a Parquet file is read at once: a few bytes on disk may stand for gigabytes of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cfbd_core.sources.base import BATCH_ROWS
from cfbd_core.sources.cells import is_list
from cfbd_core.sources.rows import MAX_CAPTION_BYTES

BATCH_BYTES = 1 << 27
MOST_GROUP_BYTES = 1 << 29  # of texts that are too long on average; reading them takes three times as much


def text_batches(
    file: pq.ParquetFile, path: Path, texts: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.RecordBatch | int]:
    """Yield ``columns`` in batches that fit, as far as the columns ``texts`` go.

    For row groups whose texts are too long to be read, yield their number of rows.
    """
    rows = batch_rows(file, path, texts)
    for is_huge, groups in groupby(
        range(file.num_row_groups), key=lambda group: _is_huge(file, group, texts)
    ):
        if is_huge:
            yield sum(file.metadata.row_group(group).num_rows for group in groups)
        else:
            yield from file.iter_batches(rows, row_groups=list(groups), columns=list(columns))


def batch_rows(file: pq.ParquetFile, path: Path, texts: Sequence[str]) -> int:
    """Return how many rows of these columns to read at once: ``BATCH_ROWS``, fewer where they are huge."""
    rows = BATCH_ROWS
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        size, coded = _size(file, group, texts)
        rows = min(rows, max(1, BATCH_BYTES * count // max(size, 1)))
        if coded and rows > 1 and size * min(rows, count) > BATCH_BYTES:
            rows = min(rows, max(1, BATCH_BYTES // _longest(file, path, group, coded)))
    return rows


def _is_huge(file: pq.ParquetFile, group: int, texts: Sequence[str]) -> bool:
    size, _ = _size(file, group, texts)
    return bool(size > max(MOST_GROUP_BYTES, file.metadata.row_group(group).num_rows * MAX_CAPTION_BYTES))


def _size(file: pq.ParquetFile, group: int, texts: Sequence[str]) -> tuple[int, list[str]]:
    """Return the bytes of these columns in a row group, and which of them have a dictionary."""
    info = file.metadata.row_group(group)
    chunks = [
        chunk for chunk in map(info.column, range(info.num_columns)) if _top(chunk.path_in_schema) in texts
    ]
    coded = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
    return sum(chunk.total_uncompressed_size for chunk in chunks), coded


def _top(path: str) -> str:
    return path.partition(".")[0]


def _longest(file: pq.ParquetFile, path: Path, group: int, columns: list[str]) -> int:
    """Return the bytes of the longest text in the dictionaries of a row group: it may stand in every row."""
    coded = pq.ParquetFile(path, metadata=file.metadata, read_dictionary=columns)
    batch = next(
        coded.iter_batches(1, row_groups=[group], columns=columns), None
    )  # has the whole dictionaries
    longest = 1
    for column in batch.columns if batch else ():
        values = column.values if is_list(column.type) else column
        if pa.types.is_dictionary(values.type):
            lengths = pc.binary_length(values.dictionary.cast(pa.large_binary()))
            longest = max(longest, pc.max(lengths).as_py() or 0)
    return longest
