"""Fields of a dataclass that a user sets, each with a line of help for the command line and the app."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

HELP = "help"
T = TypeVar("T")


def option(default: T, help: str) -> T:
    """A field that the command line and the app offer with this line of help."""
    value: T = dataclasses.field(default=default, metadata={HELP: help})
    return value


def help_of(field: dataclasses.Field[Any]) -> str:
    """Return the line of help of a field made by :func:`option`."""
    line: str = field.metadata[HELP]
    return line
