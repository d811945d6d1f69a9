"""Where a poisoned copy may be written: never over a source, into an audit or beside other things."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.compute as pc

from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.machine.places import audit_around, real
from cfbd_core.poisoning.source_pairs import SourcePairs

MANIFEST = "manifest.json"


def check_place(out: Path, source: str | Path) -> None:
    """Raise ParameterError where ``out`` is a file, or lies in an audit or in the folder ``source``."""
    check_no_audit(out)
    if Path(source).is_dir() and real(out).is_relative_to(real(Path(source))):
        raise ParameterError(
            f"--out {out}: lies inside the source, which is never changed; give another folder"
        )


def check_no_audit(out: Path) -> None:
    """Raise ParameterError where ``out`` is a file, or lies in an audit."""
    if out.exists() and not out.is_dir():
        raise ParameterError(f"--out {out}: is a file; give a new folder")
    audit = audit_around(out)
    if audit is not None:
        raise ParameterError(f"--out {out}: lies in the audit {audit}; give a folder outside it")


def check_beside(out: Path, pairs: SourcePairs) -> None:
    """Raise ParameterError where ``out`` lies in a folder that holds shards or pictures of the source.

    A folder read as a source would hold the copy, too. One beside it may hold the copy.
    """
    folders = _picture_folders(pairs)
    if pairs.format == "webdataset" or len(pairs.files) > 1:
        folders |= {str(file.parent) for file in pairs.files}
    place = real(out)
    inside = next((folder for folder in folders if place.is_relative_to(real(Path(folder)))), None)
    if inside is not None:
        raise ParameterError(
            f"--out {out}: lies inside the source, which is never changed: {inside} holds pairs of it; "
            "give another folder"
        )


def clear(out: Path, written: Iterable[Path], was_made: bool) -> None:
    """Delete what a copy wrote, the last first, with what killed calls left of it; nothing else goes.

    ``written`` are files, and folders of numbered pictures. A folder goes once it is empty, ``out`` itself only if
    this call made it (``was_made``).
    """
    written = list(written)
    clear_halves(written)
    for path in reversed(written):
        if path.is_dir():
            for picture in path.glob("[0-9]" * 6 + ".*"):
                picture.unlink()
            _remove_if_empty(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent != out:
            _remove_if_empty(path.parent)
    if was_made:
        _remove_if_empty(out)


def clear_halves(written: Iterable[Path]) -> None:
    """Delete what calls that were killed left of these files and folders: each was to be renamed once it is whole."""
    for path in written:
        for half in path.parent.glob(f".{path.name}.*.part"):
            shutil.rmtree(half) if half.is_dir() else half.unlink()


def _picture_folders(pairs: SourcePairs) -> set[str]:
    """Return where the pictures lie that are files of their own."""
    table = pairs.table
    own = table.filter(pc.is_null(table["image_size"]))["image"].unique().to_pylist()
    own += [image for image, _, size in pairs.left_out if size is None]
    return {os.path.dirname(image) for image in own}


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty
        folder.rmdir()


@contextmanager
def report_for(out: Path) -> Iterator[None]:
    """Say in one line why ``out`` cannot be written."""
    with report_in_one_line(next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())):
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise ParameterError(
                f"--out {out}: a file is in its way ({error.filename}); give another folder"
            ) from error
