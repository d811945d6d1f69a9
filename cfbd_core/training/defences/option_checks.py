"""What a defence's own options may be, whoever typed them: whole numbers and finite numbers, or one clear line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cfbd_core.errors import ParameterError


def check_whole(defense: str, options: Any, least: int, *names: str) -> None:
    """Raise ParameterError where one of these fields is no whole number of at least ``least``."""
    for name in names:
        value = getattr(options, name)
        if type(value) is not int or value < least:
            raise ParameterError(f"{defense}: {name} {_shown(value)}: give a whole number, at least {least}")


def check_number(defense: str, options: Any, fits: Callable[[float], bool], wanted: str, *names: str) -> None:
    """Raise ParameterError, which says what is ``wanted``, where one of these fields is no finite number that fits."""
    for name in names:
        value = getattr(options, name)
        if type(value) not in (int, float) or not math.isfinite(value) or not fits(value):
            raise ParameterError(f"{defense}: {name} {_shown(value)}: give {wanted}")


def check_weights(defense: str, options: Any, *names: str) -> None:
    """Raise ParameterError where one of these fields is no finite number of at least 0."""
    check_number(defense, options, lambda value: value >= 0, "a number of at least 0", *names)


def _shown(value: Any) -> str:
    return f"{value:g}" if type(value) is float else repr(value)
