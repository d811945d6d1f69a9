"""What every reader of pairs gives: batches of one fixed schema, and what it had to leave out and why."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt
import pyarrow as pa

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.sources.cells import is_unicode, printable
from cfbd_core.sources.columns import NotPairs
from cfbd_core.sources.endings import TABLES
from cfbd_core.sources.rest import Shown, count_rest
from cfbd_core.sources.tree import Place
from cfbd_core.sources.unread import Unread

if TYPE_CHECKING:
    from cfbd_core.store.entries import SourceOptionsEntry

BATCH_ROWS = 8192
LONGEST_TEXT = 2000  # letters of a skip's key, place or detail

PAIR_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("image", pa.string()),  # null only where ready embeddings come with the pair
        pa.field("image_offset", pa.int64()),  # in a tar: first byte; in a Parquet file: row
        pa.field("image_size", pa.int64()),  # in a tar: bytes; in a Parquet file: < 0
        pa.field("caption", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("poisoned", pa.bool_()),
        pa.field("attack", pa.string()),
        pa.field("target", pa.string()),
        pa.field("origin_key", pa.string()),
        pa.field("origin_caption", pa.string()),
    ]
)
TEXT_FACTS = ("label", "attack", "target", "origin_key", "origin_caption")

Embeddings = npt.NDArray[Any]  # (rows, width) float16 or float32


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source; ``None`` means: guess from the usual names and places.

    ``captions``: "first" takes one caption a record, "all" makes every caption a pair (``KEY#0``, …).
    """

    format: str = "auto"
    image_col: str | None = None
    caption_col: str | None = None
    label_col: str | None = None
    image_root: str | Path | None = None
    captions: str = "first"

    def __post_init__(self) -> None:
        if self.captions not in ("first", "all"):
            raise ParameterError(f"--captions {self.captions!r} is neither 'first' nor 'all'.")
        if self.image_root is not None and not os.path.isdir(self.image_root):
            raise SourceError(f"--image-root {self.image_root} is not a folder.")
        if not is_unicode(str(self.image_root)):
            raise SourceError(f"--image-root {str(self.image_root)!r} is not UTF-8; rename it.")

    def to_dict(self) -> SourceOptionsEntry:
        """Return the options as JSON values."""
        return {
            "format": self.format,
            "image_col": self.image_col,
            "caption_col": self.caption_col,
            "label_col": self.label_col,
            "image_root": None if self.image_root is None else str(Path(self.image_root).absolute()),
            "captions": self.captions,
        }


@dataclass(frozen=True)
class Skip:
    """One row, record or file that gave no pair: a short stable reason, and the detail for a person.

    Its texts are :func:`~cfbd_core.sources.cells.printable` and short, since sources are written by strangers.
    """

    key: str | None
    where: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("key", "where", "detail"):
            value = getattr(self, name)
            if value is not None:
                cut = value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
                object.__setattr__(self, name, printable(cut))


@dataclass
class Batch:
    """At most ``BATCH_ROWS`` pairs, what was skipped among them, and their embeddings if they came along.

    ``pairs`` has ``PAIR_SCHEMA``; the embeddings are aligned with its rows. ``shard`` names the file they are of,
    for keys that several files have (:func:`repeated_key`).
    """

    pairs: pa.RecordBatch
    skips: list[Skip] = field(default_factory=list)
    image_emb: Embeddings | None = None
    text_emb: Embeddings | None = None
    shard: str = ""


class Source(ABC):
    """A place pairs come from. A format is one subclass in a file of its own and one registry line.

    ``paths`` are the files that :meth:`find` returned for ``places``, ``missing`` those that the user named and that
    are not there. Reading twice gives the same batches; ``unread`` is what was seen and not read, once all are read.
    """

    name: ClassVar[str]
    looks_for: ClassVar[str]  # for the error message when nothing matches
    has_embeddings: bool = False
    guard: Callable[[], AbstractContextManager[None]] = (
        nullcontext  # reports what a reader of another package raises
    )

    def __init__(
        self,
        paths: list[Path],
        options: SourceOptions,
        places: Sequence[Place] = (),
        missing: Sequence[Path] = (),
    ) -> None:
        self.paths = paths
        self.options = options
        self.places = places
        self.missing = missing
        self.unread = Unread()
        self.names = relative_names(paths)
        self.shown = Shown() if any(place.is_folder for place in places) else None

    @classmethod
    @abstractmethod
    def find(cls, place: Place) -> list[Path]:
        """Return what this format would read at ``place``, in its order; empty if nothing."""

    @abstractmethod
    def read(self) -> Iterator[Batch]:
        """Yield the pairs in the source's own order. Raises SourceError where it cannot be read."""

    def batches(self) -> Iterator[Batch]:
        """Yield the pairs, and count what is not read. Raises SourceError where the source cannot be read."""
        self.unread = Unread()
        with self.guard():
            yield from self._batches()

    def _batches(self) -> Iterator[Batch]:
        if self.missing:
            yield only_skips([Skip(None, str(path), "missing file", "no such file") for path in self.missing])
        for batch in self.read():
            if self.guard is not nullcontext and not batch.pairs.schema.equals(PAIR_SCHEMA):
                raise TypeError(
                    f"gave pairs with the columns {batch.pairs.schema.names}, not those of PAIR_SCHEMA"
                )
            yield batch
        self.count_rest()

    def files(self) -> list[Path]:
        """Return every file whose change would change the pairs (not pictures that a table points to)."""
        return self.paths

    def count_rest(self) -> None:
        """Count what else lies in the places that were read."""
        read = {os.fspath(path) for path in self.files()}
        count_rest(self.places, read, None if self.has_embeddings else self.shown, self.unread)

    def each_table(self, read: Callable[[Path], Iterator[Batch]]) -> Iterator[Batch]:
        """Yield the batches of every file; one that is no table of pairs is counted, unless none is one."""
        refused: list[NotPairs] = []
        for path in self.paths:
            try:
                yield from read(path)
            except NotPairs as error:
                refused.append(error)
                self.unread.add("table without pairs", self.names[path])
        if refused and len(refused) == len(self.paths):
            raise refused[0]

    def shard(self, path: Path) -> str:
        """Name a file for keys that several files have: its relative path without its ending."""
        name = self.names[path]
        return next((name[: -len(end)] for end in (*TABLES, ".json") if name.lower().endswith(end)), name)


def repeated_key(key: str, shard: str, first: str, nth: int) -> str:
    """Name a pair whose key another has: the ``nth`` of this key in its shard; ``first`` holds the key's first pair.

    The first keeps its key, whatever comes after it, so that decisions on it stay with it.
    """
    return (key if shard == first else f"{shard}/{key}") + (f"~{nth}" if nth > 1 else "")


def relative_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return how each file is called in messages: its path from the folder that holds them all."""
    root = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {path: os.path.relpath(path, root) for path in paths}


def fingerprint(source: Source) -> str:
    """Return a sha256 over the relative names, sizes and modification times of the source's files."""
    files = sorted(path.absolute() for path in source.files())
    root = os.path.commonpath([path.parent for path in files]) if files else ""
    digest = hashlib.sha256(source.name.encode())
    for path in files:
        status = path.stat()
        line = f"\n{os.path.relpath(path, root)}\t{status.st_size}\t{status.st_mtime_ns}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def only_skips(skips: list[Skip]) -> Batch:
    """Return a batch of no pairs."""
    return Batch(pa.RecordBatch.from_pylist([], schema=PAIR_SCHEMA), skips)
