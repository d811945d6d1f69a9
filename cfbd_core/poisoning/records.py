"""What the records of a source become in a poisoned copy.

A poisoned pair leaves its record: its caption is taken out and a record of its own, ``KEY-pI``, carries the
triggered picture and the target caption. So does a near-duplicate, as ``KEY-dI``: its picture is another one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Trigger
from cfbd_core.errors import SourceError
from cfbd_core.pictures.images import BadImage, picture_ending, read_image_bytes
from cfbd_core.poisoning.plan import Plan, Poison, PoisonParams, triggered
from cfbd_core.poisoning.source_pairs import SourcePairs, read_picture
from cfbd_core.poisoning.traps import near_duplicate

NEAR_DUPLICATES = 3  # stream of random numbers of the seed
_TRUTH = ("label", "poisoned", "attack", "target", "origin_key", "origin_caption")


@dataclass(frozen=True)
class CopyRecord:
    """One record of a copy: its captions, its facts (label and truth), and the picture it shows.

    ``picture_of`` is the pair whose picture it is. ``pair`` and ``poison`` say what is done to the picture:
    ``poison`` puts the trigger on it, a ``pair`` alone makes it a near-duplicate.
    """

    key: str
    captions: list[str]
    facts: dict[str, str | bool]
    picture_of: int
    pair: int | None = None
    poison: Poison | None = None


@dataclass(frozen=True)
class CopyPlan:
    """A source, what is done to its pairs, and the triggers to do it with; pictures are read as they are asked for."""

    pairs: SourcePairs
    params: PoisonParams
    plan: Plan
    triggers: Sequence[Trigger]
    reencode: Literal["all", "changed"] = "all"

    def records(self, first: int, last: int) -> Iterator[CopyRecord]:
        """Yield what the records ``first`` to ``last`` − 1 become, in their order."""
        start, end = np.searchsorted(self.pairs.record_of, (first, last))
        rows = self.pairs.table.slice(start, end - start).select(["caption", *_TRUTH]).to_pylist()
        of_record: dict[int, list[int]] = {}
        for pair in range(start, end):
            of_record.setdefault(int(self.pairs.record_of[pair]), []).append(pair)
        for record, pairs in of_record.items():
            yield from self._record(self.pairs.record_keys[record], pairs, rows, int(start))

    def picture(self, record: CopyRecord) -> Image.Image:
        """Return the picture as the copy shows it, RGB at the encoder's input size. Raises BadImage."""
        picture = read_picture(self.pairs.place(record.picture_of))
        if record.poison is not None:
            return triggered(picture, record.poison, self.params, self.triggers)
        if record.pair is not None:
            return near_duplicate(
                picture, np.random.default_rng([self.params.seed, NEAR_DUPLICATES, record.pair])
            )
        return picture

    def encoded(self, record: CopyRecord) -> tuple[str, bytes]:
        """Return the ending and the bytes of a record's picture file.

        PNG, whether poisoned or not, or the type of a file would give poisons away; ``reencode`` "changed" leaves
        other files as they are. A picture that cannot be read is copied for the audit to report, if it is one
        at all: a table from a stranger may name any file. Raises SourceError if it was to be changed.
        """
        try:
            if record.pair is not None or self.reencode == "all":
                return "png", _png(self.picture(record))
            data = read_image_bytes(self.pairs.place(record.picture_of))
        except BadImage as error:
            if record.pair is not None:
                raise SourceError(
                    f"the picture of {record.key} cannot be read any more ({error.reason}); "
                    "was the source changed? make the copy again in a new folder"
                ) from None
            data = self._raw(record.picture_of)
        return picture_ending(data) or "jpg", data if picture_ending(data) else b""

    def key_of(self, pair: int) -> str:
        """Return the key of the record that a poisoned pair or a near-duplicate becomes; no other has it."""
        pairs = self.pairs
        letter = "d" if pair in self.plan.pictures else "p"
        key = f"{pairs.record_keys[pairs.record_of[pair]]}-{letter}{pairs.number[pair]}"
        while key in self._taken:  # in a copy of a copy
            key += "x"
        return key

    @cached_property
    def _taken(self) -> set[str]:
        return set(self.pairs.record_keys)

    @cached_property
    def _poisons(self) -> dict[int, Poison]:
        return {poison.pair: poison for poison in self.plan.poisons}

    def _record(
        self, key: str, pairs: list[int], rows: Sequence[Mapping[str, Any]], start: int
    ) -> Iterator[CopyRecord]:
        """Yield a record with the captions that stay, if any do, then those that left it."""
        facts = {name: value for name in _TRUTH if (value := rows[pairs[0] - start][name]) is not None}
        stay = [pair for pair in pairs if pair not in self._poisons and pair not in self.plan.pictures]
        if stay:
            captions = [self.plan.captions.get(pair, rows[pair - start]["caption"]) for pair in stay]
            truth = {"poisoned": False} | facts | _trap({self.plan.traps.get(pair) for pair in stay})
            yield CopyRecord(key, captions, truth, stay[0])
        for pair in pairs:
            origin = {"origin_key": key, "origin_caption": rows[pair - start]["caption"]}
            poison = self._poisons.get(pair)
            if poison is not None:
                truth = {"poisoned": True, "attack": self.params.attack, "target": poison.target}
                yield CopyRecord(
                    self.key_of(pair), [poison.caption], facts | truth | origin, pair, pair, poison
                )
            elif pair in self.plan.pictures:
                truth = facts | {"poisoned": False} | origin | _trap({self.plan.traps[pair]})
                yield CopyRecord(
                    self.key_of(pair), [self.plan.captions[pair]], truth, self.plan.pictures[pair], pair
                )

    def _raw(self, pair: int) -> bytes:
        try:
            return read_image_bytes(self.pairs.place(pair))
        except BadImage:
            return b""


def _trap(names: set[str | None]) -> dict[str, str]:
    nonempty = sorted(name for name in names if name)
    return {"trap": ",".join(nonempty)} if nonempty else {}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(
        buffer, "PNG", compress_level=1
    )  # noise hardly shrinks further, and 1 is three times as fast
    return buffer.getvalue()
