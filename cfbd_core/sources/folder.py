"""A folder of pictures with captions beside them: ``a.jpg`` and ``a.txt`` (or .caption, or .json)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cfbd_core.sources.base import Batch, Source
from cfbd_core.sources.records import MAX_TEXT_BYTES, Record, RecordReader, record_batches
from cfbd_core.sources.webdataset import IMAGES

TEXTS = ("txt", "caption", "json")


class FolderSource(Source):
    """Pictures and texts of the same stem, at any depth; the key is the relative path without ending."""

    name = "folder"
    looks_for = "pictures with a .txt or .caption of the same name"

    @classmethod
    def find(cls, path: Path) -> list[Path]:
        """Return the folder, if a picture in it has its caption beside it."""
        if path.is_dir() and any(_has_pair(members) for _, _, members in _records(path)):
            return [path]
        return []

    def files(self) -> list[Path]:
        """Return every picture and every text."""
        return [
            folder / name
            for root in self.paths
            for folder, _, members in _records(root)
            for name in members.values()
        ]

    def batches(self) -> Iterator[Batch]:
        """Yield the pairs in the order of their keys, folder by folder."""
        reader = RecordReader(self.options)
        records = (
            self._record(root, folder, stem, members, reader)
            for root in self.paths
            for folder, stem, members in _records(root)
        )
        yield from record_batches(records, self.options.captions)
        reader.check_named(str(self.paths[0]))

    def _record(
        self, root: Path, folder: Path, stem: str, members: dict[str, str], reader: RecordReader
    ) -> Record:
        key = (folder / stem).relative_to(root).as_posix()
        image = next((members[ending] for ending in IMAGES if ending in members), None)
        if image is None:
            name = next(iter(members.values()))
            return Record(key, str(folder.relative_to(root) / name), fault=("missing image", ""))
        record = Record(key, str(folder.relative_to(root) / image), str(folder / image))
        texts: dict[str, bytes] = {}
        try:
            if (folder / image).stat().st_size == 0:
                record.fault = ("empty image", f"{image} has 0 bytes")
            for ending in TEXTS:
                if ending in members:
                    texts[ending] = _read_text(folder / members[ending])
        except ValueError as error:
            record.fault = record.fault or ("text too long", str(error))
        except OSError as error:
            record.fault = record.fault or ("unreadable file", str(error))
        reader.describe(record, texts.get("txt", texts.get("caption")), texts.get("json"))
        return record


def _records(root: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Yield (folder, stem, {ending: file name}) of all files that matter, sorted; hidden ones do not."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        stems: dict[str, dict[str, str]] = {}
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            ending = ending[1:].lower()
            if not name.startswith(".") and (ending in IMAGES or ending in TEXTS):
                stems.setdefault(stem, {})[ending] = name
        for stem, members in stems.items():
            if members.keys() != {"json"}:  # such a file describes the set, not a picture
                yield Path(folder), stem, members


def _has_pair(members: dict[str, str]) -> bool:
    return any(ending in members for ending in IMAGES) and any(ending in members for ending in TEXTS)


def _read_text(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_TEXT_BYTES} bytes")
    return text
