"""What a model's specification (:mod:`cfbd_core.training.models`) names, found without loading torch."""

from __future__ import annotations

import os

from cfbd_core.embedding.encoder_files import CONFIG_NAME
from cfbd_core.machine.places import at_home
from cfbd_core.training.place import REQUEST

WEIGHTS = (".safetensors", ".bin", ".pth")  # that open_clip looks for in a folder


def is_from_scratch(spec: str) -> bool:
    """Return whether a specification names an architecture alone, or an open_clip folder without weights.

    Whether open_clip knows that architecture is not asked.
    """
    place = at_home(spec.removeprefix("local-dir:"))
    if spec == "mini" or os.path.isfile(place / REQUEST):
        return False
    if os.path.exists(place):
        return (place / CONFIG_NAME).is_file() and not any(one.suffix in WEIGHTS for one in place.iterdir())
    return not any(mark in spec for mark in "/@:")
