"""What the pictures beside ready embeddings are, taken at the ingest: no embedding will read them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.digests import HASHES, PictureDigests
from cfbd_core.pictures.picture import digest_at
from cfbd_core.pictures.place import places_of


class SourceDigests:
    """Hashes of the pictures that lie in a source's own tars and tables, batch by batch, empty for all others.

    Pictures in files of their own are not read: they are many, and may be far.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def update(self, pairs: pa.RecordBatch) -> None:
        """Take in the next pairs (columns of ``PAIR_SCHEMA``)."""
        places = places_of(pairs)
        inside = [row for row, place in enumerate(places) if place.file and not place.is_own_file]
        digests = np.zeros(pairs.num_rows, HASHES)
        if inside:
            with ThreadPoolExecutor(usable_cores()) as pool:
                digests[inside] = list(pool.map(digest_at, [places[row] for row in inside]))
        self._parts.append(digests)

    def keep(self, pictures: PictureDigests) -> None:
        """Keep them, if there are any."""
        if any((part != b"").any() for part in self._parts):
            digests = np.concatenate(self._parts)
            pictures.begin(len(digests))
            pictures.keep(0, digests)
