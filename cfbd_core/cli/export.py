"""The command ``cfbd export``: what is kept, what is removed, all, or what a filter of the app selects."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cfbd_core.cli.options import Result, add_split_id, open_audit, place
from cfbd_core.cli.progress import Bar
from cfbd_core.errors import ParameterError

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit
    from cfbd_core.export import DryRun, Sidecar


def add_export(command: argparse.ArgumentParser) -> None:
    """Which pairs, where to and as what."""
    command.add_argument("--out", required=True, type=place, metavar="PATH", help="file, or folder of tars")
    command.add_argument("--subset", choices=("kept", "removed", "all"), help="default: kept")
    command.add_argument(
        "--where",
        metavar="FILTER",
        help="instead of a subset: what the app's address says behind its ?, e.g. 'show=all&text=banana'",
    )
    command.add_argument("--format", choices=("csv", "parquet", "webdataset"), help="default: by the ending")
    add_split_id(command)
    command.add_argument(
        "--spreadsheet-safe", action="store_true", help="CSV: quote cells that a spreadsheet would run"
    )
    command.add_argument(
        "--pandas-safe",
        action="store_true",
        help="CSV: a space before captions that pandas, and so open_clip, takes for missing values or numbers",
    )
    command.add_argument(
        "--relative-paths",
        action="store_true",
        help="CSV, Parquet: name pictures from the file's folder, so that both can move together",
    )
    command.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare picture files with what was embedded; those that were written to since are read (default: on)",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="tell what would be written, and write nothing"
    )


def export(options: argparse.Namespace) -> Result:
    """Write the pairs that are asked for."""
    audit = open_audit(options)
    if options.where is not None:
        if options.subset is not None:
            raise ParameterError("--where and --subset: give one of them; a filter's own subset is show=…")
        if options.split is not None:
            raise ParameterError("--where and --split: give one of them; a filter names its own sliders")
        record = _selected(audit, options)
    else:
        with Bar("export", audit.state.pair_count()) as bar:
            record = audit.export(
                options.out,
                options.subset or "kept",
                options.format,
                progress=bar.report,
                split=options.split,
                **_how(options),
            )
    return record, _text(record, options.out)


def _how(options: argparse.Namespace) -> dict[str, bool]:
    names = ("spreadsheet_safe", "pandas_safe", "relative_paths", "verify", "dry_run")
    return {name: getattr(options, name) for name in names}


def _text(record: Sidecar | DryRun, out: Path) -> str:
    lines = [f"{record['pairs']:,} pairs written to {out}, how they were made to {out}.json"]
    if "dry_run" in record:
        lines = [f"{record['pairs']:,} pairs would be written to {out} as {record['format']}; nothing was"]
    return "\n".join(lines + [f"warning: {warning}" for warning in record["warnings"]])


def _selected(audit: Audit, options: argparse.Namespace) -> Sidecar | DryRun:
    from cfbd_core.workbench.explorer import Explorer
    from cfbd_core.workbench.selection import export_selection, read_address, select

    read_address(options.where)  # refuses a bad one before an audit of millions is read
    chosen = select(Explorer(audit), options.where)
    with Bar("export", len(chosen.positions)) as bar:
        return export_selection(chosen, options.out, options.format, progress=bar.report, **_how(options))
