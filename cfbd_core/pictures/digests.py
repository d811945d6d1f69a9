"""The folder ``pictures/`` of an audit: what every picture was when it was first embedded.

``digests.npy`` holds the hash of each row's picture, 16 bytes (rows,), empty where none is known; ``stamps.npy`` the
stamp of its file, int64 (rows, 3), see :mod:`cfbd_core.machine.stamps`. They lie apart from ``embeddings/``, which may
be deleted and made again: a picture that was replaced meanwhile still differs from the one that the audit speaks of.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from cfbd_core.errors import AuditError
from cfbd_core.machine.checked_files import map_array
from cfbd_core.machine.files import written_beside

HASH_BYTES = 16
HASHES, STAMPS = np.dtype(f"S{HASH_BYTES}"), np.dtype(np.int64)
DAMAGED = "delete it and run `cfbd embed` again, which takes the hashes of its embeddings"


def content_hash(data: bytes) -> bytes:
    """Return the hash of a picture's or a caption's bytes, ``HASH_BYTES`` long."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def as_hashes(column: np.ndarray) -> list[bytes]:
    """Hashes of 16 bytes (n,) as bytes, empty where there is none; numpy drops the zeros at a hash's end."""
    return [value.ljust(HASH_BYTES, b"\0") if value else b"" for value in column.tolist()]


class PictureDigests:
    """The digests and stamps in ``folder``; each method is given or gives rows of the audit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digest_path = folder / "digests.npy"
        self.stamp_path = folder / "stamps.npy"

    def digests(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the hash of each of ``rows`` int64 (n,): 16 bytes (n,), empty where unknown; None before the first.

        Raises AuditError where the file is damaged.
        """
        try:
            stored = map_array(self.digest_path, HASHES, (None,), DAMAGED)
        except FileNotFoundError:
            return None
        return _at(stored, rows)

    def stamps(self, rows: np.ndarray) -> np.ndarray:
        """Return the stamp of each of ``rows`` int64 (n,): int64 (n, 3), zeros where there is no usable one."""
        try:
            return _at(map_array(self.stamp_path, STAMPS, (None, 3), DAMAGED), rows)
        except (FileNotFoundError, AuditError):
            return np.zeros((len(rows), 3), STAMPS)

    def is_for(self, rows: int) -> bool:
        """Return whether there is a usable file of digests for an audit of ``rows`` rows."""
        return _is_whole(self.digest_path, HASHES, (rows,))

    def begin(self, rows: int) -> None:
        """Make room for ``rows`` rows, nothing known of any; what is usable stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, kind, shape in (
            (self.digest_path, HASHES, (rows,)),
            (self.stamp_path, STAMPS, (rows, 3)),
        ):
            if not _is_whole(path, kind, shape):
                with written_beside(path) as beside:
                    np.lib.format.open_memmap(beside, "w+", kind, shape).flush()

    def keep(self, first: int, digests: np.ndarray, stamps: np.ndarray | None = None) -> None:
        """Keep what is known of the rows from ``first`` on: 16 bytes (n,), int64 (n, 3); empty ones change nothing.

        A digest is 16 bytes in one page of the file: a process that is killed leaves whole ones.
        """
        mine = digests != b""
        _put(self.digest_path, first, digests, mine)
        if stamps is not None:
            _put(self.stamp_path, first, stamps, mine)


def _put(path: Path, first: int, values: np.ndarray, mine: np.ndarray) -> None:
    """Write those of ``values`` that are ``mine`` from row ``first`` on; not through a map, which a full disk kills."""
    stored = np.lib.format.open_memmap(path, "r")
    whole = np.array(stored[first : first + len(values)])
    whole[mine] = values[mine]
    with path.open("r+b") as file:
        file.seek(stored.offset + first * stored.strides[0])
        file.write(whole.data)


def _at(stored: np.ndarray, rows: np.ndarray) -> np.ndarray:
    values = np.zeros((len(rows), *stored.shape[1:]), stored.dtype)
    inside = (rows >= 0) & (rows < len(stored))
    values[inside] = stored[rows[inside]]
    return values


def _is_whole(path: Path, kind: DTypeLike, shape: tuple[int, ...]) -> bool:
    try:
        map_array(path, kind, shape, DAMAGED)
    except (FileNotFoundError, AuditError):
        return False
    return True
