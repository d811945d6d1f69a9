"""One export from beginning to end: checks, the format's writer, the sidecar; written beside and renamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pyarrow as pa

from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import ParameterError
from cfbd_core.export.columns import Format, Style, StyleOptions
from cfbd_core.export.compared import with_digests
from cfbd_core.export.pictures import ImagesOut, RelativePaths
from cfbd_core.export.place import beside, check_out, clear_dead_parts, made, report_for
from cfbd_core.export.sidecar import DryRun, ExportOrigin, Sidecar, sidecar_of
from cfbd_core.export.tables import count_captions, csv_cells, write_csv, write_parquet
from cfbd_core.export.tally import Tally
from cfbd_core.export.webdataset import write_webdataset
from cfbd_core.machine.files import write_json, written_beside
from cfbd_core.machine.progress import Counter, Progress, no_progress


@dataclass(frozen=True)
class Origin:
    """What exported pairs come from.

    ``places`` are its files and folders, which nothing is written to or into. ``shards`` know what was embedded: no
    other picture is exported (:mod:`cfbd_core.export.compared`).
    """

    places: Sequence[Path] = ()
    shards: EmbeddingFolder | None = None


UNKNOWN = Origin()


def export(
    batches: Iterator[pa.RecordBatch],
    out: Path,
    out_format: Format,
    sidecar: ExportOrigin,
    *,
    progress: Progress = no_progress,
    origin: Origin = UNKNOWN,
    **style_options: Unpack[StyleOptions],
) -> Sidecar:
    """Write pairs (rows of ``audit_pairs``) to ``out`` and ``sidecar`` to ``out`` + ``.json``.

    Captions are written as they are, since models are trained on them, but for what a :class:`Style` changes.
    Pictures that lie inside tars or Parquet files are written out once to ``OUT.images/`` for a table, so that
    open_clip's CSV loader can open every path.

    Returns the sidecar with counts, versions, warnings and the words by which others read the export. Raises
    ParameterError (``out`` cannot be written, or would overwrite what is no earlier export of ``sidecar["audit"]``)
    and SourceError (a picture is gone, is none, or is another one than was embedded); then nothing is left behind.
    """
    style = Style(**style_options)
    style.check(out_format)
    tally, counter = Tally(), Counter(progress, "export")
    with report_for(out):
        check_out(out, out_format, sidecar.get("audit"), origin.places)
        with (
            made(out.parent),
            ImagesOut(beside(out, ".images")) as images,
            written_beside(out) as part,
        ):
            clear_dead_parts(out)
            counted = _counted(batches, tally)
            if origin.shards is not None:
                are_named = style.verify and out_format != "webdataset"
                are_read = out_format == "webdataset"
                counted = with_digests(
                    counted, origin.shards, tally, check_files=are_named, are_read=are_read
                )
            tars: list[str] = []
            if out_format == "webdataset":
                tars = write_webdataset(counted, part, tally, counter)
            else:
                rows = map(images.with_paths, counted)
                if style.relative_paths:
                    rows = map(RelativePaths(out.parent).with_paths, rows)
                write = write_csv if out_format == "csv" else write_parquet
                write(rows, part, style, tally, counter)
            record = sidecar_of(out, out_format, sidecar, style, tally, tars)
            if out_format == "webdataset" and out.exists():
                raise ParameterError(
                    f"--out {out}: another export was written there meanwhile; give a new folder"
                )
            # Before ``out`` takes its place: one without a sidecar would be nobody's, and stay in the way.
            write_json(beside(out, ".json"), record)
        return record


def dry_run(
    batches: Iterator[pa.RecordBatch],
    out: Path,
    out_format: Format,
    sidecar: ExportOrigin,
    *,
    progress: Progress = no_progress,
    origin: Origin = UNKNOWN,
    **style_options: Unpack[StyleOptions],
) -> DryRun:
    """Return what :func:`export` would write, without writing it: its counts and warnings, but for those of pictures.

    No picture is read. Raises ParameterError as :func:`export` does.
    """
    style = Style(**style_options)
    style.check(out_format)
    tally, counter = Tally(), Counter(progress, "export")
    with report_for(out):
        check_out(out, out_format, sidecar.get("audit"), origin.places)
    for batch in _counted(batches, tally):
        if out_format == "csv":
            count_captions(csv_cells(batch, style).column("caption"), tally)
        counter.add(batch.num_rows)
    return {
        **sidecar,
        "out": out.name,
        "format": out_format,
        "pairs": tally.pairs,
        "dry_run": True,
        "without_picture": tally.without_picture,
        "warnings": sidecar.get("warnings", []) + tally.warnings(out_format),
    }


def _counted(batches: Iterable[pa.RecordBatch], tally: Tally) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        tally.pairs += batch.num_rows
        tally.without_picture += batch.column("image").null_count
        yield batch
