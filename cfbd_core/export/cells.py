"""Cells of a CSV, for whoever opens it: a spreadsheet that would run some, pandas that takes some for something else.

pandas, and open_clip's CSV loader by it, reads some captions as missing values (``NA``, ``None``: a model is then
trained on "nan"), quoted or not; and where all captions of a stretch of rows are numbers or truth values it makes
numbers of them (``007`` is 7).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

CSV_OPTIONS = arrow_csv.WriteOptions(include_header=False, eol="\r\n", quoting_style="needed")

# How a cell begins that a spreadsheet runs: a sign, in any width, behind what some trim.
FORMULA = "^[\t\r\n]|^[\\p{Z}\\p{C}]*[=+@⁺₊⁼₌﬩﹢﹣﹦﹫＋－＝＠-]"

MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
MOST_MISSING_LETTERS = max(map(len, MISSING))
NUMBER = (
    r"^[\t-\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t-\r ]*$"
    r"|^(?i:[+-]?(inf|infinity)|true|false)$"
)
NO_BREAK_SPACE = (
    "\u00a0"  # pandas skips a plain space before a number; every tokenizer of open_clip drops both
)


def neutralised(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Put a quote before the cells that a spreadsheet would run."""
    for index, column in enumerate(batch.columns):
        if pa.types.is_string(column.type):
            batch = batch.set_column(index, batch.schema.field(index), spreadsheet_safe(column))
    return batch


def spreadsheet_safe(texts: pa.Array) -> pa.Array:
    """Return texts, those that a spreadsheet would run behind a quote."""
    return _prefixed(texts, pc.match_substring_regex(texts, FORMULA), "'")


def missing(captions: pa.Array) -> pa.Array:
    """Return the captions that pandas reads as missing values."""
    short = captions.filter(
        pc.less_equal(pc.binary_length(captions), MOST_MISSING_LETTERS)
    )  # nearly none: others cost no look
    return short.filter(pc.is_in(short, pa.array(MISSING)))


def are_numbers(captions: pa.Array) -> bool:
    """Return whether pandas may make numbers or truth values of these captions: there is no text among them."""
    if not len(captions) or not _is_number(captions[:1])[0].as_py():  # the rule, and found at once
        return False
    return bool(pc.all(_is_number(captions)).as_py())


def pandas_safe(captions: pa.Array) -> pa.Array:
    """Captions that pandas reads as text, all of them; those that it would not begin with a no-break space."""
    return _prefixed(captions, _is_number(captions), NO_BREAK_SPACE)


def _is_number(captions: pa.Array) -> pa.Array:
    """Return which captions pandas may take for no text: numbers, truth values, missing values."""
    return pc.or_(pc.is_in(captions, pa.array(MISSING)), pc.match_substring_regex(captions, NUMBER))


def _prefixed(column: pa.Array, chosen: pa.Array, prefix: str) -> pa.Array:
    return pc.if_else(chosen, pc.binary_join_element_wise(prefix, column, ""), column)
