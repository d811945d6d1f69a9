"""What a model's specification (:mod:`cfbd_core.training.models`) names, told without loading torch."""

from __future__ import annotations

from pathlib import Path

from cfbd_core.encoder_files import CONFIG_NAME
from cfbd_core.training.place import ASKED

WEIGHTS = (".safetensors", ".bin", ".pth")  # that open_clip looks for in a folder


def is_from_scratch(spec: str) -> bool:
    """Whether a specification names an architecture alone, or an open_clip folder without weights.

    Whether open_clip knows that architecture is not asked.
    """
    place = Path(spec.removeprefix("local-dir:")).expanduser()
    if spec == "mini" or (place / ASKED).is_file():
        return False
    if place.exists():
        return (place / CONFIG_NAME).is_file() and not any(one.suffix in WEIGHTS for one in place.iterdir())
    return not any(mark in spec for mark in "/@:")
