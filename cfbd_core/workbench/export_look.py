"""A look at what an export would write once the split of a preview is stored: which pairs, and the first of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cfbd_core.audit.export import spooled_rows
from cfbd_core.export import Format, Style, Subset
from cfbd_core.export.pictures import ImagesOut, RelativePaths
from cfbd_core.export.place import beside
from cfbd_core.export.tables import csv_cells
from cfbd_core.export.webdataset import look_of
from cfbd_core.store.columns import KEEP, REMOVE
from cfbd_core.workbench.selection import as_seen

if TYPE_CHECKING:
    from cfbd_core.workbench.preview import Preview


@dataclass(frozen=True)
class Look:
    """The pairs of an export: their ``rows`` int64 (m,), ascending, and how many are short of something.

    ``neither`` are those pairs of the audit that have no score nor decision: they are neither kept nor removed.
    """

    rows: np.ndarray
    without_picture: int
    without_score: int
    neither: int


def look(preview: Preview, subset: Subset) -> Look:
    """Return what :meth:`Audit.export` of ``subset`` would write if the split of ``preview`` were stored."""
    explorer, removed = preview.pairs, preview.removed()
    unscored = explorer.unscored
    chosen, rows = unscored, explorer.rows
    neither = np.zeros(0, np.int64)
    if len(unscored):
        decided, codes = explorer.audit.columns.decided_rows()
        kept_rows, dropped = (np.intersect1d(unscored, decided[codes == code]) for code in (KEEP, REMOVE))
        neither = np.setdiff1d(unscored, np.concatenate([kept_rows, dropped]))
        chosen = {"all": unscored, "kept": kept_rows, "removed": dropped}[subset]
    if subset != "all":
        rows = rows[removed == (subset == "removed")]
    if len(chosen):
        rows = np.sort(np.concatenate([rows, chosen]))
    bare = np.count_nonzero(np.isin(explorer.without_picture, rows, assume_unique=True))
    return Look(rows, int(bare), len(chosen), len(neither))


def first_rows(
    preview: Preview, rows: np.ndarray, out: Path, out_format: Format, style: Style
) -> dict[str, list[Any]]:
    """The pairs at ``rows`` as an export to ``out`` holds them, a list a column; a WebDataset's without their order.

    Their pictures are read, since their names depend on what they are. Raises SourceError as an export would.
    """
    with spooled_rows(preview.pairs.audit.files, rows) as batches:
        seen = [as_seen(preview, batch) for batch in batches]
    if not seen:
        return {}
    batch = pa.concat_batches(seen)
    if out_format == "webdataset":
        return look_of(batch)
    batch = ImagesOut(beside(out, ".images")).with_paths(batch, write=False)
    if style.relative_paths:
        batch = RelativePaths(out.parent).with_paths(batch)
    written: dict[str, list[Any]] = csv_cells(batch, style).to_pydict()
    return written
