"""From the paths a table holds to files on disk."""

from __future__ import annotations

import os
import stat

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.sources.columns import only_urls
from cfbd_core.sources.rows import Faults

ADDRESSES = ("http://", "https://")


class ImagePaths:
    """Turns an image column into absolute paths; every distinct path is looked up once a batch."""

    def __init__(self, root: str | os.PathLike[str], column: str = "", where: str = "") -> None:
        self.root = os.path.abspath(root)
        self._column = column
        self._where = where
        self._any_file = False

    def resolve(self, paths: pa.Array) -> tuple[pa.Array, Faults]:
        """Return absolute paths and the rows whose file is missing or empty.

        Raises SourceError if all that the column has shown so far are addresses.
        """
        encoded = paths.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        self._any_file = self._any_file or any(not name.startswith(ADDRESSES) for name in names)
        if names and not self._any_file:
            raise only_urls(self._column, self._where)
        found = [self.look(name) for name in names]
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        reasons = [*(why for _, why in found), ("missing image", "no path")]  # the last is for null, code -1
        bad = np.array([why is not None for why in reasons], np.bool_)[codes]
        faults: Faults = {int(row): reasons[codes[row]] or ("", "") for row in np.flatnonzero(bad)}
        return pa.array([path for path, _ in found], pa.string()).take(encoded.indices), faults

    def look(self, path: str) -> tuple[str | None, tuple[str, str] | None]:
        """Return the absolute path of a picture and, if it cannot be used, (reason, detail)."""
        if not path.strip():
            return None, ("missing image", "no path")
        if path.startswith(ADDRESSES):
            return None, ("missing image", f"{path} is an address, not a file")
        full = os.path.normpath(os.path.join(self.root, path))
        try:
            status = os.stat(full)
        except (OSError, ValueError) as error:
            return None, ("missing image", f"{full}: {getattr(error, 'strerror', None) or error}")
        if not stat.S_ISREG(status.st_mode):
            return None, ("missing image", f"{full} is not a file")
        return full, None if status.st_size else ("empty image", full)


class BelievedPaths:
    """Absolute paths without a look at every file: with ready embeddings pictures are only for show.

    A relative path counts if ``root`` was named by the user or holds the first such picture; else it
    becomes null, and so do addresses.
    """

    def __init__(self, root: str | os.PathLike[str], named: bool) -> None:
        self.root = os.path.abspath(root)
        self._holds: bool | None = True if named else None

    def resolve(self, paths: pa.Array) -> pa.Array:
        """Return absolute paths, or null."""
        address = pc.match_substring_regex(paths, "^[a-zA-Z][a-zA-Z0-9+]*://")
        absolute = pc.starts_with(paths, "/")
        relative = paths.filter(pc.invert(pc.or_(absolute, address)))
        if self._holds is None and len(relative.drop_null()):
            first = relative.drop_null()[0].as_py()
            self._holds = os.path.isfile(os.path.join(self.root, first.replace("\0", "")))
        joined = pc.binary_join_element_wise(pa.scalar(self.root), paths, "/")
        nothing = pa.scalar(None, pa.string())
        found = pc.if_else(absolute, paths, joined if self._holds else nothing)
        return pc.if_else(pc.or_(address, pc.equal(paths, "")), nothing, found)
