"""Delete the folder that an unfinished audit has left behind, where nothing is lost with it."""

from __future__ import annotations

import shutil
from pathlib import Path

from cfbd_core.audit.audit import Audit
from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job
from cfbd_core.machine.places import DATABASE_NAME, UNFINISHED
from cfbd_core.training.place import REQUEST

# Pairs are in the source still, and these are made again from them.
MADE_AGAIN = frozenset(
    {
        *UNFINISHED,
        DATABASE_NAME,
        f"{DATABASE_NAME}.wal",
        "sliders.json",  # of older versions
        "runs",
        "embeddings",
        "pictures",  # their hashes matter to what was made from them: embeddings, scores, decisions, models
    }
)


def what_it_holds(folder: Path, also: frozenset[str] = frozenset()) -> str | None:
    """Return what would be lost with the audit in ``folder``, in words; None where nothing would.

    Embeddings, scores, decisions and training runs are results; whatever no ingest has written is someone's, but
    for the names in ``also``.
    """
    if not folder.is_dir() or folder.is_symlink():
        return "no folder"
    strange = sorted(path.name for path in folder.iterdir() if path.name not in MADE_AGAIN | also)
    if strange:
        return strange[0]
    if any((folder / "embeddings").glob("*_emb_*.npy")):
        return "embeddings"
    if any((folder / "runs").glob(f"*/{REQUEST}")):
        return "a training run"
    return _stored(folder) if (folder / DATABASE_NAME).exists() else None


def _stored(folder: Path) -> str | None:
    try:
        audit = Audit.open(folder)
        if audit.state.is_scored():
            return "scores"
        return "decisions" if len(audit.columns.decided_rows()[0]) else None
    except AuditError as error:
        return str(error)


def discard(folder: Path, also: frozenset[str] = frozenset()) -> None:
    """Delete the audit in ``folder``. Raises AuditError where :func:`what_it_holds`, or a job runs on it."""
    with one_job(folder, "delete"):
        contents = what_it_holds(folder, also)
        if contents is not None:
            raise AuditError(f"{folder}: not deleted, since something would be lost ({contents})")
        shutil.rmtree(folder)
