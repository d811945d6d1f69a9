"""Ready embeddings: their columns, their widths, and the rows that are no direction at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import SourceError
from cfbd_core.sources.base import Embeddings
from cfbd_core.sources.cells import Mask, as_mask, is_list

SMALLEST_NORM, LARGEST_NORM = 1e-30, 3e38  # beyond, single precision holds no direction
SMALL, LARGE = 1e-20, 1e20  # a vector whose largest value lies between has a length that fits


def is_embedding(kind: pa.DataType) -> bool:
    """Say whether a column of this type can hold embeddings: lists of floats."""
    return is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def embedding_matrix(column: pa.Array, where: str, first_row: int) -> tuple[Embeddings, Mask]:
    """Return lists of floats as (n, d), null ones as zeros, and which were null.

    Raises SourceError if their lengths differ.
    """
    missing = as_mask(pc.is_null(column))
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    whole = np.flatnonzero(~missing)
    width = int(lengths[whole[0]]) if len(whole) else 0
    odd = whole[lengths[whole] != width]
    if len(odd):
        row = first_row + int(odd[0])
        raise different_widths(f"{where} row {row}", int(lengths[odd[0]]), "rows before", width)
    values = float_rows(pc.list_flatten(column).to_numpy(zero_copy_only=False)).reshape(len(whole), width)
    if len(whole) == len(column):
        return values, missing
    matrix = np.zeros((len(column), width), values.dtype)
    matrix[whole] = values
    return matrix, missing


def float_rows(array: npt.NDArray[Any]) -> Embeddings:
    """Return values as contiguous float16 (if they are) or float32."""
    with np.errstate(over="ignore"):  # what single precision cannot hold is refused as infinite
        return np.ascontiguousarray(array, dtype=np.float16 if array.dtype == np.float16 else np.float32)


def embedding_faults(values: Embeddings) -> tuple[Mask, Mask, Mask]:
    """Say which rows of (n, d) float16/32 values are no direction.

    First those that hold a NaN or infinity, then those all zero, then those whose length is outside
    ``SMALLEST_NORM`` … ``LARGEST_NORM``. One pass over the bits: an exponent of ones makes the largest
    magnitude, so ``max`` finds the first two; lengths are only taken where the largest value is extreme.
    """
    half = values.dtype == np.float16
    bits: npt.NDArray[Any] = values.view(np.uint16 if half else np.uint32)
    infinity, magnitude = (0x7C00, 0x7FFF) if half else (0x7F800000, 0x7FFFFFFF)
    largest = (bits & magnitude).max(axis=1, initial=0)
    broken, zero = largest >= infinity, largest == 0
    outside = np.zeros(len(values), np.bool_)
    if half:  # its numbers are too few to leave the range
        return broken, zero, outside
    top = largest.view(values.dtype)
    extreme = np.flatnonzero(~broken & ~zero & ((top > LARGE) | (top < SMALL)))
    norms = np.linalg.norm(values[extreme].astype(np.float64), axis=1)
    outside[extreme] = (norms < SMALLEST_NORM) | (norms > LARGEST_NORM)
    return broken, zero, outside


def different_widths(where: str, width: int, first: str, first_width: int) -> SourceError:
    """Return the error for embeddings that cannot come from one encoder."""
    return SourceError(
        f"Embeddings of different widths: {first} has {first_width}, {where} has {width}. "
        "All shards of a source must come from one encoder."
    )
