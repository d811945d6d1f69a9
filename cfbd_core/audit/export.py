"""The step ``export`` of an audit: which pairs, what the sidecar says of them, and what may not be written over."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core import export as exporting
from cfbd_core.audit.files import AuditFiles
from cfbd_core.audit.report import check_split, report
from cfbd_core.audit.source_state import SourceState
from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import clear_dead
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.store import queries
from cfbd_core.store.meta import SPLIT

SPOOLED = re.compile(r"export\.(?P<process>\d+)\..+\.arrow")


@dataclass(frozen=True)
class PairsToWrite:
    """Pairs of an audit, as batches of ``audit_pairs``, and what the sidecar says of how they were chosen."""

    batches: Iterator[pa.RecordBatch]
    sidecar: exporting.ExportOrigin


@contextmanager
def subset_to_write(files: AuditFiles, subset: exporting.Subset, split: str | None) -> Iterator[PairsToWrite]:
    """Give the pairs of a subset.

    ``split`` as of :meth:`cfbd_core.audit.audit.Audit.export`, whose errors it raises.
    """
    if subset not in exporting.SUBSETS:
        raise ParameterError(f"--subset {subset}: give one of {', '.join(exporting.SUBSETS)}")
    summary = report(files.database, split)
    neither = summary["pairs"] - summary["flagged"] - summary["kept"]  # without a score
    sidecar: exporting.ExportOrigin = {
        "audit": str(files.folder.resolve()),
        "subset": subset,
        "params": summary["params"],
        "source": summary["source"],
        "embedding": summary["embedding"],
        "mapping": summary["mapping"],
        "evidence": summary["evidence"],
        "counts": {
            "pairs": summary["pairs"],
            "flagged": summary["flagged"],
            "kept": summary["kept"],
            "skipped": summary["skipped"],
            "neither": neither,
        },
        "warnings": _left_out(neither) if subset != "all" else [],
    }
    with spooled_subset(files, subset, split) as batches:
        yield PairsToWrite(batches, sidecar)


def write(
    files: AuditFiles,
    pairs: PairsToWrite,
    out: Path,
    out_format: exporting.Format | None,
    *,
    progress: Progress = no_progress,
    dry_run: bool = False,
    **style: Unpack[exporting.StyleOptions],
) -> exporting.Sidecar | exporting.DryRun:
    """Export pairs, over nothing of the audit or its source, and with no picture but those embedded.

    Raises SourceError where the source, or a picture, has changed.
    """
    out_format = out_format or exporting.guess_format(out)
    origin = exporting.Origin([files.folder, *files.source_places()], files.shards)
    if dry_run:
        return exporting.dry_run(
            pairs.batches, out, out_format, pairs.sidecar, progress=progress, origin=origin, **style
        )
    if style.get("verify", True):
        SourceState(files.folder, files.database).check()
    return exporting.export(
        pairs.batches, out, out_format, pairs.sidecar, progress=progress, origin=origin, **style
    )


def spooled_subset(
    files: AuditFiles, subset: exporting.Subset, split: str | None = None
) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
    """Give batches of ``audit_pairs`` of a subset.

    Raises ParameterError where the stored split is not that of the settings ``split``.
    """

    def spool_to(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        queries.spool_pairs(connection, None if subset == "all" else subset, path)
        # After it, so that a split that came in between is noticed.
        check_split(queries.get_meta(connection, SPLIT), split)

    return _spooled(files, spool_to)


def spooled_rows(files: AuditFiles, rows: np.ndarray) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
    """Give batches of ``audit_pairs`` at ``rows`` int64 (m,), in that order; rows that are gone are left out."""
    return _spooled(files, lambda connection, path: queries.spool_rows(connection, rows, path))


@contextmanager
def _spooled(
    files: AuditFiles, spool_to: Callable[[duckdb.DuckDBPyConnection, Path], None]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Give batches of the chosen pairs from a copy, so that the database is free while they are written.

    The copy lies in the audit; elsewhere where that may only be read.
    """
    runs = files.folder / "runs"
    with suppress(OSError):
        runs.mkdir(exist_ok=True)
    place = runs if os.access(runs, os.W_OK) else None
    if place is not None:
        clear_dead(place, SPOOLED)
    with tempfile.NamedTemporaryFile(dir=place, prefix=f"export.{os.getpid()}.", suffix=".arrow") as spool:
        with files.database.reading() as connection:
            spool_to(connection, Path(spool.name))
        with pa.memory_map(spool.name) as file, pa.ipc.open_file(file) as reader:
            parts = (reader.get_batch(number) for number in range(reader.num_record_batches))
            yield (files.located(pa.Table.from_batches([part])).to_batches()[0] for part in parts)


def _left_out(pairs: int) -> list[str]:
    """Return the warning of an export that pairs without a verdict are not part of."""
    if not pairs:
        return []
    return [
        f"{pairs:,} pairs have no verdict, and are neither kept nor removed; --subset all writes them, too"
    ]
