"""Take home exactly what a filter selects, with the columns of an export, as one setting of the sliders sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core import export as exporting
from cfbd_core.audit.export import PairsToWrite, spooled_rows, write
from cfbd_core.audit.report import without_files
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.store.columns import DECISIONS, removed
from cfbd_core.store.scores import SUBSETS, VERDICTS
from cfbd_core.workbench import filter_query, slider_query
from cfbd_core.workbench.pair_filter import NOT, outlined_map

if TYPE_CHECKING:
    from cfbd_core.workbench.explorer import Explorer
    from cfbd_core.workbench.preview import Preview

IGNORED = "audit"  # in an address of the app: whoever asks here has named the audit


@dataclass(frozen=True, eq=False)
class Selection:
    """Pairs at ``positions`` int64 (m,), in that order, under ``preview``; ``query`` says how they were chosen."""

    preview: Preview
    positions: np.ndarray
    query: Mapping[str, str]


def export_selection(
    chosen: Selection,
    out: str | Path,
    out_format: exporting.Format | None = None,
    *,
    progress: Progress = no_progress,
    dry_run: bool = False,
    **style: Unpack[exporting.StyleOptions],
) -> exporting.Sidecar | exporting.DryRun:
    """Write the chosen pairs to ``out``.

    Columns as of every export (:func:`cfbd_core.export.export`); z, subset and verdict are those of its preview,
    whether or not its split is stored. ``dry_run`` and ``style`` as of :meth:`Audit.export`. Returns the sidecar's
    content. Raises as an export does.
    """
    preview, positions = chosen.preview, chosen.positions
    audit = preview.pairs.audit
    status = audit.state.steps()
    sidecar: exporting.ExportOrigin = {
        "audit": str(audit.folder.resolve()),
        "subset": "filter",
        "filter": dict(chosen.query),
        "params": {**preview.params.to_dict(), "gamma_z": _finite(preview.gamma_z.value)},
        "source": without_files(status["source"]) if status["source"] is not None else {},
        "embedding": status["embedding"],
        "mapping": status["mapping"],
        "counts": {"pairs": len(preview.pairs), "selected": len(positions)},
    }
    with spooled_rows(audit.files, preview.pairs.rows[positions]) as batches:
        pairs = PairsToWrite((as_seen(preview, batch) for batch in batches), sidecar)
        return write(audit.files, pairs, Path(out), out_format, progress=progress, dry_run=dry_run, **style)


def select(explorer: Explorer, address: str) -> Selection:
    """Return the pairs that an address of the app selects, such as ``show=all&text=banana&q=20``.

    In the filter's order. Where the address names no slider these are those of the audit's own split. Raises
    ParameterError: not a filter, or an outline of a map that is gone; AuditError before the first split.
    """
    query = read_address(address)
    chosen = filter_query.from_query(query)
    applied = explorer.audit.state.applied_params()
    if applied is None:
        raise AuditError(f"{explorer.audit.folder}: not split yet; run `cfbd run` or `cfbd split` first")
    params = slider_query.from_query(query, applied) or applied
    if chosen.lasso is not None and outlined_map(explorer, chosen.lasso) is None:
        raise ParameterError(
            "lasso: the map that it was drawn on is no longer there; outline the pairs again"
        )
    name = chosen.detector.removeprefix(NOT)
    if name and name not in explorer.detections():
        raise ParameterError(
            f"detector: {name[:40]} has not judged these pairs; run `cfbd detect {name[:40]}` first"
        )
    preview = explorer.preview(params)
    return Selection(preview, chosen.positions(preview), query)


def read_address(address: str) -> dict[str, str]:
    """The parameters in the part of an address behind its ``?``. Raises ParameterError for one that is none of ours."""
    try:
        given = parse_qsl(
            address.strip().lstrip("?"), keep_blank_values=True, strict_parsing=bool(address.strip())
        )
    except ValueError as error:
        raise ParameterError(f"--where {address[:60]!r}: give NAME=VALUE, joined by &") from error
    query: dict[str, str] = {}
    known = (*filter_query.NAMES, *slider_query.NAMES)
    for name, value in given:
        if name == IGNORED:
            continue
        if name not in known:
            raise ParameterError(
                f"--where: {name[:40]!r} is no part of a filter; there are {', '.join(known)}"
            )
        if name in query:
            raise ParameterError(f"--where: {name} is given twice; join its values by a comma")
        query[name] = value
    return query


def as_seen(preview: Preview, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of a batch with z, subset, verdict and what comes of it under ``preview``.

    Pairs that have no score stay as they are.
    """
    positions = preview.pairs.positions_of(batch.column("row").to_numpy())
    z = np.where(positions < 0, np.nan, preview.z.values[positions])
    flagged = preview.flagged[positions]
    decisions = np.array([DECISIONS.index(name) for name in batch.column("decision").to_pylist()], np.int8)
    final = np.where(removed(flagged, decisions), "removed", "kept").astype(object)
    seen = {
        "z": pa.array(z.astype(np.float32), mask=np.isnan(z)),
        "subset": pa.array(np.array(SUBSETS, object)[preview.coarse.subset[positions]], pa.string()),
        "verdict": pa.array(np.array(VERDICTS, object)[flagged.astype(int)], pa.string()),
        "final": pa.array(final, pa.string()),
    }
    scored = pa.array(positions >= 0)
    for name, column in seen.items():
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, name, pc.if_else(scored, column, batch.column(index)))
    return batch


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
