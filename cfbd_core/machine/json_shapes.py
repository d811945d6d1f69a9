"""What JSON that was stored has to look like, so that a damaged value is reported where it is read.

A shape is one of

- a type: ``str``, ``bool``, ``dict``, ``list``; ``int`` is a whole number of at most 64 bits, ``float`` any number;
- a ``range``: a whole number in it (:data:`COUNT`: 0 or more);
- ``None``: null; ``object``: anything;
- a tuple: one of these shapes;
- ``[shape]``: a list of these; ``{str: shape}``: an object with any names;
- ``{"name": shape, "other?": shape}``: an object that has ``name``, and may have ``other`` and more.
"""

from __future__ import annotations

import json
import math
from typing import Any

Shape = Any
COUNT = range(2**63)
_WHOLE = range(-(2**63), 2**63)


def parse(text: str | bytes) -> Any:
    """Return the value that JSON says. Raises ValueError, also for NaN, infinity and what is nested without end."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def check(value: Any, shape: Shape, name: str = "it") -> None:
    """Raise ValueError, which names the place, where ``value`` is not of this shape."""
    if isinstance(shape, tuple):
        _check_any(value, shape, name)
    elif isinstance(shape, list):
        _demand(isinstance(value, list), value, name)
        for number, one in enumerate(value):
            check(one, shape[0], f"{name}[{number}]")
    elif isinstance(shape, dict):
        _demand(isinstance(value, dict), value, name)
        _check_object(value, shape, name)
    elif isinstance(shape, range):
        _demand(type(value) is int and value in shape, value, name)
    elif shape is int:
        _demand(type(value) is int and value in _WHOLE, value, name)
    elif shape is float:
        _demand(type(value) is float or (type(value) is int and value in _WHOLE), value, name)
    else:
        _demand(value is None if shape is None else isinstance(value, shape), value, name)


def _check_any(value: Any, shapes: tuple[Shape, ...], name: str) -> None:
    for shape in shapes[:-1]:
        try:
            return check(value, shape, name)
        except ValueError:
            continue
    return check(value, shapes[-1], name)


def _check_object(value: dict[str, Any], shape: dict[Any, Shape], name: str) -> None:
    for wanted, part_shape in shape.items():
        if wanted is str:
            for key, one in value.items():
                check(one, part_shape, key)
            continue
        plain = wanted.removesuffix("?")
        if plain in value:
            check(value[plain], part_shape, plain)
        elif plain == wanted:
            raise ValueError(f"{name} has no {plain}")


def _demand(fits: bool, value: Any, name: str) -> None:
    if not fits:
        shown = repr(value)
        raise ValueError(f"{name} is {shown if len(shown) <= 40 else f'{shown[:40]}…'}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
