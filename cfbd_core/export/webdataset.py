"""An export as WebDataset tars, such that open_clip and Hugging Face ``datasets`` read every pair of them.

open_clip keeps pictures that are called png, jpg, jpeg or webp: others become PNG. ``datasets`` takes the fields of a
set, and their types, from its first records: so all pictures end alike, no text is null, the first record is one that
lacks the fewest values, and pairs without a picture have tars of their own. Neither reads names that begin with a dot,
and ``datasets`` none with two underlines (:func:`cfbd_core.machine.tars.escaped_key`).
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from cfbd_core.export.columns import COLUMNS, TYPED
from cfbd_core.export.compared import DIGEST
from cfbd_core.export.pictures import as_png, picture_of
from cfbd_core.export.tally import Tally
from cfbd_core.machine.progress import Counter
from cfbd_core.machine.tars import LOADED_ENDINGS, escaped_key, json_bytes
from cfbd_core.pictures.picture import Picture
from cfbd_core.pictures.place import PicturePlace

PAIRS_PER_TAR = 10_000
FACTS = tuple(name for name in COLUMNS if name != "image")
FIRST_RECORDS = 5  # records that ``datasets`` learns the fields of a set from
Row = dict[str, Any]  # of ``audit_pairs``


def write_webdataset(
    batches: Iterable[pa.RecordBatch], folder: Path, tally: Tally, counter: Counter
) -> list[str]:
    """Write KEY.EXT, KEY.txt and KEY.json of every pair to tars in the new ``folder``.

    Returns the names of those tars whose pairs have pictures; the others are called ``no_picture_*.tar``.
    """
    folder.mkdir()
    known: set[str] = set()  # numbers and truth values that any record has
    with _Tars(folder) as pictured, _Tars(folder, "no_picture_") as bare:
        for batch in batches:
            known |= {name for name in TYPED if batch.column(name).null_count < batch.num_rows}
            rows = batch.to_pylist()
            for tars, of_kind in (
                (pictured, [row for row in rows if row["image"] is not None]),
                (bare, [row for row in rows if row["image"] is None]),
            ):
                for row in of_kind if tars.pairs else fullest_first(of_kind):
                    tars.add(row, _members(row, tally))
                    counter.add(1)
    tally.late = known - (pictured if pictured.pairs else bare).known_first
    return pictured.names


def look_of(batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """The pairs of a batch as they would be written, a list a column: the picture's name, then what KEY.json says."""
    tally, looks = Tally(), []
    for row in batch.to_pylist():
        *pictures, _, facts = _members(row, tally).items()
        names = [f"{escaped_key(row['key'])}.{ending}" for ending, _ in pictures]
        looks.append({"file": names[0] if names else None} | json.loads(facts[1]))
    return {name: [look[name] for look in looks] for name in looks[0]}


def fullest_first(rows: list[Row]) -> list[Row]:
    """Return the rows, the first of those with the most numbers and truth values before all others."""
    if not rows:
        return rows
    known = [sum(row[name] is not None for name in TYPED) for row in rows]
    best = known.index(max(known))
    return [rows[best], *rows[:best], *rows[best + 1 :]]


def _members(row: Row, tally: Tally) -> dict[str, bytes]:
    """Return the files of a pair by their endings."""
    members, kind = {}, ""
    if row["image"] is not None:
        picture = Picture(PicturePlace.from_pair(row), row.get(DIGEST, b""))
        data, kind = picture_of(row["key"], picture)
        ending, data = _loadable(row["key"], data, kind, tally)
        members[ending] = data
    members["txt"] = row["caption"].encode()
    facts: dict[str, Any] = {name: row[name] if name in TYPED else row[name] or "" for name in FACTS}
    for name in ("consistency", "z"):
        if facts[name] is not None and not math.isfinite(facts[name]):
            facts[name] = None
    facts["picture_format"] = kind
    members["json"] = json_bytes(facts)
    return members


def _loadable(key: str, data: bytes, kind: str, tally: Tally) -> tuple[str, bytes]:
    """Return the ending and the bytes that a picture of the format ``kind`` is written with."""
    tally.formats[kind] += 1
    ending = kind
    if kind not in LOADED_ENDINGS:
        data, ending = as_png(key, data), "png"
        tally.reencoded[kind] += 1
    tally.ending = tally.ending or ending
    if ending != tally.ending:
        tally.renamed[ending] += 1
    return tally.ending, data


class _Tars:
    """Tars of one kind in ``folder``, each full before the next is begun; none is made before it is needed."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.pairs = 0
        self.names: list[str] = []
        self.known_first: set[str] = set()  # numbers and truth values of the first records
        self._folder, self._prefix = folder, prefix
        self._tar: tarfile.TarFile | None = None

    def add(self, row: Row, members: dict[str, bytes]) -> None:
        """Write the files of one pair."""
        if self.pairs < FIRST_RECORDS:
            self.known_first |= {name for name in TYPED if row[name] is not None}
        if self._tar is None or self.pairs % PAIRS_PER_TAR == 0:
            self._close()
            self.names.append(f"{self._prefix}{len(self.names):05d}.tar")
            self._tar = tarfile.TarFile(self._folder / self.names[-1], "w", format=tarfile.GNU_FORMAT)
        stem = escaped_key(row["key"])
        for ending, data in members.items():
            member = tarfile.TarInfo(f"{stem}.{ending}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        self.pairs += 1

    def _close(self) -> None:
        if self._tar is not None:
            self._tar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
