"""Pictures as encoded bytes: from files, from tars by offset, from cells of Parquet files.

Access is random and costs no scan: few files stay open, and a Parquet row group is read once.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cfbd_core.pictures.place import PicturePlace

MAX_FILE_BYTES = 1 << 29
MOST_OPEN_FILES = 16
MOST_CACHED_ROW_GROUPS = 2


class BadImage(Exception):
    """A picture that cannot be used: ``reason`` is a short stable phrase, ``detail`` is for a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)  # both, so that it survives the way back from a worker process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def read_image_bytes(place: PicturePlace) -> bytes:
    """Return the encoded bytes of the picture at a place.

    Raises :class:`BadImage`. Safe to call from many threads, and after a fork.
    """
    file = place.file
    try:
        data = _read(place)
    except (FileNotFoundError, NotADirectoryError):
        raise BadImage("missing file", file) from None
    except (OSError, pa.ArrowException) as error:
        raise BadImage("unreadable file", f"{file}: {error}") from None
    except ValueError:  # a NUL byte in the path
        raise BadImage("missing file", file) from None
    if not data:
        raise BadImage("empty file", file)
    return data


def _read(place: PicturePlace) -> bytes:
    file, offset, size = place
    if offset is None or size is None:
        return _read_file(file)
    return _read_cell(file, offset, size) if place.is_cell else _read_span(file, offset, size)


def picture_ending(data: bytes) -> str | None:
    """Return the file ending of encoded picture bytes by how they begin, or None if they are no picture."""
    if data[4:8] == b"ftyp":
        return "avif" if data[8:12] in _AVIF_BRANDS else None
    if data[:4] == b"RIFF":
        return "webp" if data[8:12] == b"WEBP" else None
    return next((ending for begins, ending in _BEGINNINGS if begins.match(data)), None)


_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")
_BEGINNINGS = tuple(
    (re.compile(pattern, re.DOTALL), ending)
    for pattern, ending in (
        (rb"\xff\xd8\xff", "jpg"),
        (rb"\x89PNG\r\n\x1a\n", "png"),
        (rb"GIF8[79]a", "gif"),
        (rb"BM.{4}\0{4}..\0\0", "bmp"),  # size, four reserved bytes, a small offset
        (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "tif"),
        (rb"\0{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "jp2"),
        (rb"P[1-6f]\s+(#[^\n]*\n\s*)*-?\d+\s", "ppm"),
        (rb"\0\0\x01\0[^\0]\0", "ico"),
    )
)

_Version = tuple[str, int, int, int, int]
K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """A small least-recently-used cache; a value lives on while any thread still holds it."""

    def __init__(self, limit: int, make: Callable[[K], V]) -> None:
        self._limit = limit
        self._make = make
        self.clear()

    def clear(self) -> None:
        self._lock = threading.Lock()
        self._making: dict[K, threading.Lock] = {}
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:  # one thread makes the value, the others wait for it
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = self._make(key)
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._limit:
                        self._values.popitem(last=False)
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)


class _Descriptor:
    """An open file that closes itself when its last user lets go."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _read_file(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImage("missing file", f"{path} is not a file")
    if status.st_size > MAX_FILE_BYTES:
        raise BadImage("file too large", f"{path}: {status.st_size} bytes")
    with open(path, "rb") as file:
        return file.read()


def _read_span(path: str, offset: int, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise BadImage("file too large", f"{path}: a member of {size} bytes")
    descriptor = _descriptors.get(_version(path))  # held by name: else it may close before the read
    data = os.pread(descriptor.number, size, offset)
    if len(data) < size:
        raise BadImage("truncated image", f"{path} ends {size - len(data)} bytes too early")
    return data


def _version(path: str) -> _Version:
    """Name a file's present content, so that a file that was written to or replaced is opened anew."""
    status = os.stat(path)
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


# --- pictures inside Parquet -----------------------------------------------------------------------

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "img_bytes", "bytes", "picture")


def bytes_column(schema: pa.Schema) -> str | None:
    """Return the column that most likely holds encoded pictures, or None."""
    named = {name.lower(): name for name in reversed(schema.names) if holds_bytes(schema.field(name).type)}
    return next((named[name] for name in IMAGE_COLUMNS if name in named), None)


def holds_bytes(kind: pa.DataType) -> bool:
    """Say whether a column of this type can hold pictures: binary, or HF's ``struct<bytes, path>``."""
    if pa.types.is_struct(kind):
        return any(
            kind.field(i).name == "bytes" and _binary(kind.field(i).type) for i in range(kind.num_fields)
        )
    return _binary(kind)


def _binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def parquet_code(schema: pa.Schema, column: str) -> int:
    """Return the ``image_size`` that stands for ``column``: -1 for the usual one, else -2 - its index."""
    return -1 if column == bytes_column(schema) else -2 - int(schema.names.index(column))


class _ParquetPictures:
    """One open Parquet file; pages of its row groups are read one row group at a time."""

    def __init__(self, version: _Version) -> None:
        self.file = pq.ParquetFile(version[0])
        metadata = self.file.metadata
        self.ends = np.cumsum(
            [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        ).tolist()
        self.lock = threading.Lock()

    def column(self, code: int) -> str | None:
        schema = self.file.schema_arrow
        if code == -1:
            return bytes_column(schema)
        return str(schema.names[-2 - code]) if -2 - code < len(schema.names) else None


def _row_group(key: tuple[_Version, int, str]) -> Any:
    version, group, column = key
    pictures = _parquets.get(version)
    with pictures.lock:  # a ParquetFile is not for two threads at once
        cells = pictures.file.read_row_group(group, columns=[column]).column(0)
    return pc.struct_field(cells, "bytes") if pa.types.is_struct(cells.type) else cells


def _read_cell(path: str, row: int, code: int) -> bytes:
    version = _version(path)
    pictures = _parquets.get(version)
    column = pictures.column(code)
    group = bisect_right(pictures.ends, row)
    if column is None or row < 0 or group == len(pictures.ends):
        raise BadImage("missing file", f"{path} has no picture in row {row}")
    start = pictures.ends[group - 1] if group else 0
    data: bytes | None = _row_groups.get((version, group, column))[row - start].as_py()
    return data or b""


_descriptors: _Recent[_Version, _Descriptor] = _Recent(
    MOST_OPEN_FILES, lambda version: _Descriptor(version[0])
)
_parquets: _Recent[_Version, _ParquetPictures] = _Recent(MOST_CACHED_ROW_GROUPS, _ParquetPictures)
_row_groups: _Recent[tuple[_Version, int, str], Any] = _Recent(MOST_CACHED_ROW_GROUPS, _row_group)


def _forget() -> None:
    for cache in (_descriptors, _parquets, _row_groups):
        cache.clear()


os.register_at_fork(after_in_child=_forget)  # a lock held by another thread at the fork would stay held
