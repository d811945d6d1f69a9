"""The command ``cfbd export``: what is kept, what is removed, all, or what a filter of the app selects."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cfbd_core.cli_progress import Bar
from cfbd_core.errors import ParameterError

Result = tuple[dict[str, Any], str]


def add_export(command: argparse.ArgumentParser) -> None:
    """Which pairs, where to and as what."""
    command.add_argument("--out", required=True, type=Path, metavar="PATH", help="file, or folder of tars")
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


def add_split_id(command: argparse.ArgumentParser) -> None:
    """Which split the audit has to hold."""
    command.add_argument(
        "--split", metavar="ID", help="refuse unless the stored verdicts are of the settings with this id"
    )


def export(options: argparse.Namespace) -> Result:
    """Write the pairs that are asked for."""
    from cfbd_core.audit import Audit

    audit = Audit.open(options.audit)
    if options.where is not None:
        if options.subset is not None:
            raise ParameterError("--where and --subset: give one of them; a filter's own subset is show=…")
        if options.split is not None:
            raise ParameterError("--where and --split: give one of them; a filter names its own sliders")
        record = _selected(audit, options)
    else:
        with Bar("export", audit.pair_count()) as bar:
            record = audit.export(
                options.out,
                options.subset or "kept",
                options.format,
                spreadsheet_safe=options.spreadsheet_safe,
                progress=bar.update,
                split=options.split,
            )
    told = f"{record['pairs']:,} pairs written to {options.out}, how they were made to {options.out}.json"
    return record, told


def _selected(audit: Any, options: argparse.Namespace) -> dict[str, Any]:
    from cfbd_core.explorer import Explorer
    from cfbd_core.selection import export_selection, read_address, select

    read_address(options.where)  # told before an audit of millions is read
    preview, positions, query = select(Explorer(audit), options.where)
    with Bar("export", len(positions)) as bar:
        return export_selection(
            preview, positions, query, options.out, options.format,
            spreadsheet_safe=options.spreadsheet_safe, progress=bar.update,
        )  # fmt: skip
