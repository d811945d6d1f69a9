"""Small sources of four kinds that can be written again: pictures of one size in bytes, captions of one length."""

from __future__ import annotations

import csv
import io
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.toy import COLOURS, toy_picture

COUNT, BYTES = 12, 2000
KINDS = ("csv", "folder", "tars", "parquet")


class Pair(NamedTuple):
    """One pair of a source."""

    key: str
    caption: str
    picture: bytes


def pair(number: int, length: int = BYTES) -> Pair:
    """Return the pair of a number; its picture has ``length`` bytes."""
    colour = list(COLOURS)[number % len(COLOURS)]
    stream = io.BytesIO()
    toy_picture(colour, np.random.default_rng(number)).save(stream, "PNG")
    return Pair(
        f"{number:04d}", f"a {colour} card {number}".ljust(24, "."), stream.getvalue().ljust(length, b"\0")
    )


def write(kind: str, folder: Path, pairs: Sequence[Pair]) -> None:
    """Write a source into a folder, over what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    {"csv": _csv, "folder": _folder, "tars": _tars, "parquet": _parquet}[kind](folder, pairs)


def _csv(folder: Path, pairs: Sequence[Pair]) -> None:
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "image", "caption"])
        rows.writerows([one.key, f"img/{one.key}.png", one.caption] for one in pairs)
    (folder / "img").mkdir(exist_ok=True)
    for one in pairs:
        _put(folder / "img" / f"{one.key}.png", one.picture)


def _folder(folder: Path, pairs: Sequence[Pair]) -> None:
    for place, one in enumerate(pairs):  # sorted anew: other pairs under the same names
        _put(folder / f"{place:04d}.png", one.picture)
        _put(folder / f"{place:04d}.txt", one.caption.encode())


def _tars(folder: Path, pairs: Sequence[Pair]) -> None:
    for number in range(2):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for one in pairs[number * COUNT // 2 : (number + 1) * COUNT // 2]:
                for ending, data in (("png", one.picture), ("txt", one.caption.encode())):
                    member = tarfile.TarInfo(f"{one.key}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def _parquet(folder: Path, pairs: Sequence[Pair]) -> None:
    columns = {"jpg": [one.picture for one in pairs], "caption": [one.caption for one in pairs]}
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(columns), folder / "pairs.parquet", **plain)  # the key is the row's number


def _put(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


# --- the seven ways ----------------------------------------------------------------------------------------------


def sorted_anew(kind: str, folder: Path) -> None:
    """The same pairs under the same names, in another order."""
    write(kind, folder, [pair(number) for number in reversed(range(COUNT))])


def cut(kind: str, folder: Path) -> None:
    """The file that holds the pairs, or a picture of a folder, ends too early."""
    path = (
        folder
        / {"csv": "pairs.csv", "folder": "0002.png", "tars": "00001.tar", "parquet": "pairs.parquet"}[kind]
    )
    os.truncate(path, path.stat().st_size // 8)


def of_the_same_size(kind: str, folder: Path) -> None:
    """Two captions have changed places: every file is as large as before."""
    pairs = [pair(number) for number in range(COUNT)]
    pairs[1], pairs[2] = (
        pairs[1]._replace(caption=pairs[2].caption),
        pairs[2]._replace(caption=pairs[1].caption),
    )
    write(kind, folder, pairs)


def with_another_picture(kind: str, folder: Path) -> None:
    """One picture was replaced by a larger one."""
    pairs = [pair(number) for number in range(COUNT)]
    write(kind, folder, [*pairs[:3], pairs[3]._replace(picture=pair(7, BYTES + 512).picture), *pairs[4:]])


def with_another_picture_as_old(kind: str, folder: Path) -> None:
    """One picture was replaced by one of the same size, and the files' times were set back."""
    before = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    pairs = [pair(number) for number in range(COUNT)]
    write(kind, folder, [*pairs[:3], pairs[3]._replace(picture=pair(8).picture), *pairs[4:]])
    for path, status in before.items():
        assert path.stat().st_size == status.st_size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touched(kind: str, folder: Path) -> None:
    """Nothing but the times of the files."""
    for path in folder.rglob("*"):
        os.utime(path)


def moved(kind: str, folder: Path) -> None:
    """The whole source lies elsewhere."""
    folder.rename(moved_to(folder))


def moved_to(folder: Path) -> Path:
    """Where :func:`moved` puts a source."""
    return folder.with_name(f"{folder.name}-elsewhere")


CHANGES: tuple[Callable[[str, Path], None], ...] = (
    sorted_anew,
    cut,
    of_the_same_size,
    with_another_picture,
    with_another_picture_as_old,
    touched,
    moved,
)
