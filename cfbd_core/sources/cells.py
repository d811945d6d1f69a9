"""Checks and conversions of single columns, all vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TRUE = pa.array(["1", "true", "yes", "t", "y", "1.0"])
FALSE = pa.array(["0", "false", "no", "f", "n", "0.0"])
UNKNOWN = pa.array(["", "nan", "null", "none"])

Mask = npt.NDArray[np.bool_]


def as_text(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Return the column as strings, and which rows are not UTF-8 (null in the strings)."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode())
    try:
        text = column if pa.types.is_string(kind) else column.cast(pa.string())
        text.validate(full=True)
        return text, np.zeros(len(column), np.bool_)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        cells = column.cast(pa.binary()).to_pylist()
        return text_column(
            [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
        )


def text_column(values: list[str | None]) -> tuple[pa.Array, Mask]:
    """Return Python strings as a column, and which hold undecoded bytes (null in the column)."""
    try:
        return pa.array(values, pa.string()), np.zeros(len(values), np.bool_)
    except UnicodeEncodeError:
        bad = np.array([value is not None and not is_unicode(value) for value in values], np.bool_)
        texts = [None if wrong else value for value, wrong in zip(values, bad, strict=True)]
        return pa.array(texts, pa.string()), bad


def is_unicode(text: str) -> bool:
    """Say whether the text can be written as UTF-8 (lone surrogates cannot)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return the text for a terminal or a report: control and other invisible characters as ``\\x1b``.

    What is no Unicode becomes a question mark (file names need not be).
    """
    text = text.encode("utf-8", "replace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parse_truth(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Return a nullable bool column from 0/1/true/false/yes/no, and which rows are none of these."""
    if pa.types.is_boolean(column.type):
        return column, np.zeros(len(column), np.bool_)
    text = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(column)[0]))
    true, false = pc.is_in(text, TRUE), pc.is_in(text, FALSE)
    known = pc.or_(pc.or_(true, false), pc.or_(pc.is_null(text), pc.is_in(text, UNKNOWN)))
    value = pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))
    return value, ~as_mask(known)


def is_list(kind: pa.DataType) -> bool:
    """Say whether a column of this type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def has_nul(text: pa.Array) -> Mask:
    """Say which strings hold a NUL byte."""
    return as_mask(pc.fill_null(pc.match_substring(text, "\0"), False))


def as_mask(column: pa.Array) -> Mask:
    """Return a bool column without nulls as a numpy mask."""
    mask: Mask = column.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask
