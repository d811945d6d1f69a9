"""Pictures of an audit's pairs: where each lies, and what it was when it was embedded.

A place says nothing of what lies there today: a tar or a table may have been written again in another order, a file
replaced. So whoever reads a picture of an audit reads a :class:`Picture`, which knows the hash of the bytes that were
embedded and gives no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from cfbd_core.pictures.digests import as_hashes, content_hash
from cfbd_core.pictures.images import CHANGED, BadImage, read_image_bytes
from cfbd_core.pictures.place import NOWHERE, PicturePlace, places_of

MOVED = "say where the source is now: `cfbd ingest NEWPLACE --audit DIR`"
ANEW = "put it back as it was, or audit it as it is now in a folder of its own (--audit DIR)"

NO_ROW = -1  # of a pair that is not the audit's: nothing is known of its picture


class Picture(NamedTuple):
    """Where a picture lies, and the hash of what was embedded; empty where unknown."""

    place: PicturePlace
    digest: bytes = b""

    @property
    def file(self) -> str:
        """The file that it lies in; empty where there is no picture."""
        return self.place.file

    def read(self) -> bytes:
        """Return the encoded bytes. Raises BadImage: ``CHANGED`` where they are not those that were embedded."""
        if not self.file:
            raise BadImage("missing file", "no image came with the pair")
        data = read_image_bytes(self.place)
        if self.digest and content_hash(data) != self.digest:
            raise BadImage(CHANGED, self.file)
        return data


NO_PICTURE = Picture(NOWHERE)


def digest_at(place: PicturePlace) -> bytes:
    """Return the hash of the picture at a place; empty where it cannot be read: who needs it reports that."""
    try:
        return content_hash(read_image_bytes(place))
    except BadImage:
        return b""


class KnownHashes(Protocol):
    """Whoever knows what pictures were when they were embedded."""

    def image_hashes(self, rows: np.ndarray) -> np.ndarray:
        """Hashes of the pictures of ``rows`` int64 (n,): 16 bytes (n,), empty where unknown."""
        ...


def pictures_of(
    known: KnownHashes, pairs: pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """The pictures of pairs given as rows of the audit, a table or mappings. Raises AuditError: damaged hashes."""
    if isinstance(pairs, (pa.Table, pa.RecordBatch)):
        rows = pairs.column("row").to_numpy()
        places = places_of(pairs)
    else:
        rows = np.array([pair.get("row", NO_ROW) for pair in pairs], np.int64)
        places = [PicturePlace.from_pair(pair) for pair in pairs]
    return list(map(Picture, places, as_hashes(known.image_hashes(rows))))
