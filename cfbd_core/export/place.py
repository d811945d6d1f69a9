"""Where an export may be written, and what it would overwrite there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cfbd_core.errors import ParameterError
from cfbd_core.export.columns import FORMATS, Format
from cfbd_core.machine.files import clear_dead, is_full_disk, parts_of, read_json, report_in_one_line
from cfbd_core.machine.places import check_outside, real
from cfbd_core.sources.cells import is_unicode
from cfbd_core.wording import in_one_line

MOST_BYTES = 1 << 26  # of a sidecar: a longer file is not ours, and is not read


def guess_format(out: Path) -> Format:
    """Return the format that a path's ending asks for; WebDataset for a folder name without an ending."""
    endings: dict[str, Format] = {
        ".csv": "csv",
        ".parquet": "parquet",
        ".tar": "webdataset",
        "": "webdataset",
    }
    known_format = endings.get(out.suffix.lower())
    if known_format is None:
        raise ParameterError(f"--out {out}: give a .csv or .parquet file, or --format {'|'.join(FORMATS)}")
    return known_format


def what_is_lost(out: Path, audit: str | None) -> str | None:
    """Return what an export of ``audit`` (its folder) to ``out`` would overwrite besides an earlier one of its own.

    In words, or None where nothing is. An export is known by its sidecar.
    """
    sidecar = beside(out, ".json")
    if not os.path.exists(out) and not os.path.exists(sidecar):
        return None
    record = _sidecar_of(out)
    if record is None:
        return f"would overwrite {'a file' if os.path.exists(out) else sidecar.name} that is no export"
    if record.get("audit") != audit:
        return f"would overwrite the export of another audit ({record.get('audit') or 'not named'})"
    return None


def _sidecar_of(out: Path) -> Mapping[str, object] | None:
    """Return what the export that was written to ``out`` says of itself; None where none was."""
    sidecar = beside(out, ".json")
    if not os.path.isfile(sidecar) or os.path.getsize(sidecar) > MOST_BYTES:
        return None
    record = read_json(sidecar) or {}
    return record if {"out", "format", "pairs", "versions"} <= record.keys() else None


def beside(out: Path, ending: str) -> Path:
    """Return the path of what is written beside ``out``: its sidecar (.json), its pictures (.images)."""
    return out.with_name(out.name + ending)


def check_out(out: Path, out_format: Format, audit: str | None, protected: Sequence[Path]) -> None:
    """Raise ParameterError where an export of ``audit`` cannot be at ``out``, or would harm ``protected``."""
    if not is_unicode(str(real(out))):
        raise ParameterError(f"--out {out}: this name is not UTF-8, and files name it; give another place")
    if out_format == "webdataset":
        if out.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
            raise ParameterError(f"--out {out}: a WebDataset is a folder of tars; give a name without .tar")
        if out.exists():
            raise ParameterError(f"--out {out}: exists already; give a new folder for the tars")
    elif out.exists() and not out.is_file():
        what = "folder" if out.is_dir() else "device or pipe"
        raise ParameterError(f"--out {out}: is a {what}; give a file, e.g. clean.{out_format}")
    sidecar, images = beside(out, ".json"), beside(out, ".images")
    if sidecar.exists() and not sidecar.is_file():
        what = "folder" if sidecar.is_dir() else "device or pipe"
        raise ParameterError(
            f"--out {out}: {sidecar} is a {what}, and is needed as a file; give another name"
        )
    if out_format != "webdataset" and images.exists() and not images.is_dir():
        raise ParameterError(f"--out {out}: {images} is a file, and is needed as a folder; give another name")
    written = [out, sidecar] if out_format == "webdataset" else [out, sidecar, images]
    check_outside(f"--out {out}", written, protected)
    loss = what_is_lost(out, audit)
    if loss:
        raise ParameterError(f"--out {out}: {loss}; give another name")


def clear_dead_parts(out: Path) -> None:
    """Delete what exports to ``out`` have left half-written that were killed, on this machine."""
    for written in (out, beside(out, ".json")):
        clear_dead(out.parent, parts_of(written.name))
    clear_dead(beside(out, ".images"), parts_of())


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; where the block fails, those that were made and are empty go again."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    try:
        yield
    except BaseException:
        for one in new:
            with suppress(OSError):
                one.rmdir()
        raise


@contextmanager
def report_for(out: Path) -> Iterator[None]:
    """Say in one line why ``out`` cannot be written."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            with report_in_one_line(out.parent):  # the disk that ``out`` lies on
                raise
        why = error.strerror or in_one_line(error)
        raise ParameterError(f"--out {out}: cannot be written ({why}); give another place") from error
