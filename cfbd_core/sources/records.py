"""Records made of a picture, a text and a JSON (tars and folders) or of JSON alone (COCO), as ``Rows``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from cfbd_core.pictures.place import NOWHERE, PicturePlace
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import BATCH_ROWS, TEXT_FACTS, Batch, SourceOptions
from cfbd_core.sources.cells import is_unicode, text_column
from cfbd_core.sources.rows import Faults, Rows, to_batches
from cfbd_core.sources.unread import Unread

MAX_TEXT_BYTES = 1 << 24  # of one txt or json


@dataclass
class Record:
    """One record; ``fault`` is (reason, detail) where it is to be skipped whole."""

    key: str
    where: str
    place: PicturePlace = NOWHERE
    captions: list[str] = field(default_factory=list)
    facts: dict[str, str | None] = field(default_factory=dict)
    fault: tuple[str, str] | None = None


class RecordReader:
    """Fills in what a record's text and JSON say, and remembers which JSON fields there were.

    Captions that it sees and does not take go to ``unread``.
    """

    def __init__(self, options: SourceOptions, unread: Unread) -> None:
        self.options = options
        self._unread = unread
        self.fields: dict[str, None] = {}
        self._filled = False

    def describe(
        self,
        record: Record,
        text: bytes | None,
        meta: bytes | None,
        escape: Callable[[str], str] | None = None,
    ) -> None:
        """Set the record's captions and facts from the bytes of its txt and json.

        The json's ``key`` counts only where ``escape`` makes the record's own key of it.
        """
        try:
            values = _parse(meta)
            key = values.get("key")
            if escape and isinstance(key, str) and escape(key) == record.key:
                record.key = key
            caption = None if text is None else text.decode("utf-8-sig").strip()
            self.fill(record, values, caption)
        except UnicodeDecodeError as error:
            self._refuse(record, "not UTF-8", f"byte {error.object[error.start]:#04x}; convert it with iconv")
        except (ValueError, RecursionError) as error:
            self._refuse(record, "unreadable json", str(error))

    def fill(self, record: Record, values: dict[str, Any], caption: str | None = None) -> None:
        """Set captions and facts from a JSON object and the caption of a text file, if there is one."""
        self._filled = True
        self.fields.update(dict.fromkeys(values))
        names = list(values)
        label = self.options.label_col or usual.guess(names, usual.LABEL)
        names_of_facts = {"label": label, "poisoned": usual.guess(names, usual.POISONED)}
        names_of_facts |= {fact: usual.guess(names, (fact,)) for fact in TEXT_FACTS if fact != "label"}
        record.facts |= {
            fact: as_fact(values[name]) for fact, name in names_of_facts.items() if name in values
        }
        given = self._captions(values, caption)
        texts = given if isinstance(given, list) else [given]
        if given is None:
            self._refuse(record, "missing caption", "")
        elif not all(isinstance(one, str) for one in texts):
            kinds = {type(one).__name__ for one in texts if not isinstance(one, str)}
            self._refuse(record, "caption is not text", f"it is {', '.join(sorted(kinds))}")
        elif not all(is_unicode(one) for one in texts):
            self._refuse(record, "not UTF-8", "a lone surrogate in the caption")
        elif texts:
            record.captions = texts
            self._count_others(record, values, caption)

    def check_named(self, where: str) -> None:
        """Raise SourceError if records were read and none had a JSON field that the options name."""
        for named, option in (
            (self.options.caption_col, "--caption-col"),
            (self.options.label_col, "--label-col"),
        ):
            if named is not None and self._filled and named not in self.fields:
                usual.choose(list(self.fields), named, (), option, where)

    def _count_others(self, record: Record, values: dict[str, Any], caption: str | None) -> None:
        """Count the captions of the JSON that were not taken."""
        for name in usual.named(tuple(values), usual.CAPTION + usual.CAPTIONS):
            value = values[name]
            if isinstance(value, str) and value.strip() != caption and value not in record.captions:
                self._unread.field("caption", name, record.where)
            elif isinstance(value, list) and self.options.captions == "first" and value != record.captions:
                texts = [text for text in value if isinstance(text, str)]
                further = len(texts) - (record.captions[0] in texts)
                if further:
                    self._unread.add("further caption", record.where, further)
        if caption is not None and caption not in record.captions:
            self._unread.add("further text of a record", record.where)

    def _captions(self, values: dict[str, Any], caption: str | None) -> Any:
        if self.options.caption_col is not None:
            return values.get(self.options.caption_col)
        several = usual.guess(list(values), usual.CAPTIONS)
        if self.options.captions == "all" and several is not None and values[several]:
            return values[several]
        if caption is not None:
            return caption
        single = usual.guess([name for name, value in values.items() if value is not None], usual.CAPTION)
        return values[single] if single is not None else values.get(several or "")

    @staticmethod
    def _refuse(record: Record, reason: str, detail: str) -> None:
        record.fault = record.fault or (reason, detail)


def record_batches(
    records: Iterator[Record], captions: str, unread: Unread, shard: str = ""
) -> Iterator[Batch]:
    """Yield the records' pairs as batches of ``shard``."""
    block: list[Record] = []
    for record in records:
        block.append(record)
        if len(block) == BATCH_ROWS:
            yield from to_batches(_rows(block, shard), captions, unread)
            block = []
    yield from to_batches(_rows(block, shard), captions, unread)


def as_fact(value: object) -> str | None:
    """Return a JSON value as the text of a fact."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parse(meta: bytes | None) -> dict[str, Any]:
    values = {} if meta is None else json.loads(meta.decode("utf-8-sig"))
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object is needed, it is {type(values).__name__}")
    return values


def _rows(block: list[Record], shard: str) -> Rows:
    faults: Faults = {row: record.fault for row, record in enumerate(block) if record.fault}

    def column(name: str, values: list[str | None]) -> pa.Array:
        text, undecoded = text_column(values)
        for row in np.flatnonzero(undecoded):
            faults.setdefault(int(row), ("not UTF-8", f"the {name}"))
        return text

    present = dict.fromkeys(fact for record in block for fact in record.facts)
    return Rows(
        key=column("key", [record.key for record in block]),
        caption=pa.array(
            [[] if record.fault else record.captions for record in block], pa.list_(pa.string())
        ),
        image=column("file name", [record.place.file or None for record in block]),
        where=lambda row: block[row].where,
        image_offset=pa.array([record.place.offset for record in block], pa.int64()),
        image_size=pa.array([record.place.size for record in block], pa.int64()),
        facts={fact: column(fact, [record.facts.get(fact) for record in block]) for fact in present},
        faults=faults,
        shard=shard,
    )
