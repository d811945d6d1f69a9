"""The pairs of any source that can be copied: those with a picture, grouped by record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from cfbd_core.attacks.base import resized
from cfbd_core.errors import SourceError
from cfbd_core.pictures.images import BadImage, decode_image, read_image_bytes
from cfbd_core.pictures.place import PicturePlace, place_at, places_of
from cfbd_core.sources import PAIR_SCHEMA, Batch, SourceOptions, fingerprint, open_source
from cfbd_core.sources.base import repeated_key

Keys = Literal["all", "even", "odd"]


@dataclass(frozen=True)
class SourcePairs:
    """N pairs of a source, in its order.

    ``table`` has ``PAIR_SCHEMA``. A pair is caption ``number`` int64 (N,) of the record ``record_of`` int64 (N,),
    whose key is in ``record_keys``; ``image_of`` int64 (N,) numbers the pictures, which several records of a table
    may share. ``skipped`` counts what gave no pair, by reason; ``left_out`` are the pictures of other keys.
    ``files`` are what was read, ``fingerprint`` and ``format`` say of what state and kind.
    """

    table: pa.Table
    record_keys: list[str]
    record_of: np.ndarray
    number: np.ndarray
    image_of: np.ndarray
    skipped: dict[str, int]
    left_out: list[PicturePlace]
    files: list[Path]
    fingerprint: str
    format: str

    def place(self, pair: int) -> PicturePlace:
        """Return where the picture of a pair lies."""
        return place_at(self.table, pair)

    def places(self) -> list[PicturePlace]:
        """Return where every picture lies, each once, in the source's order."""
        return list(dict.fromkeys(places_of(self.table)))


def read_pairs(source: str | Path, options: SourceOptions, keys: Keys = "all") -> SourcePairs:
    """Read all pairs of a source whose integer key is even or odd, or all.

    Raises SourceError: nothing there can be read, there are no pictures, or keys are not numbers.
    """
    opened = open_source(source, options)
    reader = _Reader(keys, options.captions == "all")
    table = pa.Table.from_batches(map(reader.chosen, opened.batches()), PAIR_SCHEMA)
    if not table.num_rows:
        reasons = ", ".join(f"{n} × {reason}" for reason, n in reader.skipped.items())
        if opened.has_embeddings:
            raise SourceError(
                f"{source}: holds embeddings but no pictures; give the source they were made of"
            )
        wanted = f" with an {keys} key" if keys != "all" else ""
        raise SourceError(f"{source}: no pair{wanted} that can be copied{f' ({reasons})' if reasons else ''}")
    numbers: dict[PicturePlace, int] = {}
    return SourcePairs(
        table=table,
        record_keys=list(reader.records),
        record_of=np.array(reader.record_of, np.int64),
        number=np.array(reader.number, np.int64),
        image_of=np.array([numbers.setdefault(place, len(numbers)) for place in places_of(table)], np.int64),
        skipped=dict(reader.skipped),
        left_out=list(reader.left_out),
        files=opened.files(),
        fingerprint=fingerprint(opened),
        format=opened.name,
    )


def read_picture(place: PicturePlace) -> Image.Image:
    """Return the whole picture at the encoder's input size, RGB. Raises BadImage."""
    return resized(decode_image(read_image_bytes(place)))


def picture_pool(places: list[PicturePlace], seed: int) -> Callable[[int], list[Image.Image]]:
    """Return what gives at most n pictures, drawn at random from ``places``, the same at each call."""

    def readable(count: int) -> Iterator[Image.Image]:
        for number in np.random.default_rng(seed).permutation(len(places)):
            if count == 0:
                return
            try:
                picture = read_picture(places[number])
            except BadImage:
                continue
            count -= 1
            yield picture

    return cache(lambda count: list(readable(count)))


class _Reader:
    """Chooses pairs batch by batch, and notes the record of each; keys that repeat get names as in an audit."""

    def __init__(self, keys: Keys, numbered: bool) -> None:
        self._keys, self._numbered = keys, numbered
        self._seen: set[int] = set()  # pairs, by hash
        self._shard_of_record: dict[str, str] = {}  # key of a record -> the shard of its first
        self._times: Counter[tuple[str, str]] = Counter()  # that a key began another record of a shard
        self._last: tuple[str, str, PicturePlace, int] | None = None
        self.records: dict[str, int] = {}
        self.record_of: list[int] = []
        self.number: list[int] = []
        self.skipped: Counter[str] = Counter()
        self.left_out: dict[PicturePlace, None] = {}

    def chosen(self, batch: Batch) -> pa.RecordBatch:
        """Return the pairs that are copied."""
        self.skipped.update(skip.reason for skip in batch.skips)
        pairs = batch.pairs
        columns = (pairs["key"].to_pylist(), pairs["caption"].to_pylist(), places_of(pairs))
        keep = [self._keep(batch.shard, *pair) for pair in zip(*columns, strict=True)]
        return pairs.filter(pa.array(keep, pa.bool_()))

    def _keep(self, shard: str, key: str, caption: str, place: PicturePlace) -> bool:
        record, number = key, 0
        if self._numbered:
            record, _, last = key.rpartition("#")
            number = int(last)
        if not place.file:
            self.skipped["no picture"] += 1
            return False
        if self._keys != "all":
            if not (record.isascii() and record.isdigit()):
                raise SourceError(f"key {record!r} is not a number; use --keys all")
            if int(record) % 2 != (self._keys == "odd"):
                self.left_out[place] = None
                return False
        pair = hash((key, caption, place))
        if pair in self._seen:
            self.skipped["duplicate key"] += 1
            return False
        self._seen.add(pair)
        self.record_of.append(self._record(shard, record, place, number))
        self.number.append(number)
        return True

    def _record(self, shard: str, key: str, place: PicturePlace, number: int) -> int:
        """Return the number of a record: the last one's for its further captions, else a new one."""
        last, self._last = self._last, (shard, key, place, number)
        if last is not None and last[:3] == (shard, key, place) and last[3] < number:
            return len(self.records) - 1
        home = self._shard_of_record.setdefault(key, shard)
        self._times[shard, key] += 1
        name = repeated_key(key, shard, home, self._times[shard, key])
        while name in self.records:
            name += "~"
        return self.records.setdefault(name, len(self.records))
