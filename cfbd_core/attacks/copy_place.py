"""Where a poisoned copy may be written: never over a source, into an audit or beside other things."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfbd_core.attacks.source_pairs import SourcePairs
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.files import told_in_one_line

MANIFEST, AUDIT_NAME = "manifest.json", "audit.duckdb"


def check_place(out: Path, source: str | Path) -> None:
    """Raise ParameterError where ``out`` is a file, or lies in an audit or in the folder ``source``."""
    if out.exists() and not out.is_dir():
        raise ParameterError(f"--out {out}: is a file; give a new folder")
    place = _real(out)
    audit = next((folder for folder in (place, *place.parents) if (folder / AUDIT_NAME).exists()), None)
    if audit is not None:
        raise ParameterError(f"--out {out}: lies in the audit {audit}; give a folder outside it")
    if Path(source).is_dir() and place.is_relative_to(_real(Path(source))):
        raise ParameterError(
            f"--out {out}: lies inside the source, which is never changed; give another folder"
        )


def check_beside(out: Path, pairs: SourcePairs) -> None:
    """Raise ParameterError where ``out`` lies among the shards that a glob or a path names."""
    if pairs.format != "webdataset" and len(pairs.files) == 1:
        return
    if any(_real(out).is_relative_to(folder) for folder in {_real(file.parent) for file in pairs.files}):
        raise ParameterError(
            f"--out {out}: lies inside the source, which is never changed; give another folder"
        )


def holds(out: Path, manifest: dict[str, Any]) -> bool:
    """Say whether ``out`` holds this copy or part of it. Raises AuditError where it holds something else."""
    if not out.exists() or not any(out.iterdir()):
        return False
    if not (out / MANIFEST).exists():
        raise AuditError(f"{out}: is not empty and holds no copy of ours; give a new folder")
    try:
        held = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = {}
    if not isinstance(held, dict) or _lasting(held) != _lasting(manifest):
        raise AuditError(f"{out}: holds a copy made otherwise; give a new folder or delete this one")
    return True


def _lasting(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name not in ("finished", "versions")}


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises on links that go in circles


@contextmanager
def told_of(out: Path) -> Iterator[None]:
    """Say in one line why ``out`` cannot be written."""
    with told_in_one_line(next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())):
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise ParameterError(
                f"--out {out}: a file is in its way ({error.filename}); give another folder"
            ) from error
