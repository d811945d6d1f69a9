"""An export as a table: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from cfbd_core.export import cells
from cfbd_core.export.columns import COLUMNS, SCHEMA, Style
from cfbd_core.export.tally import MOST_EXAMPLES, Tally
from cfbd_core.machine.progress import Counter

STRETCH_ROWS = 5000  # rows without a text among them; pandas looks at some 30,000 at a time


def write_csv(
    batches: Iterable[pa.RecordBatch], path: Path, style: Style, tally: Tally, counter: Counter
) -> None:
    """RFC 4180 by Arrow's writer: millions of rows are too many for a loop in Python."""
    with path.open("wb") as file:
        file.write((",".join(COLUMNS) + "\r\n").encode())
        for batch in batches:
            part = csv_cells(batch, style)
            count_captions(part.column("caption"), tally)
            arrow_csv.write_csv(part, file, cells.CSV_OPTIONS)
            counter.add(batch.num_rows)


def csv_cells(batch: pa.RecordBatch, style: Style) -> pa.RecordBatch:
    """Return the rows of ``audit_pairs`` as a CSV holds them, pictures' paths apart."""
    part = batch.select(list(COLUMNS))
    if style.pandas_safe:
        index = part.schema.get_field_index("caption")
        part = part.set_column(index, "caption", cells.pandas_safe(part.column(index)))
    return cells.neutralised(part) if style.spreadsheet_safe else part


def count_captions(captions: pa.Array, tally: Tally) -> None:
    """Count what pandas reads as something else; a few numbers among texts stay text to it."""
    is_all_so_far = tally.missing + tally.numbers == tally.captions
    missing = cells.missing(captions)
    tally.missing += len(missing)
    tally.examples += missing.unique().to_pylist()[: MOST_EXAMPLES - len(tally.examples)]
    if (is_all_so_far or len(captions) >= STRETCH_ROWS) and cells.are_numbers(captions):
        tally.numbers += len(captions) - len(missing)
    tally.captions += len(captions)


def write_parquet(
    batches: Iterable[pa.RecordBatch], path: Path, _style: Style, _tally: Tally, counter: Counter
) -> None:
    """One row group a batch; the columns' types are the same whatever they hold."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in batches:
            part = batch.select(list(COLUMNS))
            writer.write_batch(part if part.schema.equals(SCHEMA) else part.cast(SCHEMA))
            counter.add(batch.num_rows)
