"""A folder of pictures with captions beside them: ``a.jpg`` and ``a.txt`` (or .caption, or .json)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cfbd_core.pictures.place import PicturePlace
from cfbd_core.sources.base import Batch, Source
from cfbd_core.sources.endings import IMAGES, TEXTS, ending, is_foreign_picture, unread_kind
from cfbd_core.sources.records import MAX_TEXT_BYTES, Record, RecordReader, record_batches
from cfbd_core.sources.rest import count_rest, is_beside
from cfbd_core.sources.tree import Folder, Place, walk


@dataclass(slots=True)
class _Stem:
    """The files of one stem in a folder: ``members`` {ending: name}, and those that are one too many."""

    name: str
    members: dict[str, str] = field(default_factory=dict)
    further: list[str] = field(default_factory=list)

    @property
    def image(self) -> str | None:
        return next((self.members[one] for one in IMAGES if one in self.members), None)

    @property
    def is_captioned(self) -> bool:
        return self.image is not None and any(one in self.members for one in TEXTS)

    @property
    def is_record(self) -> bool:
        return self.members.keys() != {"json"}  # such a file describes the set, not a picture


class FolderSource(Source):
    """Pictures and texts of the same stem, at any depth; the key is the relative path without ending."""

    name = "folder"
    looks_for = "pictures with a .txt or .caption of the same name"

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the folder, if a picture in it has its caption beside it."""
        is_captioned = any(stem.is_captioned for folder in place.folders() for stem in _stems(folder))
        return [place.path] if is_captioned else []

    @classmethod
    def is_captioned(cls, places: Sequence[Place]) -> bool:
        """Say whether at least half of the pictures in all these places have a caption beside them."""
        alone = sum(ending(place.path.name) in IMAGES for place in places if not place.is_folder)
        stems = (stem for place in places for folder in place.folders() for stem in _stems(folder))
        has_caption = [stem.is_captioned for stem in stems if stem.image]
        return 2 * sum(has_caption) >= len(has_caption) + alone

    def files(self) -> list[Path]:
        """Return every picture and every text."""
        return [
            Path(folder.path, name)
            for root in self.paths
            for folder in walk(root)
            for stem in _stems(folder)
            if stem.is_record
            for name in stem.members.values()
        ]

    def read(self) -> Iterator[Batch]:
        """Yield the pairs in the order of their keys, folder by folder."""
        reader = RecordReader(self.options, self.unread)
        for root in self.paths:
            records = (
                record
                for folder in walk(root, self.unread)
                for record in self._records(_Inside(folder, str(root)), reader)
            )
            yield from record_batches(records, self.options.captions, self.unread, self.shard(root))
        reader.check_named(str(self.paths[0]))

    def count_rest(self) -> None:
        """Count the files that were named; those in folders were counted as they were met."""
        count_rest([place for place in self.places if not place.is_folder], set(), None, self.unread)

    def _records(self, inside: _Inside, reader: RecordReader) -> Iterator[Record]:
        """Yield the records of a folder, and count what is in none."""
        names = set(inside.folder.names)
        for name in inside.folder.names:
            if ending(name) not in (*IMAGES, *TEXTS):
                self._count(unread_kind(name), name, inside, names)
        for stem in _stems(inside.folder):
            if stem.is_record:
                yield self._record(stem, inside, reader)
            else:
                self._count("json without a picture", stem.members["json"], inside, names)

    def _count(self, kind: str, name: str, inside: _Inside, names: set[str]) -> None:
        self.unread.add(
            "table beside its shard" if is_beside(name, inside.folder, names) else kind, inside.name(name)
        )

    def _record(self, stem: _Stem, inside: _Inside, reader: RecordReader) -> Record:
        key, image = inside.name(stem.name), stem.image
        if image is None:
            name = next(iter(stem.members.values()))
            return Record(key, inside.name(name), fault=("missing image", inside.foreign(stem.name)))
        record = Record(key, inside.name(image), PicturePlace(inside.path(image)))
        texts: dict[str, bytes] = {}
        try:
            if os.stat(inside.path(image)).st_size == 0:
                record.fault = ("empty image", f"{image} has 0 bytes")
            for one in TEXTS:
                if one in stem.members:
                    texts[one] = _read_text(inside.path(stem.members[one]))
        except ValueError as error:
            record.fault = record.fault or ("text too long", str(error))
        except OSError as error:
            record.fault = record.fault or ("unreadable file", str(error))
        if stem.further or len(stem.members) > 2:
            self._count_further(stem, image, inside)
        reader.describe(record, texts.get("txt", texts.get("caption")), texts.get("json"))
        return record

    def _count_further(self, stem: _Stem, image: str, inside: _Inside) -> None:
        """Count the further pictures and texts of one stem; a json was read for its facts, at least."""
        text = stem.members.get("txt", stem.members.get("caption"))
        for name in [*stem.members.values(), *stem.further]:
            kind = "picture" if ending(name) in IMAGES else "text"
            if name not in (image, text, stem.members.get("json")):
                self.unread.add(f"further {kind} of a record", inside.name(name))


class _Inside:
    """A folder below a root: how its files are called from there, and where they lie."""

    def __init__(self, folder: Folder, root: str) -> None:
        self.folder = folder
        relative = os.path.relpath(folder.path, root)
        self._prefix = "" if relative == "." else f"{relative}/"
        self._foreign = {os.path.splitext(name)[0]: name for name in folder.names if is_foreign_picture(name)}

    def name(self, name: str) -> str:
        return self._prefix + name

    def path(self, name: str) -> str:
        return f"{self.folder.path}/{name}"

    def foreign(self, stem: str) -> str:
        """Say that a picture of this stem is of a kind that is not read, if there is one."""
        name = self._foreign.get(stem)
        return f"{name} beside it is of a kind that is not read; convert it to JPEG or PNG" if name else ""


def _stems(folder: Folder) -> Iterator[_Stem]:
    """Yield what matters of a folder, by stem, sorted."""
    stems: dict[str, _Stem] = {}
    for name in folder.names:
        stem, _, end = name.rpartition(".")
        end = end.lower()
        if stem and (end in IMAGES or end in TEXTS):
            entry = stems.setdefault(stem, _Stem(stem))
            if end in entry.members:
                entry.further.append(entry.members[end])
            entry.members[end] = name
    return iter(stems.values())


def _read_text(path: str) -> bytes:
    with open(path, "rb") as file:
        text = file.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"{os.path.basename(path)} has more than {MAX_TEXT_BYTES} bytes")
    return text
