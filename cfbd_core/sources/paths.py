"""From the paths a table holds to files on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.sources.columns import only_urls
from cfbd_core.sources.rest import Shown
from cfbd_core.sources.rows import Faults

ADDRESSES = ("http://", "https://")
USUAL_FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos", "dataset")  # how their names may end

Look = tuple[str | None, tuple[str, str] | None]  # a picture's path; why it cannot be used


class ImageColumn(NamedTuple):
    """A table's column of images, as an error names it: its name, and the path of the table."""

    name: str
    table: str


class ImagePaths:
    """Turns an image column into absolute paths; every distinct path is looked up once a batch.

    They start at ``root``, or, unless ``is_named`` by the user, in a folder of a usual name below it, where none of
    the first lies in ``root`` itself. Pictures that are found are put into ``shown``.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        column: ImageColumn | None = None,
        *,
        is_named: bool = True,
        shown: Shown | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.root = os.path.abspath(root)
        self._is_sure = is_named
        self._column = column
        self._shown = shown
        self._note = note
        self._any_file = False

    def resolve(self, paths: pa.Array) -> tuple[pa.Array, Faults]:
        """Return absolute paths and the rows whose file is missing or empty.

        Raises SourceError if all that the column has shown so far are addresses.
        """
        encoded = paths.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        self._any_file = self._any_file or any(not name.startswith(ADDRESSES) for name in names)
        if names and not self._any_file:
            raise only_urls(*(self._column or ("", "")))
        places = self._look_all(names)
        if self._shown is not None:
            self._shown.add([path for path, _ in places])
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        reasons = [*(why for _, why in places), ("missing image", "no path")]  # the last is for null, code -1
        bad = np.array([why is not None for why in reasons], np.bool_)[codes]
        faults: Faults = {int(row): reasons[codes[row]] or ("", "") for row in np.flatnonzero(bad)}
        return pa.array([path for path, _ in places], pa.string()).take(encoded.indices), faults

    def _look_all(self, names: list[str]) -> list[Look]:
        places = [self.look(name) for name in names]
        if self._is_sure or not names:
            return places
        if not any(path for path, _ in places):
            folders = [folder for folder in picture_folders(self.root) if _holds(folder, names[0])]
            if len(folders) == 1:
                self.root = folders[0]
                if self._note:
                    self._note(f"pictures are read from {self.root}; --image-root names another folder")
                places = [self.look(name) for name in names]
        self._is_sure = True
        return places

    def find(self, path: str) -> Look:
        """:meth:`look`, for readers that have one record at a time."""
        place = self.look(path)
        if self._shown is not None and place[0] is not None:
            self._shown.add_one(place[0])
        return place

    def look(self, path: str) -> Look:
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


def picture_folders(root: str) -> list[str]:
    """Return the folders below ``root`` that are called as folders of pictures are, sorted."""
    try:
        with os.scandir(root) as entries:
            paths = [one.path for one in entries if one.name.lower().endswith(USUAL_FOLDERS) and one.is_dir()]
    except OSError:
        return []
    return sorted(paths)


def _holds(folder: str, name: str) -> bool:
    return not os.path.isabs(name) and os.path.isfile(os.path.join(folder, name))


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
        believed = pc.if_else(absolute, paths, joined if self._holds else nothing)
        return pc.if_else(pc.or_(address, pc.equal(paths, "")), nothing, believed)
