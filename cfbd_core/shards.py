"""The folder ``embeddings/`` of an audit: fp16 shards, their stats, and the plan they were made by.

``img_emb_NNNN.npy`` and ``text_emb_NNNN.npy`` hold the embeddings of rows
``NNNN · shard_size`` and following, float16 (rows, d), L2-normalised; a row of zeros is a pair
that was skipped. ``stats_NNNN.json`` is written last: a shard with stats is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

from cfbd_core.errors import AuditError
from cfbd_core.files import write_array, write_json

PLAN_NAME = "plan.json"
HASH_BYTES = 16
BLOCK_VALUES = 2**17  # half a megabyte in single precision


class EmbeddingFolder:
    """Paths and contents of the shards in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image_path(self, number: int) -> Path:
        """File of the image embeddings of shard ``number``."""
        return self.folder / f"img_emb_{number:04d}.npy"

    def text_path(self, number: int) -> Path:
        """File of the caption embeddings of shard ``number``."""
        return self.folder / f"text_emb_{number:04d}.npy"

    def hash_path(self, number: int) -> Path:
        """File of the content hashes of shard ``number``: (rows, 2) of 16 bytes, image and caption."""
        return self.folder / f"hashes_{number:04d}.npy"

    def stats_path(self, number: int) -> Path:
        """File of the stats of shard ``number``."""
        return self.folder / f"stats_{number:04d}.json"

    def is_whole(self, number: int) -> bool:
        """Whether shard ``number`` was finished."""
        embeddings = self.image_path(number).is_file() and self.text_path(number).is_file()
        return embeddings and self.stats(number) is not None

    def plan(self) -> dict[str, Any] | None:
        """The settings that the shards are made by, or None before the first or where they are damaged."""
        return _read_json(self.folder / PLAN_NAME)

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Store the settings that the shards are made by."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / PLAN_NAME, plan)

    def stats(self, number: int) -> dict[str, Any] | None:
        """Stats of a whole shard: pairs, images and captions encoded, seconds, failures; else None."""
        return _read_json(self.stats_path(number))

    def write(self, number: int, image: np.ndarray, text: np.ndarray, stats: dict[str, Any]) -> None:
        """Write one shard: image and text (rows, d) as float16, then its stats."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_array(self.image_path(number), image.astype(np.float16, copy=False))
        write_array(self.text_path(number), text.astype(np.float16, copy=False))
        write_json(self.stats_path(number), stats)

    def images(self) -> Shards:
        """Image shards in order, float16 (rows, d); AuditError unless all are there."""
        return Shards([self.image_path(number) for number in range(self._count())])

    def texts(self) -> Shards:
        """Caption shards in order, float16 (rows, d); AuditError unless all are there."""
        return Shards([self.text_path(number) for number in range(self._count())])

    def image_hashes(self, rows: np.ndarray) -> list[bytes]:
        """Content hashes of the images of ``rows`` int64 (n,); empty where none is kept."""
        plan = self.plan()
        if plan is None:
            return [b""] * len(rows)
        held = np.zeros(plan["rows"], dtype=f"S{HASH_BYTES}")
        for number in range(shard_count(plan)):
            try:
                shard = np.load(self.hash_path(number), allow_pickle=False)[:, 0]
            except (OSError, ValueError, EOFError):  # ready embeddings have none
                continue
            start = number * plan["shard_size"]
            held[start : start + len(shard)] = shard
        # numpy drops the zeros at a hash's end
        return [found.ljust(HASH_BYTES, b"\0") if found else b"" for found in held[rows].tolist()]

    def clear(self) -> None:
        """Delete all shards."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def are_whole(self) -> bool:
        """Whether every shard of the plan was finished."""
        plan = self.plan()
        return plan is not None and all(map(self.is_whole, range(shard_count(plan))))

    def _count(self) -> int:
        plan = self.plan()
        if plan is None or not self.are_whole():
            raise AuditError(f"{self.folder}: the embeddings are not whole; run `cfbd embed` again")
        return shard_count(plan)


class Shards(Sequence[np.ndarray]):
    """Shards that are memory-mapped when asked for, one at a time: thousands may exceed the open files."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._open: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> Shards: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | Shards:
        if isinstance(index, slice):
            return Shards(self._paths[index])
        held = self._open  # once: another thread may ask for another shard meanwhile
        if held is None or held[0] != index:
            held = self._open = (index, _mapped(self._paths[index]))
        return held[1]


def content_hash(data: bytes) -> bytes:
    """The hash of a picture's or a caption's bytes, ``HASH_BYTES`` long."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def _mapped(path: Path) -> np.ndarray:
    try:
        shard: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise AuditError(f"{path}: cannot be opened ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise AuditError(f"{path}: damaged ({error}); delete it and run `cfbd embed` again") from error
    return shard


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def shard_count(plan: dict[str, Any]) -> int:
    """Shards that a plan of ``rows`` rows comes to."""
    return int(-(-plan["rows"] // plan["shard_size"]))


class ShardWriter:
    """Cut a stream of ready embeddings into shards of ``shard_size`` rows; a context manager."""

    def __init__(self, folder: EmbeddingFolder, shard_size: int) -> None:
        self._folder, self._shard_size = folder, shard_size
        self._number = self._held = 0
        self._image = self._text = np.empty((0, 0), np.float16)
        self.width = 0

    def append(self, image: np.ndarray, text: np.ndarray) -> None:
        """Add image and text embeddings (n, d), L2-normalised on the way."""
        if not self.width:
            self.width = image.shape[1]
            self._image, self._text = (np.empty((self._shard_size, self.width), np.float16) for _ in range(2))
        done = 0
        while done < len(image):
            part = slice(done, done + min(len(image) - done, self._shard_size - self._held))
            done = part.stop
            held = slice(self._held, self._held + part.stop - part.start)
            write_unit(image[part], self._image[held])
            write_unit(text[part], self._text[held])
            self._held = held.stop
            if self._held == self._shard_size:
                self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._held:
            self._flush()

    def _flush(self) -> None:
        rows = self._held
        self._folder.write(
            self._number, self._image[:rows], self._text[:rows], {"pairs": rows, "failures": []}
        )
        self._number, self._held = self._number + 1, 0


def write_unit(rows: np.ndarray, out: np.ndarray) -> None:
    """Write ``rows`` (n, d) float16 or float32, each at unit length, to ``out`` (n, d) float16.

    A few rows at a time, so that the wider copy stays in the cache.
    """
    wide = np.float32 if rows.dtype == np.float16 else np.float64  # a large vector's length fits in it
    size = max(1, BLOCK_VALUES // max(1, rows.shape[1]))
    room = np.empty((min(size, len(rows)), rows.shape[1]), wide)
    for start in range(0, len(rows), size):
        block = room[: len(rows) - start]
        np.copyto(block, rows[start : start + size])
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        block /= np.maximum(norms, np.finfo(wide).tiny)[:, None]
        out[start : start + size] = block
