"""Pairs as an export is given them, made by hand: batches of ``audit_pairs``, and pictures that show a number."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from cfbd_core.export.columns import SCHEMA

PLACES = pa.schema([("image_offset", pa.int64()), ("image_size", pa.int64())])
STEP = 20  # between the shades of two numbers, so that lossy formats keep them apart


def picture(number: int, kind: str = "PNG") -> bytes:
    """The picture of ``number`` (0 to 12), encoded."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (number * STEP, 120, 90)).save(stream, kind)
    return stream.getvalue()


def number_of(shown: Image.Image) -> int:
    """The number that a picture shows."""
    return round(shown.convert("RGB").getpixel((1, 1))[0] / STEP)


def pair(key: str, image: Path | None, caption: str, **facts: Any) -> dict[str, Any]:
    """One row of ``audit_pairs``, its picture a file of its own; what is not given is null."""
    return {"key": key, "image": None if image is None else str(image), "caption": caption} | facts


def batches(rows: Sequence[dict[str, Any]], size: int = 10_000) -> Iterator[pa.RecordBatch]:
    """The rows as batches of at most ``size``."""
    schema = pa.schema([*SCHEMA, *PLACES])
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(list(rows[start : start + size]), schema=schema)
