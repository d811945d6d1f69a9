"""What every reader of pairs gives: batches of one fixed schema, and what it had to leave out and why."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt
import pyarrow as pa

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.sources.cells import printable

BATCH_ROWS = 8192

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
        if self.image_root is not None and not Path(self.image_root).is_dir():
            raise SourceError(f"--image-root {self.image_root} is not a folder.")

    def to_dict(self) -> dict[str, str | None]:
        """Return the options as JSON values."""
        root = None if self.image_root is None else str(Path(self.image_root).absolute())
        return asdict(self) | {"image_root": root}


@dataclass(frozen=True)
class Skip:
    """One row, record or file that gave no pair: a short stable reason, and the detail for a person.

    Its texts are :func:`~cfbd_core.sources.cells.printable`, since sources are written by strangers.
    """

    key: str | None
    where: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("key", "where", "detail"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None else printable(value))


@dataclass
class Batch:
    """At most ``BATCH_ROWS`` pairs, what was skipped among them, and their embeddings if they came along.

    ``pairs`` has ``PAIR_SCHEMA``; the embeddings are aligned with its rows.
    """

    pairs: pa.RecordBatch
    skips: list[Skip] = field(default_factory=list)
    image_emb: Embeddings | None = None
    text_emb: Embeddings | None = None


class Source(ABC):
    """A place pairs come from. A format is one subclass in a file of its own and one registry line.

    ``paths`` are the files that :meth:`find` returned. Reading twice gives the same batches.
    """

    name: ClassVar[str]
    looks_for: ClassVar[str]  # for the error message when nothing matches
    has_embeddings: bool = False

    def __init__(self, paths: list[Path], options: SourceOptions) -> None:
        self.paths = paths
        self.options = options

    @classmethod
    @abstractmethod
    def find(cls, path: Path) -> list[Path]:
        """Return what this format would read at ``path`` (a file or a folder), sorted; empty if nothing."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Yield the pairs in the source's own order. Raises SourceError where it cannot be read."""

    def files(self) -> list[Path]:
        """Return every file whose change would change the pairs (not pictures that a table points to)."""
        return self.paths


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


def files_with(path: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return ``path`` if it is a file that ends so, or the folder's files that do (else those below it)."""
    endings = tuple(suffixes)

    def fits(name: str) -> bool:
        return name.lower().endswith(endings) and not name.startswith((".", "_"))

    if path.is_file():
        return [path] if path.name.lower().endswith(endings) else []
    direct = sorted(child for child in path.iterdir() if fits(child.name) and child.is_file())
    if direct:
        return direct
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names if fits(name))
    return sorted(below)


def only_skips(skips: list[Skip]) -> Batch:
    """Return a batch of no pairs."""
    return Batch(pa.RecordBatch.from_pylist([], schema=PAIR_SCHEMA), skips)
