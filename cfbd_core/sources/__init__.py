"""Where pairs come from: one reader a file, one line here for each."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.sources.base import BATCH_ROWS, PAIR_SCHEMA, Batch, Skip, Source, SourceOptions, fingerprint
from cfbd_core.sources.cells import is_unicode
from cfbd_core.sources.clip_retrieval import ClipRetrievalSource
from cfbd_core.sources.coco import CocoSource
from cfbd_core.sources.csv import CsvSource
from cfbd_core.sources.folder import FolderSource
from cfbd_core.sources.parquet import ParquetSource
from cfbd_core.sources.webdataset import WebDatasetSource

__all__ = [
    "BATCH_ROWS",
    "FORMATS",
    "PAIR_SCHEMA",
    "Batch",
    "Skip",
    "Source",
    "SourceOptions",
    "fingerprint",
    "open_source",
]

# In the order in which `auto` asks them: an img2dataset folder also holds tables that only describe it.
FORMATS: dict[str, type[Source]] = {
    reader.name: reader
    for reader in (
        ClipRetrievalSource,
        WebDatasetSource,
        FolderSource,
        ParquetSource,
        CsvSource,
        CocoSource,
    )
}


def open_source(source: str | Path, options: SourceOptions | None = None) -> Source:
    """Open a file, a folder or a glob of files as a source of pairs, guessing its format if it is "auto".

    Raises SourceError if nothing there can be read.
    """
    options = options or SourceOptions()
    if options.format != "auto" and options.format not in FORMATS:
        raise ParameterError(f"--format {options.format!r} is none of: auto, {', '.join(FORMATS)}.")
    readers = list(FORMATS.values()) if options.format == "auto" else [FORMATS[options.format]]
    places = _places(str(source))
    for reader in readers:
        found = [path for place in places for path in reader.find(place)]
        if found:
            _check_readable(found)
            return reader(found, options)
    if options.format != "auto" and places[0].is_file():
        _check_readable(places)
        return readers[0](places, options)  # named by the user: then whatever its file is called
    wanted = "; ".join(f"{reader.name}: {reader.looks_for}" for reader in readers)
    raise SourceError(f"{source}: no pairs found there (looked for {wanted}).")


def _places(source: str) -> list[Path]:
    """Return the existing files or folders that ``source`` names, sorted."""
    if re.match(r"[a-zA-Z][a-zA-Z0-9+]+://", source):
        raise SourceError(f"{source}: only local files are read; download it first.")
    path = Path(source).expanduser()
    if path.exists():
        return [Path(os.path.abspath(path))]
    if not glob.has_magic(source):
        raise SourceError(f"{source}: no such file or folder.")
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise SourceError(f"{source}: no file matches this pattern.")
    return [Path(os.path.abspath(match)) for match in matches]


def _check_readable(paths: list[Path]) -> None:
    for path in paths:
        if not os.access(path, os.R_OK):
            raise SourceError(f"{path} may not be read by this user; change its permissions.")
        if not is_unicode(str(path)):
            raise SourceError(f"{str(path)!r} is not UTF-8; rename it.")
