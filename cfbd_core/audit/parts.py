"""A source read into Parquet parts, one a batch, from where the store takes them in or compares them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cfbd_core.pictures.digests import HASH_BYTES
from cfbd_core.sources import Batch, Source

READ_AHEAD = 3  # batches


def read_parts(source: Source, parts: Path, audit: Path) -> Iterator[Batch]:
    """Write the pairs of a source to ``parts`` (a folder), numbered in reading order; yields each batch once written.

    Images inside the folder ``audit`` are named from there. Raises SourceError.
    """
    first = 0
    for number, batch in enumerate(read_ahead(source)):
        _write(parts / f"pairs_{number:06d}.parquet", batch, first, audit)
        first += batch.pairs.num_rows
        yield batch


class EmbeddingsHash:
    """A hash of the ready embeddings that come with a source, by a sum of each row: one of all bytes takes too long."""

    def __init__(self) -> None:
        self._kinds = hashlib.blake2b(digest_size=HASH_BYTES), hashlib.blake2b(digest_size=HASH_BYTES)

    def update(self, batch: Batch) -> None:
        """Take a batch in; how the rows are cut into batches does not matter."""
        for kind, vectors in zip(self._kinds, (batch.image_emb, batch.text_emb), strict=True):
            if vectors is not None:
                kind.update(_row_sums(np.ascontiguousarray(vectors)).data)

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return "".join(kind.hexdigest() for kind in self._kinds)


def _row_sums(vectors: np.ndarray) -> np.ndarray:
    """The sum of each row's bits, taken as whole numbers of eight bytes where they are that many, uint64 (n,)."""
    bits = vectors.view(np.uint8).reshape(len(vectors), -1)
    words = bits.view(np.uint64) if bits.shape[1] % 8 == 0 else bits.astype(np.uint64)
    sums: np.ndarray = np.einsum("ij->i", words)
    return sums


def read_ahead(source: Source) -> Iterator[Batch]:
    """Yield the batches of a source, read a few ahead in a thread of its own, while others are being written."""
    batches = source.batches()
    reader = ThreadPoolExecutor(1)
    try:
        coming = deque(reader.submit(next, batches, None) for _ in range(READ_AHEAD))
        while (batch := coming.popleft().result()) is not None:
            coming.append(reader.submit(next, batches, None))
            yield batch
    finally:
        reader.shutdown(cancel_futures=True)


def _write(path: Path, batch: Batch, first_row: int, audit: Path) -> None:
    inside = f"{audit.resolve()}/"
    image = batch.pairs.column("image")
    is_inside = pc.fill_null(pc.starts_with(image, inside), False)
    relative = pc.if_else(is_inside, pc.utf8_slice_codeunits(image, len(inside)), image)
    pairs = batch.pairs.set_column(batch.pairs.schema.get_field_index("image"), "image", relative)
    rows = pa.array(np.arange(first_row, first_row + batch.pairs.num_rows, dtype=np.int64))
    table = pa.Table.from_batches([pairs])
    pq.write_table(table.append_column("row", rows), path, compression="zstd")
