"""What an export says of itself: ``OUT.json``, with the words by which others read it."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import pyarrow as pa

from cfbd_core.export.columns import COLUMNS, SCHEMA, Format, Style
from cfbd_core.export.tally import Tally
from cfbd_core.machine.tars import PATTERN_SIGNS

if TYPE_CHECKING:
    from cfbd_core.config import SplitSettings
    from cfbd_core.store.entries import EmbeddingEntry, EvidenceEntry, MappingEntry, SplitFigures

LOADER_WORKERS = 4  # what open_clip starts by itself; each needs a tar of its own


class ExportOrigin(TypedDict):
    """What an export is of: which pairs of which audit, and how these were judged.

    ``filter`` is of pairs that were selected by hand; ``params`` are then the sliders', with the γ_z that they give.
    """

    audit: str
    subset: str
    filter: NotRequired[dict[str, str]]
    params: SplitFigures | SplitSettings
    source: dict[str, object]
    embedding: EmbeddingEntry | None
    mapping: MappingEntry | None
    evidence: NotRequired[EvidenceEntry]
    counts: dict[str, int]
    warnings: NotRequired[list[str]]


class DryRun(ExportOrigin):
    """What an export would write."""

    out: str
    format: Format
    pairs: int
    dry_run: bool
    without_picture: int


class OfFormat(TypedDict, total=False):
    """What is told of an export in one format: of a CSV, of WebDataset's pictures, of a table's paths."""

    spreadsheet_safe: bool
    pandas_safe: bool
    captions_not_text_to_pandas: int
    pictures: dict[str, object]
    paths: str


class Readers(TypedDict, total=False):
    """The words by which others read an export; open_clip's are None where it cannot read it."""

    open_clip: str | None
    pandas: str
    datasets: str


class Sidecar(ExportOrigin):
    """The content of ``OUT.json``."""

    out: str
    format: Format
    pairs: int
    without_picture: int
    compared_with_what_was_embedded: Mapping[str, int]
    versions: dict[str, str]
    read_from: str
    spreadsheet_safe: NotRequired[bool]
    pandas_safe: NotRequired[bool]
    captions_not_text_to_pandas: NotRequired[int]
    pictures: NotRequired[dict[str, object]]
    paths: NotRequired[str]
    open_clip: NotRequired[str | None]
    pandas: NotRequired[str]
    datasets: NotRequired[str]


def sidecar_of(
    out: Path,
    out_format: Format,
    about: ExportOrigin,
    style: Style,
    tally: Tally,
    tars: Sequence[str],
) -> Sidecar:
    """Return the content of ``OUT.json``: what the caller says (``about``), counts, versions, warnings, how to read it.

    ``tars`` are the names of a WebDataset's tars with pictures. What is to be read is named as from ``out``'s folder.
    """
    readers = _READERS[out_format](out.name, tally, tars)
    warnings = about.get("warnings", []) + tally.warnings(out_format)
    if out_format == "webdataset" and tars and readers["open_clip"] is None:
        warnings.append(
            "open_clip reads this folder's name as a pattern; rename it, then give it to open_clip"
        )
    return {
        **about,
        "out": out.name,
        "format": out_format,
        "pairs": tally.pairs,
        "without_picture": tally.without_picture,
        "compared_with_what_was_embedded": tally.compared,
        "versions": {name: version(name) for name in ("duckdb", "open_clip_torch", "pyarrow", "torch")},
        "read_from": "the folder that this file is in",
        **_of_format(out_format, style, tally),
        **readers,
        "warnings": warnings,
    }


def _of_format(out_format: Format, style: Style, tally: Tally) -> OfFormat:
    entries: OfFormat = {}
    if out_format == "csv":
        entries["spreadsheet_safe"] = style.spreadsheet_safe
        entries["pandas_safe"] = style.pandas_safe
        entries["captions_not_text_to_pandas"] = tally.missing + tally.numbers
    if out_format == "webdataset":
        entries["pictures"] = {
            "ending": tally.ending,
            "formats": tally.formats,
            "reencoded": tally.reencoded,
            "renamed": tally.renamed,
        }
    else:
        entries["paths"] = (
            "relative to the folder that this file is in" if style.relative_paths else "absolute"
        )
    return entries


def _of_csv(name: str, _tally: Tally, _tars: Sequence[str]) -> Readers:
    values = ", ".join(f"{column!r}: datasets.Value({_hf_type(column)!r})" for column in COLUMNS)
    numbers = {column: [""] for column in COLUMNS if _hf_type(column) != "string"}
    return {
        "open_clip": f"--dataset-type csv --train-data {_named(name)} --csv-separator , "
        "--csv-img-key image --csv-caption-key caption",
        "pandas": f"pandas.read_csv({name!r}, dtype=str, keep_default_na=False)",
        "datasets": f"datasets.load_dataset('csv', data_files={glob.escape(name)!r}, split='train', "
        f"keep_default_na=False, na_values={numbers!r}, features=datasets.Features({{{values}}}))",
    }


def _of_parquet(name: str, _tally: Tally, _tars: Sequence[str]) -> Readers:
    return {
        "pandas": f"pandas.read_parquet({name!r})",
        "datasets": f"datasets.load_dataset('parquet', data_files={glob.escape(name)!r}, split='train')"
        ".cast_column('image', datasets.Image())",
    }


def _of_webdataset(name: str, tally: Tally, tars: Sequence[str]) -> Readers:
    files = f"{glob.escape(name)}/*.tar"
    flags = None
    if tars and not any(sign in name for sign in PATTERN_SIGNS):
        flags = (
            f"--dataset-type webdataset --train-data {_named(f'{name}/{_braced(tars)}')} "
            f"--train-num-samples {tally.pairs - tally.without_picture} "
            f"--workers {min(LOADER_WORKERS, len(tars))}"
        )
    return {
        "open_clip": flags,
        "datasets": f"datasets.load_dataset('webdataset', data_files={files!r}, split='train')",
    }


_READERS = {"csv": _of_csv, "parquet": _of_parquet, "webdataset": _of_webdataset}


def _braced(tars: Sequence[str]) -> str:
    """Tars with consecutive numbers as open_clip takes them."""
    first, last = Path(tars[0]).stem, Path(tars[-1]).stem
    return tars[0] if first == last else f"{{{first}..{last}}}.tar"


def _named(name: str) -> str:
    """Return the name for a shell, as a path that is no option, nor an address."""
    return shlex.quote(f"./{name}" if name.startswith("-") or ":" in name else name)


def _hf_type(column: str) -> str:
    """Return a type that ``datasets`` can read of a CSV's column: it has no truth value that is not known."""
    return "float32" if SCHEMA.field(column).type == pa.float32() else "string"
