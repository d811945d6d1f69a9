"""A clip-retrieval folder of ready embeddings: ``img_emb/``, ``text_emb/`` and ``metadata/``, or all flat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cfbd_core.errors import SourceError
from cfbd_core.sources.base import Batch, Source, SourceOptions
from cfbd_core.sources.cells import as_text
from cfbd_core.sources.parquet import open_parquet
from cfbd_core.sources.parquet_bounds import text_batches
from cfbd_core.sources.paths import BelievedPaths
from cfbd_core.sources.rows import to_batches
from cfbd_core.sources.tables import TableName, arrow_rows, check_types, image_root, layout, refused_rows
from cfbd_core.sources.tree import Place
from cfbd_core.sources.vectors import different_widths, float_rows
from cfbd_core.wording import in_one_line

KINDS = {"img_emb": "npy", "text_emb": "npy", "metadata": "parquet"}
SHARD = re.compile(r"(img_emb|text_emb|metadata)_(\d+)\.(npy|parquet)")
ADVICE = "run `clip-retrieval inference` with --enable_text=True --enable_metadata=True"


class ClipRetrievalSource(Source):
    """Shards of (n, d) image and text embeddings, with a table of the captions beside each."""

    name = "clip-retrieval"
    looks_for = "a folder with img_emb_*.npy, text_emb_*.npy and metadata_*.parquet"
    has_embeddings = True

    def __init__(self, paths: list[Path], options: SourceOptions, *parts: Any) -> None:
        super().__init__(paths, options, *parts)
        self.shards = _shards(paths)

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return all shard files of the folder and below, if there are image embeddings in it or its ``img_emb``."""
        files = place.files(lambda name: SHARD.fullmatch(name) is not None) if place.is_folder else []
        is_one = any(file.name.startswith("img_emb") and _base(file) == place.path for file in files)
        return sorted(files, key=lambda file: (_base(file) != place.path, file)) if is_one else []

    def read(self) -> Iterator[Batch]:
        """Yield the pairs shard by shard; without a key column the n-th row of all has the key n."""
        first = 0
        first_of: dict[str, tuple[str, int]] = {}
        for shard in self.shards:
            arrays = {kind: _open(shard[kind]) for kind in ("img_emb", "text_emb")}
            table = open_parquet(shard["metadata"])
            for kind, array in arrays.items():
                width, rows = array.shape[1], table.metadata.num_rows
                where, expected = first_of.setdefault(kind, (str(shard[kind]), width))
                if width != expected:
                    raise different_widths(str(shard[kind]), width, where, expected)
                if len(array) != rows:
                    raise SourceError(
                        f"{shard[kind]} has {len(array)} rows and {shard['metadata']} has {rows}; "
                        "they are not of the same run."
                    )
            if first_of["img_emb"][1] != first_of["text_emb"][1]:
                raise different_widths(*first_of["text_emb"], *first_of["img_emb"])
            try:
                yield from self._read(shard["metadata"], table, arrays, first)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{shard['metadata']} is damaged ({in_one_line(error, 200)}).") from None
            first += table.metadata.num_rows

    def _read(
        self, path: Path, table: Any, arrays: dict[str, npt.NDArray[Any]], first: int
    ) -> Iterator[Batch]:
        names, name = table.schema_arrow.names, self.names[path]
        columns = layout(names, self.options, TableName(str(path), name), self.unread, image_needed=False)
        check_types(table.schema_arrow, columns, self.options, str(path), self.unread)
        if columns.list_caption(table.schema_arrow) and self.options.captions == "all":
            raise SourceError(f"{path}: a ready text embedding belongs to one caption; use --captions first.")
        paths = BelievedPaths(image_root(self.options, path), named=self.options.image_root is not None)
        start = 0
        texts = columns.columns()
        for batch in text_batches(table, path, texts, texts):
            if isinstance(batch, int):
                yield from to_batches(refused_rows(batch, name, start), self.options.captions, self.unread)
                start += batch
                continue
            rows = arrow_rows(batch, columns, name, self.shard(path), first + start, start)
            if columns.image is not None:
                rows.image = paths.resolve(as_text(batch.column(columns.image))[0])
            part = slice(start, start + batch.num_rows)
            rows.image_emb, rows.text_emb = (float_rows(array[part]) for array in arrays.values())
            yield from to_batches(rows, self.options.captions, self.unread)
            start += batch.num_rows


def _shards(paths: list[Path]) -> list[dict[str, Path]]:
    """Group the files by run and number; raises SourceError if one of a shard is missing.

    Runs differ by their folder; in one folder, files of one number (0, 0000) or layout are of the first.
    """
    parts: dict[tuple[Path, int], dict[str, list[Path]]] = {}
    for path in paths:
        match = SHARD.fullmatch(path.name)
        if match:
            parts.setdefault((_base(path), int(match[2])), {}).setdefault(match[1], []).append(path)
    bases = list(dict.fromkeys(base for base, _ in parts))
    shards: dict[tuple[int, int, int], dict[str, Path]] = {}
    for (base, number), files in parts.items():
        for run in range(max(map(len, files.values()))):
            shard = {kind: of_kind[run] for kind, of_kind in files.items() if run < len(of_kind)}
            for kind, suffix in KINDS.items():
                if kind not in shard:
                    beside = next(iter(shard.values()))
                    raise SourceError(f"{beside} has no {kind}_{number}.{suffix} to go with it; {ADVICE}.")
            shards[bases.index(base), run, number] = shard
    return [shards[place] for place in sorted(shards)]


def _base(file: Path) -> Path:
    """Return the folder of a run, which may hold one for each kind of file."""
    return file.parent.parent if file.parent.name in KINDS else file.parent


def _open(path: Path) -> npt.NDArray[np.floating[Any]]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (
        Exception
    ) as error:  # numpy parses the header as Python, and a damaged one may give any of its errors
        raise SourceError(f"{path} is not a whole .npy file ({in_one_line(error, 200)}).") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise SourceError(f"{path} holds {array.dtype} of shape {array.shape}, not rows of floats.")
    return array
