"""What the JSON in the table ``meta`` has to look like, by name, and how it is made again where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from cfbd_core.config import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.machine.json_shapes import COUNT, Shape, check, parse
from cfbd_core.store.entries import (
    EmbeddingEntry,
    HealthEntry,
    MappingEntry,
    SourceEntry,
    SplitSummary,
    UnreadEntry,
)

T = TypeVar("T")


class MetaName(str, Generic[T]):
    """The name of a value in the table ``meta``; ``T`` is the type of its JSON."""


SOURCE = MetaName[SourceEntry]("source")
STAMPS = MetaName[Sequence[Sequence[int]]]("stamps")  # of the source's files, in their order
UNREAD = MetaName[UnreadEntry]("unread")
EMBEDDING = MetaName[EmbeddingEntry]("embedding")
MAPPING = MetaName[MappingEntry]("mapping")
HEALTH = MetaName[HealthEntry]("health")
SPLIT = MetaName[SplitSummary]("split")
VIEWS = MetaName[dict[str, dict[str, str]]]("views")

EMBEDDING_SHAPE = {
    "encoder": str,
    "sha256": str,
    "width": range(1, 2**31),
    "shard_size": range(1, 2**31),
    "rows": range(2**40),
    "architecture?": str,
    "batch_size?": range(1, 2**31),
}
_NUMBER = (float, None)
_TEXT = (str, None)
OPTIONS = {  # of a source, as every version has stored them
    "format": str,
    "image_col": _TEXT,
    "caption_col": _TEXT,
    "label_col": _TEXT,
    "image_root": _TEXT,
    "captions": str,
}
SHAPES: dict[str, Shape] = {
    "source": {
        "source": str,
        "files": [str],
        "format": str,
        "fingerprint": str,
        "rows": COUNT,
        "options": OPTIONS,
        "paths?": [str],
    },
    "stamps": [[int]],
    "unread": {
        "kinds": [{"kind": str, "count": COUNT, "advice": str, "examples": [str]}],
        "notes": [str],
    },
    "embedding": EMBEDDING_SHAPE,
    "mapping": {"name": str},
    "health": {"warnings": [str]},
    "split": {
        "settings": {"recheck?": bool, "collapse_duplicates?": bool},
        "settings_id": str,
        "params": {
            "k": int,
            "gamma": float,
            "q": int,
            "gamma_z": _NUMBER,
            "gamma_z_rule": str,
            "recheck": bool,
        },
        "mixture": {"means": [float], "sigmas": [float], "weights": [float]},
        "gamma_z_detail": object,
        "evidence": {
            "level": str,
            "cohesion": _NUMBER,
            "null_max": _NUMBER,
            "q": COUNT,
            "distinct?": COUNT,
        },
        "warnings": [str],
        "duplicates?": (None, {"hidden": COUNT}),
    },
    "views": {str: {str: str}},
}
_MADE_BY = {"embedding": "embed", "mapping": "score", "health": "score", "split": "split"}


def checked(name: str, text: Any) -> Any:
    """Return the value that the JSON ``text`` says of ``name``. Raises ValueError where it does not look like one."""
    if not isinstance(text, str):
        raise ValueError(f"it is {type(text).__name__}")
    value = parse(text)
    check(value, SHAPES.get(name, object))
    if name == "source" and not value["options"].keys() <= OPTIONS.keys():
        raise ValueError("its options are not those of this version")
    if name == "split":
        try:
            SplitParams(**value["settings"])
        except (TypeError, ParameterError) as error:
            raise ValueError(str(error)) from None
    return value


def way_out(name: str) -> str:
    """Return what to do where the value is damaged: what a step made, it makes again."""
    if name in _MADE_BY:
        return f"run `cfbd {_MADE_BY[name]}` again"
    return "put a copy of the file in its place, or audit the source in a new folder"
