"""How a copy lies on disk: WebDataset shards, or a folder of pictures with one Parquet table.

A part is a shard's worth of records, written beside and renamed: what is there is whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.machine.files import written_beside
from cfbd_core.machine.tars import Record, escaped_key, json_bytes, write_tar
from cfbd_core.poisoning.records import CopyRecord

Encoded = tuple[CopyRecord, str, bytes]  # the ending and the bytes of its picture
TABLE_NAME, PICTURES_NAME = "pairs.parquet", "pictures"
_TEXTS = ("label", "attack", "target", "origin_key", "origin_caption", "trap")


class CopyFormat(ABC):
    """``several``: records may have several captions. The copy goes to the folder ``out``."""

    def __init__(self, out: Path, several: bool) -> None:
        self.out, self.several = out, several

    @abstractmethod
    def has(self, part: int) -> bool:
        """Say whether a part is there already."""

    @abstractmethod
    def write(self, part: int, records: Iterable[Encoded]) -> None:
        """Write a part, whole or not at all."""

    @abstractmethod
    def finish(self, parts: Iterable[Iterable[CopyRecord]]) -> None:
        """Write what belongs to all parts; these are their records."""

    @abstractmethod
    def written(self, parts: int) -> list[Path]:
        """Return the files, and folders of numbered pictures, that a copy of so many parts consists of."""

    def facts(self, record: CopyRecord) -> dict[str, object]:
        """Return what a record's entry says."""
        several = {"captions": record.captions} if self.several else {}
        return {"key": record.key, "caption": record.captions[0], **several, **record.facts}


class WebDatasetCopy(CopyFormat):
    """``00000.tar``, …: key.png, key.txt (the first caption), key.json."""

    def has(self, part: int) -> bool:
        """Say whether the shard is there."""
        return self._path(part).exists()

    def write(self, part: int, records: Iterable[Encoded]) -> None:
        """Write a shard."""
        write_tar(self._path(part), map(self._record, records))

    def finish(self, parts: Iterable[Iterable[CopyRecord]]) -> None:
        """Nothing is left to write."""

    def written(self, parts: int) -> list[Path]:
        """Return the shards."""
        return [self._path(part) for part in range(parts)]

    def _path(self, part: int) -> Path:
        return self.out / f"{part:05d}.tar"

    def _record(self, encoded: Encoded) -> Record:
        record, ending, data = encoded
        text = {"txt": record.captions[0].encode(), "json": json_bytes(self.facts(record))}
        return escaped_key(record.key), {ending: data} | text


class FolderCopy(CopyFormat):
    """``pictures/00000/000000.png``, … by number in the part, and ``pairs.parquet`` with one row a record."""

    def has(self, part: int) -> bool:
        """Say whether the part's folder is there."""
        return self._path(part).exists()

    def write(self, part: int, records: Iterable[Encoded]) -> None:
        """Write the pictures of a part."""
        path = self._path(part)
        path.parent.mkdir(exist_ok=True)
        with written_beside(path) as beside:
            beside.mkdir()
            for number, (_, ending, data) in enumerate(records):
                (beside / f"{number:06d}.{ending}").write_bytes(data)

    def finish(self, parts: Iterable[Iterable[CopyRecord]]) -> None:
        """Write the table, unless it is there."""
        if (self.out / TABLE_NAME).exists():
            return
        schema = pa.schema(
            [("key", pa.string()), ("image", pa.string())]
            + ([("captions", pa.list_(pa.string()))] if self.several else [("caption", pa.string())])
            + [("poisoned", pa.bool_()), *((name, pa.string()) for name in _TEXTS)]
        )
        with written_beside(self.out / TABLE_NAME) as beside, pq.ParquetWriter(beside, schema) as writer:
            for part, records in enumerate(parts):
                rows = list(self._rows(part, records))
                writer.write_table(pa.Table.from_pylist(rows, schema))

    def written(self, parts: int) -> list[Path]:
        """Return the folders of pictures, then the table."""
        return [*(self._path(part) for part in range(parts)), self.out / TABLE_NAME]

    def _path(self, part: int) -> Path:
        return self.out / PICTURES_NAME / f"{part:05d}"

    def _rows(self, part: int, records: Iterable[CopyRecord]) -> Iterator[dict[str, object]]:
        files = sorted(self._path(part).glob("[0-9]" * 6 + ".*"))  # in the order of their numbers
        for record, file in zip(records, files, strict=True):
            yield self.facts(record) | {"image": file.relative_to(self.out).as_posix()}


FORMATS: dict[str, type[CopyFormat]] = {"webdataset": WebDatasetCopy, "folder": FolderCopy}
OutFormat = Literal["webdataset", "folder"]
