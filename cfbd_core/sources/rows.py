"""From the rows a reader found to batches of pairs: one place decides what is a pair and what is skipped.

Everything here is columnar; only rows that are refused cost Python time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.sources.base import BATCH_ROWS, PAIR_SCHEMA, TEXT_FACTS, Batch, Embeddings, Skip
from cfbd_core.sources.cells import Mask, as_mask, as_text, has_nul, is_list, parse_truth
from cfbd_core.sources.vectors import embedding_faults

MAX_CAPTION_BYTES = 1 << 20

Faults = dict[int, tuple[str, str]]  # row -> (reason, detail)
Rowwise = npt.NDArray[np.int64]


@dataclass
class Rows:
    """Columns as a reader found them, one row a record.

    ``caption`` is text, or lists of text. ``facts`` may hold label, poisoned, attack, target, origin_key
    and origin_caption, of any scalar type. ``faults`` are the rows the reader itself refuses.
    """

    key: pa.Array
    caption: pa.Array
    image: pa.Array
    where: Callable[[int], str]
    image_offset: pa.Array | None = None
    image_size: pa.Array | None = None
    facts: dict[str, pa.Array] = field(default_factory=dict)
    faults: Faults = field(default_factory=dict)
    image_emb: Embeddings | None = None
    text_emb: Embeddings | None = None


def to_batches(rows: Rows, captions: str) -> Iterator[Batch]:
    """Yield the pairs of ``rows`` as batches; ``captions`` as in ``SourceOptions``."""
    if len(rows.key) == 0:
        return
    refused, columns = _check_records(rows)
    caption, parent, number = _spread(rows.caption, captions)
    childless = np.ones(len(rows.key), np.bool_)
    childless[parent] = False
    _refuse(refused, childless, "empty caption")
    caption, unfit = _check_captions(caption)
    record_key, key = columns["key"], columns["key"].take(pa.array(parent))
    if captions == "all":
        key = pc.binary_join_element_wise(key, pa.array(number).cast(pa.string()), "#")

    whole = np.ones(len(rows.key), np.bool_)
    whole[list(refused)] = False
    keep = whole[parent]
    keep[list(unfit)] = False
    chosen = np.flatnonzero(keep)
    origin = parent[chosen]

    def skip_of(row: int, key: pa.Scalar, why: tuple[str, str]) -> Skip:
        return Skip(key.as_py(), rows.where(row), *why)

    skips = [((row, -1), skip_of(row, record_key[row], why)) for row, why in refused.items()]
    for i, why in unfit.items():
        row = int(parent[i])
        if whole[row]:
            skips.append(((row, int(number[i])), skip_of(row, key[i], why)))
    skips.sort(key=lambda entry: entry[0])

    if len(origin) == len(rows.key) == len(parent):  # nothing to leave out: no copies
        pairs = {**columns, "key": key, "caption": caption}
        image_emb, text_emb = rows.image_emb, rows.text_emb
    else:
        pairs = {name: column.take(pa.array(origin)) for name, column in columns.items()}
        pairs |= {"key": key.take(pa.array(chosen)), "caption": caption.take(pa.array(chosen))}
        image_emb, text_emb = (e if e is None else e[origin] for e in (rows.image_emb, rows.text_emb))
    table = _record_batch(pairs, len(chosen))
    for start in range(0, max(len(chosen), 1), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        yield Batch(
            table.slice(start, BATCH_ROWS),
            [skip for _, skip in skips] if start == 0 else [],
            None if image_emb is None else image_emb[part],
            None if text_emb is None else text_emb[part],
        )


def _check_records(rows: Rows) -> tuple[Faults, dict[str, pa.Array]]:
    """Return the records to refuse, and the columns that all captions of a record share."""
    refused: Faults = dict(rows.faults)
    columns: dict[str, pa.Array] = {"image": rows.image}
    for name in ("key", *TEXT_FACTS):
        given = rows.key if name == "key" else rows.facts.get(name)
        if given is not None:
            text, undecoded = as_text(given)
            _refuse(refused, undecoded, "not UTF-8", f"the {name}; convert the file with iconv")
            _refuse(refused, has_nul(text), f"{name} holds NUL bytes")
            columns[name] = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    _refuse(refused, as_mask(pc.is_null(columns["key"])), "missing key")
    if "poisoned" in rows.facts:
        columns["poisoned"], unreadable = parse_truth(rows.facts["poisoned"])
        _refuse(refused, unreadable, "unreadable poisoned value", "write 0, 1, true or false")
    for name, place in (("image_offset", rows.image_offset), ("image_size", rows.image_size)):
        if place is not None:
            columns[name] = place
    for name, embeddings in (("image", rows.image_emb), ("text", rows.text_emb)):
        if embeddings is not None:
            broken, zero, outside = embedding_faults(embeddings)
            _refuse(refused, broken, "NaN in embedding", f"or infinite; the {name} embedding")
            _refuse(refused, zero, "zero embedding", f"the {name} embedding")
            _refuse(refused, outside, "embedding out of range", f"the length of the {name} embedding")
    return refused, columns


def _refuse(faults: Faults, mask: Mask, reason: str, detail: str = "") -> None:
    for row in np.flatnonzero(mask):
        faults.setdefault(int(row), (reason, detail))


def _spread(column: pa.Array, captions: str) -> tuple[pa.Array, Rowwise, Rowwise]:
    """Return one caption a pair, the record of each, and its number within the record."""
    if not is_list(column.type):
        every = np.arange(len(column))
        return column, every, np.zeros(len(column), np.int64)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(column)
    starts = np.cumsum(lengths) - lengths
    if captions == "first":
        full = np.flatnonzero(lengths)
        return flat.take(pa.array(starts[full])), full, np.zeros(len(full), np.int64)
    parent = np.repeat(np.arange(len(column)), lengths)
    return flat, parent, np.arange(len(flat)) - starts[parent]


def _check_captions(column: pa.Array) -> tuple[pa.Array, Faults]:
    text, undecoded = as_text(column)
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
    long = pc.greater(pc.binary_length(text), MAX_CAPTION_BYTES)
    faults: Faults = {}
    _refuse(faults, undecoded, "not UTF-8", "the caption; convert the file with iconv")
    _refuse(faults, has_nul(text), "caption holds NUL bytes")
    _refuse(faults, as_mask(pc.fill_null(blank, True)), "empty caption")
    _refuse(faults, as_mask(pc.fill_null(long, False)), "caption too long", f"over {MAX_CAPTION_BYTES} bytes")
    return text, faults


def _record_batch(columns: dict[str, Any], count: int) -> pa.RecordBatch:
    arrays = []
    for wanted in PAIR_SCHEMA:
        column = columns.get(wanted.name)
        arrays.append(pa.nulls(count, wanted.type) if column is None else column.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=PAIR_SCHEMA)
