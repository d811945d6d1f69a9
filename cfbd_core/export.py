"""Take the clean set home: CSV, Parquet or WebDataset, with a sidecar that says how it was made.

Captions are written as they are, since models are trained on them; ``spreadsheet_safe`` puts a
quote before cells that a spreadsheet would run as a formula. Images that lie inside tar or
Parquet files are written out once to ``OUT.images/``, so that open_clip's CSV loader can open
every path. Everything is written beside and renamed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.errors import ParameterError
from cfbd_core.files import write_json, written_beside
from cfbd_core.images import read_image_bytes

Format = Literal["csv", "parquet", "webdataset"]
Subset = Literal["kept", "removed", "all"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "webdataset")
SUBSETS: tuple[Subset, ...] = ("kept", "removed", "all")
COLUMNS = (
    "key", "image", "caption", "consistency", "z", "subset", "verdict", "decision", "final",
    "label", "poisoned", "attack", "target", "origin_key", "origin_caption",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
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
) -> dict[str, Any]:
    """Write pairs (rows of ``audit_pairs``) to ``out`` and ``sidecar`` to ``out`` + ``.json``.

    Returns the sidecar with the number of pairs, the versions and, for CSV, open_clip's flags.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if out_format == "webdataset":
        pairs = _write_webdataset(batches, out, progress)
    else:
        images = _ImagesOut(out.with_name(out.name + ".images"))
        on_disk = (_with_paths(batch, images) for batch in batches)
        write = _write_csv if out_format == "csv" else _write_parquet
        with written_beside(out) as beside:
            pairs = write(on_disk, beside, spreadsheet_safe, progress)
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
    write_json(out.with_name(out.name + ".json"), record)
    return record


def _write_csv(
    batches: Iterator[pa.RecordBatch], path: Path, spreadsheet_safe: bool, progress: Progress | None
) -> int:
    pairs = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")  # RFC 4180
        writer.writerow(COLUMNS)
        for batch in batches:
            columns = [batch.column(name).to_pylist() for name in COLUMNS]
            rows = zip(*columns, strict=True)
            writer.writerows(map(_neutralised, rows) if spreadsheet_safe else rows)
            pairs += batch.num_rows
            if progress:
                progress(batch.num_rows)
    return pairs


def _neutralised(row: tuple[Any, ...]) -> list[Any]:
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell for cell in row]


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
    if out.exists():
        raise ParameterError(f"--out {out}: exists already; give a new folder for the tars")
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
    key = row["key"].replace(".", "_").replace("/", "_")  # a dot would end the key, a slash make a folder
    if row["image"] is not None:
        data = read_image_bytes(row["image"], row["image_offset"], row["image_size"])
        _add_member(tar, f"{key}.{image_ending(data)}", data)
    _add_member(tar, f"{key}.txt", row["caption"].encode())
    record = {name: row[name] for name in COLUMNS if name != "image"}
    _add_member(tar, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


class _ImagesOut:
    """``OUT.images/``: pictures from inside tars and Parquet files, each written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[tuple[str, int, int], str] = {}

    def path(self, image: str, offset: int, size: int) -> str:
        """Where the picture lies from now on."""
        place = (image, offset, size)
        if place not in self._written:
            self.folder.mkdir(parents=True, exist_ok=True)
            data = read_image_bytes(image, offset, size)
            container = hashlib.blake2b(image.encode(), digest_size=4).hexdigest()  # stems may repeat
            name = f"{Path(image).stem}_{container}_{offset:012d}.{image_ending(data)}"
            target = self.folder / name
            if not target.is_file() or target.stat().st_size != len(data):
                with written_beside(target) as beside:
                    beside.write_bytes(data)
            self._written[place] = str(target.resolve())
        return self._written[place]


def _with_paths(batch: pa.RecordBatch, images: _ImagesOut) -> pa.RecordBatch:
    offsets = batch.column("image_offset")
    if offsets.null_count == batch.num_rows:
        return batch
    sizes, paths = batch.column("image_size").to_pylist(), batch.column("image").to_pylist()
    places = zip(paths, offsets.to_pylist(), sizes, strict=True)
    plain = [path if offset is None else images.path(path, offset, size) for path, offset, size in places]
    index = batch.schema.get_field_index("image")
    return batch.set_column(index, "image", pa.array(plain, pa.string()))


def image_ending(data: bytes) -> str:
    """File ending for picture bytes, by their first bytes."""
    if data.startswith(b"\x89PNG"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"GIF8"):
        return "gif"
    if data[:2] == b"BM":
        return "bmp"
    return "tif" if data[:4] in (b"II*\x00", b"MM\x00*") else "jpg"
