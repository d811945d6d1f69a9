"""What lies in a folder and below it: every folder once, links followed, nothing left out without a word."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cfbd_core.machine.places import DATABASE_NAME
from cfbd_core.sources.endings import is_table
from cfbd_core.sources.unread import Unread

SYSTEM = ("/proc", "/sys", "/dev")  # what a link leads to there has no end


@dataclass
class Folder:
    """One folder: its path, the sorted names of its files, and whether a link led here."""

    path: str
    names: list[str] = field(default_factory=list)
    is_linked: bool = False


def walk(root: str | os.PathLike[str], unread: Unread | None = None) -> Iterator[Folder]:
    """Yield the folder ``root`` and all below it, sorted, each before those in it.

    What links lead to comes last, so that no link takes a folder's own name from it. Hidden files and folders,
    audits, pipes, devices and links that lead in circles or nowhere are left out and counted in ``unread``.
    """
    return _Walk(os.fspath(root), unread or Unread()).folders()


class _Walk:
    def __init__(self, root: str, unread: Unread) -> None:
        self._root, self._unread = root, unread
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[str] = deque()

    def folders(self) -> Iterator[Folder]:
        yield from self._below(self._root, is_linked=False)
        while self._links:
            link = self._links.popleft()
            if self._leads_out(link):
                self._count("link out of the data", link)
            else:
                yield from self._below(link, is_linked=True)

    def _below(self, top: str, is_linked: bool) -> Iterator[Folder]:
        waiting = [top]
        while waiting:
            path = waiting.pop()
            folder = Folder(path, is_linked=is_linked)
            below: list[str] = []
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in self._seen:
                    self._count("folder that is linked twice", path)
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                with os.scandir(path) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        self._take(entry, folder.names, below)
            except OSError as error:
                self._count("folder that may not be read", path, f" ({error.strerror})")
                continue
            if DATABASE_NAME in folder.names and path != self._root:
                self._count("audit in the source", path)
                continue
            yield folder
            waiting += reversed(below)

    def _take(self, entry: os.DirEntry[str], names: list[str], below: list[str]) -> None:
        """Put one entry where it belongs."""
        if entry.name.startswith("."):
            self._count("hidden folder" if entry.is_dir() else "hidden file", entry.path)
        elif entry.is_dir(follow_symlinks=False):
            below.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            names.append(entry.name)
        else:
            self._follow(entry, names)

    def _follow(self, entry: os.DirEntry[str], names: list[str]) -> None:
        try:
            mode = entry.stat().st_mode
        except OSError:
            self._count("broken link", entry.path)
            return
        if stat.S_ISDIR(mode):
            self._links.append(entry.path)
        elif stat.S_ISREG(mode):
            names.append(entry.name)
        else:
            self._count("pipe or device", entry.path)

    def _leads_out(self, link: str) -> bool:
        """Return whether a link leads to the source itself, above it, or into the system's own folders."""
        target = f"{os.path.realpath(link).rstrip('/')}/"
        source = f"{os.path.realpath(self._root).rstrip('/')}/"
        return source.startswith(target) or target.startswith(tuple(f"{place}/" for place in SYSTEM))

    def _count(self, kind: str, path: str, why: str = "") -> None:
        self._unread.add(kind, os.path.relpath(path, self._root) + why)


class Place:
    """A file or a folder that SOURCE names, and the files in it that a reader asks for by their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = os.path.isdir(path)

    def files(self, fits: Callable[[str], bool]) -> list[Path]:
        """Return the place if it is a file whose name fits, or the folder's tables whose names do.

        Those of the folder itself come first, then those below, then those that links lead to: pairs are numbered in
        this order, and older versions read the first, or else the second, alone.
        """
        if not self.is_folder:
            return [self.path] if fits(self.path.name) else []
        return [path for path in self._tables if fits(path.name)]

    def folders(self) -> Iterator[Folder]:
        """Yield all folders, if the place is one."""
        return walk(self.path) if self.is_folder else iter(())

    @cached_property
    def _tables(self) -> list[Path]:
        """The folder's tables, shards and lists of captions; pictures and texts may be too many to keep."""
        direct: list[Path] = []
        below: list[Path] = []
        linked: list[Path] = []
        for folder in self.folders():
            part = linked if folder.is_linked else below if folder.path != str(self.path) else direct
            part += [Path(folder.path, name) for name in folder.names if _is_wanted(name)]
        return [*direct, *sorted(below), *linked]


def _is_wanted(name: str) -> bool:
    return name[0] != "_" and (is_table(name) or name.endswith(".npy"))
