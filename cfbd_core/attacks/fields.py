"""The fields of an attack's parameters: which are the user's to set."""

from __future__ import annotations

import dataclasses
from typing import Any

from cfbd_core.attacks.base import INPUT_SIZE
from cfbd_core.config import HELP

_PICTURE_SIZE = "picture size"


def picture_size() -> int:
    """A field for the side in pixels of the pictures, which the code that has the pictures sets, no user."""
    value: int = dataclasses.field(default=INPUT_SIZE, metadata={_PICTURE_SIZE: True})
    return value


def own_options(params: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the user's fields of a parameters class by name; the seed is not one, it is that of the copy."""
    return {one.name: one for one in dataclasses.fields(params) if HELP in one.metadata}


def picture_size_of(params: Any) -> int:
    """Return the side in pixels of the pictures that a trigger is made for."""
    name = next((one.name for one in dataclasses.fields(params) if _PICTURE_SIZE in one.metadata), None)
    return INPUT_SIZE if name is None else getattr(params, name)
