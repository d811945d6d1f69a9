"""Where things lie: real paths, and the audit that a path is in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cfbd_core.errors import ParameterError

DATABASE_NAME = "audit.duckdb"  # what makes a folder an audit
LOCK_NAME = "audit.lock"  # held by the job that runs on an audit
# What a call that was killed as it made an audit leaves behind; the next one takes it up again.
UNFINISHED = frozenset(
    {LOCK_NAME, f"{DATABASE_NAME}.lock", f"{DATABASE_NAME}.new", f"{DATABASE_NAME}.new.wal"}
)


def at_home(text: str | Path) -> Path:
    """Return the path with ``~`` and ``~NAME`` as the home folder; where there is none the name stays as it is."""
    return Path(os.path.expanduser(text))


def real(path: Path) -> Path:
    """Return the path without links; ``Path.resolve`` raises on links that go in circles."""
    return Path(os.path.realpath(path))


def is_writable(audit: Path) -> bool:
    """Whether anything can be stored in the audit in this folder: a file system or its permissions may refuse."""
    return os.access(audit, os.W_OK) and os.access(audit / DATABASE_NAME, os.W_OK)


def audit_around(path: Path) -> Path | None:
    """Return the audit that ``path`` is or lies in, or None."""
    place = real(path)
    return next(
        (folder for folder in (place, *place.parents) if os.path.exists(folder / DATABASE_NAME)), None
    )


def check_outside(given: str, written: Iterable[Path], protected: Iterable[Path]) -> None:
    """Raise ParameterError where one of the paths ``written`` is, or lies in, what must be ``protected`` as it is.

    By name and by where links lead. ``given`` is what the user said, such as ``--out clean.csv``.
    """
    places = {place for path in written for place in (real(path), real(path.parent) / path.name)}
    for one in protected:
        if any(place.is_relative_to(real(one)) for place in places):
            raise ParameterError(
                f"{given}: would overwrite {one} or lie in it, which is never changed; give another place"
            )
