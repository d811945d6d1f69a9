"""Take pairs home: CSV, Parquet or WebDataset, one file here for each, with a sidecar that says how it was made."""

from cfbd_core.export.cells import CSV_OPTIONS, neutralised, pandas_safe, spreadsheet_safe
from cfbd_core.export.columns import COLUMNS, FORMATS, SUBSETS, Format, Style, StyleOptions, Subset
from cfbd_core.export.job import Origin, dry_run, export
from cfbd_core.export.place import guess_format, what_is_lost
from cfbd_core.export.sidecar import DryRun, ExportOrigin, Sidecar

__all__ = [
    "COLUMNS",
    "CSV_OPTIONS",
    "FORMATS",
    "SUBSETS",
    "DryRun",
    "ExportOrigin",
    "Format",
    "Origin",
    "Sidecar",
    "Style",
    "StyleOptions",
    "Subset",
    "dry_run",
    "export",
    "guess_format",
    "neutralised",
    "pandas_safe",
    "spreadsheet_safe",
    "what_is_lost",
]
