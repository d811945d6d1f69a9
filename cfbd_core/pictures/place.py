"""Where a picture lies: in a file of its own, in a tar, or in a cell of a Parquet file.

Tables of pairs keep it as three columns (:data:`COLUMNS` of ``PAIR_SCHEMA``); one place is a :class:`PicturePlace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import pyarrow as pa

COLUMNS = ("image", "image_offset", "image_size")


class PicturePlace(NamedTuple):
    """Where one picture lies. ``file`` is empty where a pair has no picture.

    A file of its own has neither ``offset`` nor ``size``. In a tar, ``offset`` is the first of ``size`` bytes. In a
    Parquet file ``offset`` is the row, and ``size``, below 0, gives the column (see
    :func:`cfbd_core.pictures.image_files.parquet_code`). A tuple, as there may be millions of them, which are compared.
    """

    file: str
    offset: int | None = None
    size: int | None = None

    @classmethod
    def from_pair(cls, pair: Mapping[str, Any]) -> Self:
        """Return the place that a pair's ``COLUMNS`` say."""
        file, offset, size = (pair[name] for name in COLUMNS)
        return cls(file or "", offset, size)

    @property
    def is_own_file(self) -> bool:
        """Whether the file is the picture, and not one that holds many."""
        return self.offset is None

    @property
    def is_cell(self) -> bool:
        """Whether it is a cell of a Parquet file."""
        return self.size is not None and self.size < 0


NOWHERE = PicturePlace("")  # of a pair without a picture, or one whose picture is in memory


def places_of(pairs: pa.Table | pa.RecordBatch) -> list[PicturePlace]:
    """Return the place of each pair's picture."""
    files, offsets, sizes = (pairs.column(name).to_pylist() for name in COLUMNS)
    return list(map(PicturePlace, (file or "" for file in files), offsets, sizes))


def place_at(pairs: pa.Table, position: int) -> PicturePlace:
    """Return the place of the picture of one pair of a table."""
    return PicturePlace.from_pair({name: pairs[name][position].as_py() for name in COLUMNS})
