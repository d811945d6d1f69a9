"""The fields of an attack's parameters: which are the user's to set, each with a line of help."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from cfbd_core.attacks.base import INPUT_SIZE

_HELP, _PICTURE_SIZE = "help", "picture size"
T = TypeVar("T")


def option(default: T, help: str) -> T:
    """A field that the command line and the lab offer with this line of help."""
    value: T = dataclasses.field(default=default, metadata={_HELP: help})
    return value


def picture_size() -> int:
    """A field for the side in pixels of the pictures, which the code that has the pictures sets, no user."""
    value: int = dataclasses.field(default=INPUT_SIZE, metadata={_PICTURE_SIZE: True})
    return value


def own_options(params: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the user's fields of a parameters class by name; the seed is not one, it is that of the copy."""
    return {one.name: one for one in dataclasses.fields(params) if _HELP in one.metadata}


def help_of(field: dataclasses.Field[Any]) -> str:
    """Return the line of help of a field of :func:`own_options`."""
    line: str = field.metadata[_HELP]
    return line


def picture_size_of(params: Any) -> int:
    """Return the side in pixels of the pictures that a trigger is made for."""
    name = next((one.name for one in dataclasses.fields(params) if _PICTURE_SIZE in one.metadata), None)
    return INPUT_SIZE if name is None else getattr(params, name)
