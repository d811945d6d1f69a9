"""Where pairs come from: one reader a file, one line here; other packages add theirs (``cfbd.sources``)."""

from __future__ import annotations

from pathlib import Path

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.machine.registry import Registry
from cfbd_core.sources.base import BATCH_ROWS, PAIR_SCHEMA, Batch, Skip, Source, SourceOptions, fingerprint
from cfbd_core.sources.clip_retrieval import ClipRetrievalSource
from cfbd_core.sources.coco import CocoSource
from cfbd_core.sources.csv import CsvSource
from cfbd_core.sources.folder import FolderSource
from cfbd_core.sources.jsonl import JsonLinesSource
from cfbd_core.sources.locate import check_file, locate
from cfbd_core.sources.parquet import ParquetSource
from cfbd_core.sources.tree import Place
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
_OWN: tuple[type[Source], ...] = (
    ClipRetrievalSource,
    WebDatasetSource,
    FolderSource,
    ParquetSource,
    CsvSource,
    JsonLinesSource,
    CocoSource,
)
FORMATS: Registry[type[Source]] = Registry(
    "cfbd.sources", "source", Source, {one.name: one for one in _OWN}, classes=True
)


def open_source(source: str | Path, options: SourceOptions | None = None) -> Source:
    """Open what ``source`` names as a source of pairs, guessing its format if it is "auto".

    A file, a folder, a glob of files, names with ``{00000..00012}``, and any of them joined by ``::``.
    Raises SourceError if nothing there can be read.
    """
    options = options or SourceOptions()
    if options.format != "auto" and options.format not in FORMATS:
        raise ParameterError(f"--format {options.format!r} is none of: auto, {', '.join(FORMATS)}.")
    located = locate(str(source))
    places = [Place(path) for path in located.paths]
    reader, paths = _reader(places, options.format)
    if reader is None:
        readers = FORMATS.values() if options.format == "auto" else [FORMATS[options.format]]
        wanted = "; ".join(f"{reader.name}: {reader.looks_for}" for reader in readers)
        raise SourceError(f"{source}: no pairs found there (looked for {wanted}).")
    for path in paths:
        check_file(path)
    with FORMATS.guarded(reader.name):
        opened = reader(paths, options, places, located.missing)
    opened.guard = lambda: FORMATS.guarded(reader.name)
    return opened


def _reader(places: list[Place], format_name: str) -> tuple[type[Source] | None, list[Path]]:
    """Return the reader for these places, and the files that it would read."""
    if format_name != "auto":
        named = FORMATS[format_name]
        # What the user says is such a file is read as one, whatever it is called.
        paths = _paths_of(named, places) or [place.path for place in places if not place.is_folder]
        return (named, paths) if paths else (None, [])
    for reader in FORMATS.values():
        paths = _paths_of(reader, places)
        if not paths:
            continue
        if reader is FolderSource:
            for table in (ParquetSource, CsvSource, JsonLinesSource, CocoSource):
                tables = _paths_of(table, places)
                if tables and not FolderSource.is_captioned(places):
                    return table, tables  # one stray text does not hide it
        return reader, paths
    return None, []


def _paths_of(reader: type[Source], places: list[Place]) -> list[Path]:
    with FORMATS.guarded(reader.name):
        return list(dict.fromkeys(path for place in places for path in reader.find(place)))
