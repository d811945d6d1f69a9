"""Where things lie: real paths, and the audit that a path is in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cfbd_core.errors import ParameterError

DATABASE_NAME = "audit.duckdb"  # what makes a folder an audit


def real(path: Path) -> Path:
    """The path without links; ``Path.resolve`` raises on links that go in circles."""
    return Path(os.path.realpath(path))


def audit_around(path: Path) -> Path | None:
    """The audit that ``path`` is or lies in, or None."""
    place = real(path)
    return next((folder for folder in (place, *place.parents) if (folder / DATABASE_NAME).exists()), None)


def check_outside(given: str, written: Iterable[Path], kept: Iterable[Path]) -> None:
    """Raise ParameterError where one of the paths ``written`` is, or lies in, what must be ``kept`` as it is.

    By name and by where links lead. ``given`` is what the user said, such as ``--out clean.csv``.
    """
    places = {place for path in written for place in (real(path), real(path.parent) / path.name)}
    for one in kept:
        if any(place.is_relative_to(real(one)) for place in places):
            raise ParameterError(
                f"{given}: would overwrite {one} or lie in it, which is never changed; give another place"
            )
