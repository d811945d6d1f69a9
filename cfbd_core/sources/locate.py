"""From what SOURCE says to files and folders: paths, globs, ``{00000..00012}.tar`` and ``a::b``."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from braceexpand import braceexpand

from cfbd_core.errors import SourceError
from cfbd_core.sources.cells import is_unicode
from cfbd_core.sources.tree import walk

MOST_FILES = 1_000_000  # that braces may stand for


@dataclass
class Located:
    """The files and folders that a source names, each once, and the files that braces name and that are not there."""

    paths: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)


def locate(source: str) -> Located:
    """Find what ``source`` names. Raises SourceError: nothing there, an address, a pipe or a device."""
    if not source.strip():
        raise SourceError(
            "the source is an empty name; give a folder, a file or a pattern such as 'shards/*.tar'."
        )
    located = Located()
    for part in [source] if os.path.lexists(_path(source)) else source.split("::"):
        _locate_part(part, located)
    once: dict[str, Path] = {}
    for path in located.paths:
        check_file(path)
        once.setdefault(_place(path), path)
    folders = {path for path in once.values() if path.is_dir()}
    located.paths = [path for path in once.values() if folders.isdisjoint(path.parents)]
    return located


def patterns(source: str) -> list[str]:
    """Return the paths and globs that ``source`` stands for, with ``::`` and braces resolved.

    Raises SourceError where braces are not closed, or stand for too many files.
    """
    if os.path.lexists(_path(source)):
        return [source]
    return [pattern for part in source.split("::") for pattern in _expanded(part)]


def glob_matches(pattern: str) -> list[str]:
    """Return the files and folders that a glob names, sorted; nothing for a name without ``*``, ``?`` or ``[``.

    ``**`` goes through every folder once, whatever links there are.
    """
    if not glob.has_magic(pattern):
        return []
    parts = pattern.split("/")
    if "**" not in parts:
        return sorted(glob.glob(pattern))
    at = parts.index("**")
    base = "/".join(parts[:at]) or ("/" if at else ".")
    matches: list[str] = []
    for top in [base] if os.path.isdir(base) else glob.glob(base):
        for folder in walk(top):
            inside = [] if folder.path == top else os.path.relpath(folder.path, top).split("/")
            matches += [folder.path] if _fits(inside, parts[at:]) else []
            matches += [
                f"{folder.path}/{name}" for name in folder.names if _fits([*inside, name], parts[at:])
            ]
    return sorted(matches)


def _fits(names: list[str], parts: list[str]) -> bool:
    """Say whether the names of a path fit the parts of a pattern; ``**`` stands for any number of folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(names[skipped:], parts[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def check_file(path: Path) -> None:
    """Raise SourceError unless ``path`` is a file or a folder that can be read and named in an audit."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SourceError(
            f"{path} is a pipe or a device, no file; copy what it gives into a file and give that."
        )
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} may not be read by this user; change its permissions.")
    if not is_unicode(str(path)):
        raise SourceError(f"{str(path)!r} is not UTF-8; rename it.")


def _locate_part(part: str, located: Located) -> None:
    """Add what one part, of those that ``::`` separates, names."""
    if re.match(r"[a-zA-Z][a-zA-Z0-9+]+://", part):
        raise SourceError(f"{part}: only local files are read; download it first.")
    paths: list[str] = []
    missing: list[str] = []
    wanted = _expanded(part)
    for pattern in wanted:
        path = _path(pattern)
        if os.path.lexists(path):
            paths.append(path)
        else:
            matches = glob_matches(path)
            paths += matches
            missing += [] if matches else [path]
    if not paths:
        if len(wanted) > 1:
            raise SourceError(f"{part}: none of the {len(wanted):,} files that it names is there.")
        what = "file matches this pattern" if glob.has_magic(part) else "such file or folder"
        raise SourceError(f"{part}: no {what}.")
    located.paths += [Path(os.path.abspath(path)) for path in paths]
    located.missing += [Path(os.path.abspath(path)) for path in missing]


def _expanded(part: str) -> list[str]:
    if "{" not in part or os.path.lexists(_path(part)):
        return [part]
    too_many = SourceError(
        f"{part}: stands for more than {MOST_FILES:,} files; give a folder or a pattern with *."
    )
    ranges = re.findall(r"(-?\d{1,18})\.\.(-?\d{1,18})", part)
    if any(abs(int(first) - int(last)) >= MOST_FILES for first, last in ranges) or re.search(r"\d{19}", part):
        raise too_many  # before they are written out
    try:
        patterns = list(itertools.islice(braceexpand(part), MOST_FILES + 1))
    except ValueError:
        raise SourceError(
            f"{part}: its braces are not closed; write {{00000..00012}}.tar or {{a,b}}.csv."
        ) from None
    if len(patterns) > MOST_FILES:
        raise too_many
    return patterns


def _path(text: str) -> str:
    return os.path.expanduser(text)


def _place(path: Path) -> str:
    """A name that a file has once, however many links lead to its folder: a glob with ** goes through all of them."""
    return os.path.join(os.path.realpath(path.parent), path.name)
