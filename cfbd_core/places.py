"""Where things lie: real paths, and the audit that a path is in."""

from __future__ import annotations

import os
from pathlib import Path

DATABASE_NAME = "audit.duckdb"  # what makes a folder an audit


def real(path: Path) -> Path:
    """The path without links; ``Path.resolve`` raises on links that go in circles."""
    return Path(os.path.realpath(path))


def audit_around(path: Path) -> Path | None:
    """The audit that ``path`` is or lies in, or None."""
    place = real(path)
    return next((folder for folder in (place, *place.parents) if (folder / DATABASE_NAME).exists()), None)
