"""Take the clean set home: CSV, Parquet or WebDataset, with a sidecar that says how it was made.

Captions are written as they are, since models are trained on them; ``spreadsheet_safe`` puts a
quote before cells that a spreadsheet would run as a formula. Images that lie inside tar or
Parquet files are written out once to ``OUT.images/``, so that open_clip's CSV loader can open
every path. Everything is written beside and renamed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.files import write_json, written_beside
from cfbd_core.images import BadImage, picture_ending, read_image_bytes
from cfbd_core.places import check_outside
from cfbd_core.tars import escaped_key

Format = Literal["csv", "parquet", "webdataset"]
Subset = Literal["kept", "removed", "all"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "webdataset")
SUBSETS: tuple[Subset, ...] = ("kept", "removed", "all")
COLUMNS = (
    "key", "image", "caption", "consistency", "z", "subset", "verdict", "decision", "note", "final",
    "label", "poisoned", "attack", "target", "origin_key", "origin_caption",
)  # fmt: skip
FORMULA = "^[=+@\t\r-]"  # how a cell begins that a spreadsheet runs
CSV_OPTIONS = arrow_csv.WriteOptions(include_header=False, eol="\r\n", quoting_style="needed")
PAIRS_PER_TAR = 10_000
Progress = Callable[[int], None]


def guess_format(out: Path) -> Format:
    """The format that a path's ending asks for; WebDataset for a folder name without an ending."""
    endings: dict[str, Format] = {
        ".csv": "csv",
        ".parquet": "parquet",
        ".tar": "webdataset",
        "": "webdataset",
    }
    found = endings.get(out.suffix.lower())
    if found is None:
        raise ParameterError(f"--out {out}: give a .csv or .parquet file, or --format {'|'.join(FORMATS)}")
    return found


def export(
    batches: Iterator[pa.RecordBatch],
    out: Path,
    out_format: Format,
    sidecar: dict[str, Any],
    *,
    spreadsheet_safe: bool = False,
    progress: Progress | None = None,
    protected: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write pairs (rows of ``audit_pairs``) to ``out`` and ``sidecar`` to ``out`` + ``.json``.

    ``protected`` are files and folders that nothing is written to or into. Returns the sidecar with the
    number of pairs, the versions and, for CSV, open_clip's flags. Raises ParameterError (``out`` cannot
    be written, or would overwrite what is no earlier export of ``sidecar["audit"]``) and SourceError (a
    picture is gone or is none); then nothing is left behind.
    """
    if spreadsheet_safe and out_format != "csv":
        raise ParameterError(f"--spreadsheet-safe is for CSV only; leave it out for {out_format}")
    with _told_of(out):
        _check_out(out, out_format, protected)
        loss = what_is_lost(out, sidecar.get("audit"))
        if loss:
            raise ParameterError(f"--out {out}: {loss}; give another name")
        out.parent.mkdir(parents=True, exist_ok=True)
        if out_format == "webdataset":
            pairs = _write_webdataset(batches, out, progress)
        else:
            write = _write_csv if out_format == "csv" else _write_parquet
            with _ImagesOut(_beside(out, ".images")) as images, written_beside(out) as beside:
                pairs = write(
                    (_with_paths(batch, images) for batch in batches), beside, spreadsheet_safe, progress
                )
        return _write_sidecar(out, out_format, pairs, sidecar)


def what_is_lost(out: Path, audit: str | None) -> str | None:
    """What an export of ``audit`` (its folder) to ``out`` would overwrite besides an earlier one of its own.

    In words, or None where nothing is. An export is known by its sidecar.
    """
    sidecar = _beside(out, ".json")
    if not os.path.exists(out) and not os.path.exists(sidecar):
        return None
    record = _sidecar_of(out)
    if record is None:
        return f"would overwrite {'a file' if os.path.exists(out) else sidecar.name} that is no export"
    if record.get("audit") != audit:
        return f"would overwrite the export of another audit ({record.get('audit') or 'not named'})"
    return None


def _sidecar_of(out: Path) -> dict[str, Any] | None:
    """What the export that was written to ``out`` says of itself; None where none was."""
    try:
        record = json.loads(_beside(out, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(record, dict) and {"out", "format", "pairs", "versions"} <= record.keys()
    return record if is_ours else None


def _write_sidecar(out: Path, out_format: Format, pairs: int, sidecar: dict[str, Any]) -> dict[str, Any]:
    record = sidecar | {
        "out": out.name,
        "format": out_format,
        "pairs": pairs,
        "versions": {name: version(name) for name in ("duckdb", "open_clip_torch", "pyarrow", "torch")},
    }
    if out_format == "csv":
        record["open_clip"] = (
            f"--dataset-type csv --train-data {out.name} --csv-separator , "
            "--csv-img-key image --csv-caption-key caption"
        )
    write_json(_beside(out, ".json"), record)
    return record


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(out.name + ending)


def _check_out(out: Path, out_format: Format, protected: Sequence[Path]) -> None:
    """Raise ParameterError where ``out`` cannot be, or what is written with it would harm ``protected``."""
    if out_format == "webdataset":
        if out.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
            raise ParameterError(f"--out {out}: a WebDataset is a folder of tars; give a name without .tar")
        if out.exists():
            raise ParameterError(f"--out {out}: exists already; give a new folder for the tars")
    elif out.exists() and not out.is_file():
        what = "folder" if out.is_dir() else "device or pipe"
        raise ParameterError(f"--out {out}: is a {what}; give a file, e.g. clean.{out_format}")
    sidecar, images = _beside(out, ".json"), _beside(out, ".images")
    if sidecar.is_dir():
        raise ParameterError(
            f"--out {out}: {sidecar} is a folder, and is needed as a file; give another name"
        )
    written = [out, sidecar] if out_format == "webdataset" else [out, sidecar, images]
    check_outside(f"--out {out}", written, protected)


@contextmanager
def _told_of(out: Path) -> Iterator[None]:
    """Say in one line why ``out`` cannot be written; a full disk is told by the caller."""
    try:
        yield
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT)
        if error.errno in full or os.strerror(errno.ENOSPC) in str(error):
            raise
        why = error.strerror or " ".join(str(error).split())
        raise ParameterError(f"--out {out}: cannot be written ({why}); give another place") from error


def _write_csv(
    batches: Iterator[pa.RecordBatch], path: Path, spreadsheet_safe: bool, progress: Progress | None
) -> int:
    """RFC 4180 by Arrow's writer: millions of rows are too many for a loop in Python."""
    pairs = 0
    with path.open("wb") as file:
        file.write((",".join(COLUMNS) + "\r\n").encode())
        for batch in batches:
            part = batch.select(list(COLUMNS))
            arrow_csv.write_csv(neutralised(part) if spreadsheet_safe else part, file, CSV_OPTIONS)
            pairs += batch.num_rows
            if progress:
                progress(batch.num_rows)
    return pairs


def neutralised(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Put a quote before the cells that a spreadsheet would run."""
    for index, column in enumerate(batch.columns):
        if pa.types.is_string(column.type):
            runs = pc.match_substring_regex(column, FORMULA)
            quoted = pc.binary_join_element_wise("'", column, "")
            batch = batch.set_column(index, batch.schema.field(index), pc.if_else(runs, quoted, column))
    return batch


def _write_parquet(
    batches: Iterator[pa.RecordBatch], path: Path, spreadsheet_safe: bool, progress: Progress | None
) -> int:
    pairs = 0
    writer: pq.ParquetWriter | None = None
    for batch in batches:
        part = batch.select(list(COLUMNS))
        writer = writer or pq.ParquetWriter(path, part.schema, compression="zstd")
        writer.write_batch(part)
        pairs += batch.num_rows
        if progress:
            progress(batch.num_rows)
    if writer is None:
        pq.write_table(pa.table({name: pa.array([], pa.string()) for name in COLUMNS}), path)
    else:
        writer.close()
    return pairs


def _write_webdataset(batches: Iterator[pa.RecordBatch], out: Path, progress: Progress | None) -> int:
    """One or more tars in the folder ``out``: KEY.EXT, KEY.txt, KEY.json for every pair."""
    pairs = 0
    rows = (row for batch in batches for row in batch.to_pylist())
    with written_beside(out) as beside:
        beside.mkdir()
        for number in count():
            first = next(rows, None)
            if first is None:
                break
            with tarfile.open(beside / f"{number:05d}.tar", "w") as tar:
                for row in chain([first], islice(rows, PAIRS_PER_TAR - 1)):
                    _add_pair(tar, row)
                    pairs += 1
                    if progress:
                        progress(1)
    return pairs


def _add_pair(tar: tarfile.TarFile, row: dict[str, Any]) -> None:
    key = escaped_key(row["key"])
    if row["image"] is not None:
        data, ending = _picture(row["key"], row["image"], row["image_offset"], row["image_size"])
        _add_member(tar, f"{key}.{ending}", data)
    _add_member(tar, f"{key}.txt", row["caption"].encode())
    record = {name: row[name] for name in COLUMNS if name != "image"}
    _add_member(tar, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _picture(key: str, image: str, offset: int | None, size: int | None) -> tuple[bytes, str]:
    """Return a pair's encoded picture and its file ending.

    Bytes that are no picture are refused: a table from a stranger may name any file as its image.
    """
    advice = "put the picture back, or leave the pair out with `cfbd decide` (remove)"
    try:
        data = read_image_bytes(image, offset, size)
    except BadImage as error:
        raise SourceError(
            f"key {key!r}: its picture in {image!r} cannot be read ({error.reason}); {advice}"
        ) from None
    ending = picture_ending(data)
    if ending is None:
        raise SourceError(f"key {key!r}: its image {image!r} is no picture and is not exported; {advice}")
    return data, ending


class _ImagesOut:
    """``OUT.images/``: pictures from inside tars and Parquet files, each written once.

    A context manager: an export that fails takes back what it has put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[tuple[str, int, int], str] = {}
        self._new: list[Path] = []

    def __enter__(self) -> Self:
        self._existed = self.folder.exists()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        for path in self._new:
            path.unlink(missing_ok=True)
        if not self._existed and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def path(self, key: str, image: str, offset: int, size: int) -> str:
        """Where the picture lies from now on."""
        place = (image, offset, size)
        if place not in self._written:
            data, ending = _picture(key, image, offset, size)
            self.folder.mkdir(parents=True, exist_ok=True)
            container = hashlib.blake2b(image.encode(), digest_size=4).hexdigest()  # stems may repeat
            target = self.folder / f"{Path(image).stem[:40]}_{container}_{offset:012d}.{ending}"
            if not target.is_file() or target.stat().st_size != len(data):
                self._new += [] if target.exists() else [target]
                with written_beside(target) as beside:
                    beside.write_bytes(data)
            self._written[place] = str(target.resolve())
        return self._written[place]


def _with_paths(batch: pa.RecordBatch, images: _ImagesOut) -> pa.RecordBatch:
    offsets = batch.column("image_offset")
    if offsets.null_count == batch.num_rows:
        return batch
    columns = (batch.column(name).to_pylist() for name in ("key", "image", "image_offset", "image_size"))
    plain = [
        image if offset is None else images.path(key, image, offset, size)
        for key, image, offset, size in zip(*columns, strict=True)
    ]
    index = batch.schema.get_field_index("image")
    return batch.set_column(index, "image", pa.array(plain, pa.string()))
