"""The folder ``embeddings/`` of an audit: fp16 shards, their stats, and the plan they were made by.

``img_emb_NNNN.npy`` and ``text_emb_NNNN.npy`` hold the embeddings of rows
``NNNN · shard_size`` and following, float16 (rows, d), L2-normalised; a row of zeros is a pair
that was skipped. ``stats_NNNN.json`` is written last: a shard with stats is whole, if its files are what the plan
says. Whatever is damaged here is named, and made again by ``cfbd embed``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, Self, TypedDict, overload

import numpy as np

from cfbd_core.config import READY_ENCODER
from cfbd_core.errors import AuditError
from cfbd_core.machine.checked_files import map_array, read_object
from cfbd_core.machine.files import write_array, write_json
from cfbd_core.machine.json_shapes import COUNT
from cfbd_core.pictures.digests import HASHES, PictureDigests
from cfbd_core.store.entries import EmbeddingEntry, ShardPlan
from cfbd_core.store.meta import EMBEDDING_SHAPE

PLAN_NAME = "plan.json"
STATS_SHAPE = {
    "pairs": COUNT,
    "failures": [{"row": COUNT, "reason": str, "detail": (str, None), "digest?": str}],
}
AGAIN = "run `cfbd embed` again"
HALF = np.dtype(np.float16)
BLOCK_VALUES = 2**17  # half a megabyte in single precision

Shape = tuple[int, int]  # rows, width


class Failure(TypedDict):
    """A pair whose picture could not be embedded; ``digest`` (hexadecimal) is of its bytes, empty where unread."""

    row: int
    reason: str
    detail: str | None
    digest: NotRequired[str]


class ShardStats(TypedDict):
    """What a finished shard holds; ready embeddings were not encoded here."""

    pairs: int
    images: NotRequired[int]
    captions: NotRequired[int]
    seconds: NotRequired[float]
    failures: list[Failure]


class EmbeddingFolder:
    """Paths and contents of the shards in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = PictureDigests(folder.with_name("pictures"))

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

    def fault(self, number: int, plan: ShardPlan) -> str | None:
        """Return what keeps shard ``number`` of a plan from being whole, the file first; None where nothing does."""
        stats, first = self.stats(number), number * plan["shard_size"]
        if stats is None:
            return f"{self.stats_path(number)}: missing or damaged"
        shape = shard_rows(number, plan), plan["width"]
        if any(failure["row"] not in range(first, first + shape[0]) for failure in stats["failures"]):
            return f"{self.stats_path(number)}: damaged (it tells of another shard's pairs)"
        faults = (_fault(path, HALF, shape) for path in (self.image_path(number), self.text_path(number)))
        path = self.hash_path(number)  # ready embeddings have none
        hashes_fault = [_fault(path, HASHES, (shape[0], 2))] if path.exists() else []
        return next((fault for fault in (*faults, *hashes_fault) if fault is not None), None)

    def plan(self) -> EmbeddingEntry | None:
        """Return the settings that the shards are made by, or None before the first or where they are damaged."""
        plan: EmbeddingEntry | None = _read_or_none(self.folder / PLAN_NAME, EMBEDDING_SHAPE)
        return plan

    def write_plan(self, plan: EmbeddingEntry) -> None:
        """Store the settings that the shards are made by."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / PLAN_NAME, plan)

    def stats(self, number: int) -> ShardStats | None:
        """Stats of a finished shard, else None."""
        stats: ShardStats | None = _read_or_none(self.stats_path(number), STATS_SHAPE)
        return stats

    def write(self, number: int, image: np.ndarray, text: np.ndarray, stats: ShardStats) -> None:
        """Write one shard: image and text (rows, d) as float16, then its stats."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_array(self.image_path(number), image.astype(np.float16, copy=False))
        write_array(self.text_path(number), text.astype(np.float16, copy=False))
        write_json(self.stats_path(number), stats)

    def images(self) -> Shards:
        """Image shards in order, float16 (rows, d); AuditError unless all are there."""
        return self._opened(self.image_path)

    def texts(self) -> Shards:
        """Caption shards in order, float16 (rows, d); AuditError unless all are there."""
        return self._opened(self.text_path)

    def hashes(self, number: int, plan: ShardPlan) -> np.ndarray | None:
        """Content hashes of shard ``number``, (rows, 2) of 16 bytes; None where there are none, or damaged ones."""
        try:
            return map_array(self.hash_path(number), HASHES, (shard_rows(number, plan), 2), AGAIN)
        except (FileNotFoundError, AuditError):
            return None

    def image_hashes(self, rows: np.ndarray) -> np.ndarray:
        """Return what the pictures of ``rows`` int64 (n,) were when first embedded: 16 bytes (n,), empty where unknown.

        Audits of older versions kept the hashes of their shards alone. Raises AuditError where a file is damaged.
        """
        known = self.pictures.digests(rows)
        return self._shard_hashes(rows) if known is None else known

    def image_stamps(self, rows: np.ndarray) -> np.ndarray:
        """Stamps of the images of ``rows`` int64 (n,), int64 (n, 3): zeros where there is no usable one."""
        return self.pictures.stamps(rows)

    def keep_digests(self, rows: int) -> None:
        """Make sure that ``pictures/`` is usable for an audit of ``rows`` rows; else it takes the shards' hashes."""
        are_kept = self.pictures.is_for(rows)
        self.pictures.begin(rows)
        plan = self.plan()
        if not are_kept and plan is not None and plan["rows"] == rows:
            for number in range(shard_count(plan)):
                hashes = self.hashes(number, plan)
                if hashes is not None:
                    self.pictures.keep(number * plan["shard_size"], hashes[:, 0])

    def clear(self) -> None:
        """Delete all shards."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def are_whole(self) -> bool:
        """Return whether every shard of the plan was finished, and is undamaged as far as its files' heads say."""
        plan = self.plan()
        return plan is not None and all(self.fault(one, plan) is None for one in range(shard_count(plan)))

    def check_whole(self) -> EmbeddingEntry:
        """Return the plan; AuditError that names what is missing or damaged, and the way out."""
        plan = self.plan()
        if plan is None:
            path = self.folder / PLAN_NAME
            message = f"{path}: damaged" if path.exists() else f"{self.folder}: the embeddings are not whole"
            raise AuditError(
                f"{message}; run `cfbd embed` again, or `cfbd ingest` where they came with the source"
            )
        faults = (self.fault(number, plan) for number in range(shard_count(plan)))
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is not None:
            raise AuditError(f"{fault}; {way_out(plan)}")
        return plan

    def _opened(self, path: Callable[[int], Path]) -> Shards:
        shapes = enumerate(shard_shapes(self.check_whole()))
        return Shards([(path(number), shape) for number, shape in shapes])

    def _shard_hashes(self, rows: np.ndarray) -> np.ndarray:
        """Return the shards' own hashes of images, 16 bytes (n,), empty where there is no such file."""
        hashes = np.zeros(len(rows), HASHES)
        plan = self.plan()
        if plan is None:
            return hashes
        number_of = rows // plan["shard_size"]
        number_of[(rows < 0) | (rows >= plan["rows"])] = -1
        for number in np.unique(number_of[number_of >= 0]).tolist():
            path, mine = self.hash_path(number), number_of == number
            if path.exists():  # ready embeddings have none
                stored = map_array(path, HASHES, (shard_rows(number, plan), 2), way_out(plan))
                hashes[mine] = stored[rows[mine] - number * plan["shard_size"], 0]
        return hashes


class Shards(Sequence[np.ndarray]):
    """Shards that are memory-mapped when asked for, one at a time: thousands may exceed the open files.

    Each is given as its file and its shape (rows, d); whoever asks for one that is damaged gets AuditError.
    """

    def __init__(self, files: Sequence[tuple[Path, Shape]]) -> None:
        self._files = files
        self._open: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> Shards: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | Shards:
        if isinstance(index, slice):
            return Shards(self._files[index])
        open_shard = self._open  # once: another thread may ask for another shard meanwhile
        if open_shard is None or open_shard[0] != index:
            open_shard = self._open = (index, _mapped(*self._files[index]))
        return open_shard[1]


def _mapped(path: Path, shape: Shape) -> np.ndarray:
    try:
        return map_array(path, HALF, shape, AGAIN)
    except FileNotFoundError as error:
        raise AuditError(f"{path}: missing; {AGAIN}") from error


def _read_or_none(path: Path, shape: Any) -> Any:
    try:
        return read_object(path, shape, AGAIN)
    except (FileNotFoundError, AuditError):
        return None


def shard_count(plan: ShardPlan) -> int:
    """Shards that a plan of ``rows`` rows comes to."""
    return -(-plan["rows"] // plan["shard_size"])


def shard_rows(number: int, plan: ShardPlan) -> int:
    """Return the number of rows of shard ``number`` of a plan."""
    return min(plan["shard_size"], plan["rows"] - number * plan["shard_size"])


def shard_shapes(plan: ShardPlan) -> Iterator[Shape]:
    """Yield rows and width of each shard of a plan, in order."""
    for number in range(shard_count(plan)):
        yield shard_rows(number, plan), plan["width"]


def way_out(plan: EmbeddingEntry) -> str:
    """Return how embeddings of a plan are made again."""
    again = "ingest` the same source" if plan["encoder"] == READY_ENCODER else "embed`"
    return f"run `cfbd {again} again"


def _fault(path: Path, kind: np.dtype[Any], shape: Shape) -> str | None:
    """Return what is wrong with one of a shard's arrays, as far as its head and its length say; None if nothing."""
    try:
        map_array(path, kind, shape, "")
    except FileNotFoundError:
        return f"{path}: missing"
    except AuditError as error:
        return str(error).removesuffix("; ")
    return None


class ShardWriter:
    """Cut a stream of ready embeddings into shards of ``shard_size`` rows; a context manager."""

    def __init__(self, folder: EmbeddingFolder, shard_size: int) -> None:
        self._folder, self.shard_size = folder, shard_size
        self._number = self._filled = 0
        self._image = self._text = np.empty((0, 0), np.float16)
        self.width = 0

    def append(self, image: np.ndarray, text: np.ndarray) -> None:
        """Add image and text embeddings (n, d), L2-normalised on the way."""
        if not self.width:
            self.width = image.shape[1]
            self._image, self._text = (np.empty((self.shard_size, self.width), np.float16) for _ in range(2))
        done = 0
        while done < len(image):
            part = slice(done, done + min(len(image) - done, self.shard_size - self._filled))
            done = part.stop
            rows_here = slice(self._filled, self._filled + part.stop - part.start)
            write_unit(image[part], self._image[rows_here])
            write_unit(text[part], self._text[rows_here])
            self._filled = rows_here.stop
            if self._filled == self.shard_size:
                self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._filled:
            self._flush()

    def _flush(self) -> None:
        rows = self._filled
        self._folder.write(
            self._number, self._image[:rows], self._text[:rows], {"pairs": rows, "failures": []}
        )
        self._number, self._filled = self._number + 1, 0


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
