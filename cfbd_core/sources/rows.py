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
from cfbd_core.sources.unread import Unread
from cfbd_core.sources.vectors import embedding_faults

MAX_CAPTION_BYTES = 1 << 20

Faults = dict[int, tuple[str, str]]  # row -> (reason, detail)
Rowwise = npt.NDArray[np.int64]


@dataclass
class Rows:
    """Columns as a reader found them, one row a record.

    ``caption`` is text, or lists of text. ``facts`` may hold label, poisoned, attack, target, origin_key
    and origin_caption, of any scalar type. ``faults`` are the rows the reader itself refuses. ``shard`` is that of
    the batches.
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
    shard: str = ""


def to_batches(rows: Rows, captions: str, unread: Unread) -> Iterator[Batch]:
    """Yield the pairs of ``rows`` as batches; ``captions`` as in ``SourceOptions``, those left go to ``unread``."""
    if len(rows.key) == 0:
        return
    refused, columns = _check_records(rows)
    caption, parent, number, further = _spread(rows.caption, captions)
    if len(further):
        unread.add("further caption", rows.where(int(further[0])), len(further))
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
            rows.shard,
        )


def _check_records(rows: Rows) -> tuple[Faults, dict[str, pa.Array]]:
    """Return the records to refuse, and the columns that all captions of a record share."""
    refused: Faults = dict(rows.faults)
    columns: dict[str, pa.Array] = {"image": rows.image}
    for name in ("key", *TEXT_FACTS):
        given = rows.key if name == "key" else rows.facts.get(name)
        if given is not None:
            short, long = without_long(given)
            text, undecoded = as_text(short)
            _refuse(refused, long, f"{name} too long", f"over {MAX_CAPTION_BYTES} bytes")
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


def _spread(column: pa.Array, captions: str) -> tuple[pa.Array, Rowwise, Rowwise, Rowwise]:
    """Return one caption a pair, the record of each, its number within the record, and the record of each left out.

    The first caption of a list is the first that is not blank.
    """
    nothing = np.zeros(0, np.int64)
    if not is_list(column.type):
        return column, np.arange(len(column)), np.zeros(len(column), np.int64), nothing
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat, starts = pc.list_flatten(column), np.cumsum(lengths) - lengths
    parent = np.repeat(np.arange(len(column)), lengths)
    if captions == "all":
        return flat, parent, np.arange(len(flat)) - starts[parent], nothing
    if lengths.max(initial=0) > 1:
        text, undecoded = as_text(without_long(flat)[0])
        flat_usable = np.flatnonzero(undecoded | ~_is_blank(text))
        _, firsts = np.unique(parent[flat_usable], return_index=True)
        further = np.delete(parent[flat_usable], firsts)
        chosen = flat_usable[firsts]
    else:
        chosen, further = np.arange(len(flat)), nothing
    return flat.take(pa.array(chosen)), parent[chosen], np.zeros(len(chosen), np.int64), further


def _check_captions(column: pa.Array) -> tuple[pa.Array, Faults]:
    column, long = without_long(column)
    text, undecoded = as_text(column)
    faults: Faults = {}
    _refuse(faults, long, "caption too long", f"over {MAX_CAPTION_BYTES} bytes")
    _refuse(faults, undecoded, "not UTF-8", "the caption; convert the file with iconv")
    _refuse(faults, has_nul(text), "caption holds NUL bytes")
    _refuse(faults, _is_blank(text), "empty caption")
    return text, faults


def without_long(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Return a column of texts with null for those that are too long for a caption, and which they are.

    Before anything is done with them: half a gigabyte is copied at each step.
    """
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(
        column.type
    ):  # without a kernel for lengths
        column = column.cast(pa.large_binary())
    if pa.types.is_dictionary(column.type):
        values, long = without_long(column.dictionary)
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        mask = np.append(long, False)[codes]
        return (
            (pa.DictionaryArray.from_arrays(column.indices, values), mask) if mask.any() else (column, mask)
        )
    try:
        long = as_mask(pc.fill_null(pc.greater(pc.binary_length(column), MAX_CAPTION_BYTES), False))
    except pa.ArrowNotImplementedError:  # numbers
        return column, np.zeros(len(column), np.bool_)
    if not long.any():
        return column, long
    return column.take(
        pa.array(np.arange(len(column)), mask=long)
    ), long  # `if_else` would make room for them


def _is_blank(text: pa.Array) -> Mask:
    return as_mask(pc.fill_null(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0), True))


def _record_batch(columns: dict[str, Any], count: int) -> pa.RecordBatch:
    arrays = []
    for wanted in PAIR_SCHEMA:
        column = columns.get(wanted.name)
        arrays.append(pa.nulls(count, wanted.type) if column is None else column.cast(wanted.type))
    return pa.RecordBatch.from_arrays(arrays, schema=PAIR_SCHEMA)
