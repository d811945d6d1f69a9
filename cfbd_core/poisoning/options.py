"""How the source of a poisoned copy is read, and how the copy is written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.formats import FORMATS, OutFormat
from cfbd_core.poisoning.source_pairs import Keys
from cfbd_core.sources import SourceOptions


@dataclass(frozen=True)
class CopyOptions:
    """How the source is read, which of its integer ``keys`` are copied, and how the copy is written.

    ``reencode`` "changed" writes only changed pictures as PNG at 224 and copies other files. ``captions_file`` holds
    natural captions of the target, one a line. ``pool`` is the source whose pictures optimised attacks work
    with (None: the keys left out, else the source itself), ``encoder`` and ``device`` what they attack.
    """

    captions: Literal["first", "all"] = "first"
    keys: Keys = "all"
    format: OutFormat = "webdataset"
    reencode: Literal["all", "changed"] = "all"
    captions_file: Path | None = None
    encoder: str = "mini"
    device: str = "auto"
    pool: str | None = None
    read: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        for name, choices in (
            ("keys", get_args(Keys)),
            ("format", tuple(FORMATS)),
            ("reencode", ("all", "changed")),
        ):
            if getattr(self, name) not in choices:
                raise ParameterError(f"--{name} {getattr(self, name)!r}: give one of {', '.join(choices)}")
        object.__setattr__(self, "read", dataclasses.replace(self.read, captions=self.captions))
