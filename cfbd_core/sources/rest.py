"""What else lies where a source was read from: counted by kind, so that nothing is left unread without a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from cfbd_core.sources.endings import IMAGES, ending, unread_kind
from cfbd_core.sources.tree import Folder, Place, walk
from cfbd_core.sources.unread import Unread

# Beside the pairs of a copy by ``cfbd attack`` or ``cfbd demo``.
COPY_REMARK = {"manifest.json", "trigger.npz", "contact_sheet.png", "ATTRIBUTION.txt"}


class Shown:
    """The pictures that rows have named, as numbers: there may be millions."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._few: list[int] = []

    def add(self, paths: Sequence[str | None]) -> None:
        """Take in paths."""
        self._parts.append(np.unique(_numbers(paths)))

    def add_one(self, path: str) -> None:
        """Take in one path."""
        self._few.append(hash(path))

    def holds(self, paths: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Say which of the paths were added."""
        if len(self._parts) > 1 or self._few:
            self._parts = [np.unique(np.concatenate([*self._parts, np.array(self._few, np.int64)]))]
            self._few = []
        return np.isin(_numbers(paths), self._parts[0])


def count_rest(places: Iterable[Place], read: set[str], shown: Shown | None, unread: Unread) -> None:
    """Count the files of ``places`` that are not among ``read``; ``shown`` None: pictures do not matter."""
    for place in places:
        if place.is_folder:
            for folder in walk(place.path, unread):
                _count_folder(folder, str(place.path), read, shown, unread)
        elif str(place.path) not in read:
            unread.add(unread_kind(place.path.name), place.path.name)


def is_beside(name: str, folder: Folder, names: set[str]) -> bool:
    """Say whether a file is img2dataset's own, of a shard beside it: ``00000.parquet``, ``00000_stats.json``."""
    stem, end = os.path.splitext(name)
    stem = stem.removesuffix("_stats")
    return end in (".parquet", ".json") and (f"{stem}.tar" in names or os.path.isdir(f"{folder.path}/{stem}"))


def _count_folder(folder: Folder, root: str, read: set[str], shown: Shown | None, unread: Unread) -> None:
    pictures = [name for name in folder.names if ending(name) in IMAGES]
    known, names = _known(folder, pictures, shown), set(folder.names)
    for name in folder.names:
        path = f"{folder.path}/{name}"
        if path not in read and name not in known:
            unread.add(_kind(name, folder, names), os.path.relpath(path, root))


def _kind(name: str, folder: Folder, names: set[str]) -> str:
    if is_beside(name, folder, names):
        return "table beside its shard"
    if name in COPY_REMARK and names >= {"manifest.json", "trigger.npz"}:
        return "file that tells of a poisoned copy"
    return unread_kind(name)


def _known(folder: Folder, pictures: list[str], shown: Shown | None) -> set[str]:
    """Return the pictures of a folder that some row names, by the folder's own path or by that of a link to it."""
    if shown is None or not pictures:
        return set(pictures)
    places = {folder.path, os.path.realpath(folder.path)} if folder.is_linked else {folder.path}
    masks = [shown.holds([f"{place}/{name}" for name in pictures]) for place in places]
    return {name for name, is_known in zip(pictures, np.any(masks, axis=0), strict=True) if is_known}


def _numbers(paths: Sequence[str | None]) -> npt.NDArray[np.int64]:
    return np.fromiter((hash(path) for path in paths), np.int64, len(paths))
