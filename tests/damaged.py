"""Damage, drawn by a seed: bytes that are flipped, cut or gone, JSON of other types, arrays of other shapes."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    2**63,
    1e308,
    "",
    "x",
    "\0",
    "9" * 500,
    "/dev/zero",
    "../x",
    [],
    [[]],
    ["a", 1],
    {},
    {"a": []},
)
Damage = Callable[[bytes, random.Random], bytes]


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Some bits are others."""
    new = bytearray(data or b"\0")
    for _ in range(chance.choice([1, 3, 40])):
        new[chance.randrange(len(new))] ^= 1 << chance.randrange(8)
    return bytes(new)


def cut(data: bytes, chance: random.Random) -> bytes:
    """The end is missing, or all of it."""
    return data[: chance.choice([0, len(data) // 2, max(0, len(data) - 1), chance.randrange(len(data) + 1)])]


def zeroed(data: bytes, chance: random.Random) -> bytes:
    """A block was never written."""
    start = chance.randrange(len(data) + 1)
    return data[:start] + bytes(len(data) - start)


def shuffled(data: bytes, chance: random.Random) -> bytes:
    """A part is written twice, in another's place."""
    first, second = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[second:] + data[first:second]


BYTES: tuple[Damage, ...] = (flipped, cut, zeroed, shuffled)


def other_json(data: bytes, chance: random.Random) -> bytes:
    """A value, a name or the whole of a JSON file is another."""
    value = json.loads(data)
    spots: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        names = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        spots += [(part, name) for name in names]
        waiting += [part[name] for name in names]
    if not spots or chance.random() < 0.1:
        return json.dumps(chance.choice(ODD)).encode()
    part, name = chance.choice(spots)
    if isinstance(part, dict) and chance.random() < 0.25:
        del part[name]
    else:
        part[name] = chance.choice(ODD)
    return json.dumps(value).encode()


def odd_json(_: bytes, chance: random.Random) -> bytes:
    """A file that is no JSON of ours at all."""
    return chance.choice([b"NaN", b'{"a": Infinity}', b"[" * 50_000, b"{}", b"", b"\xff\xfe{", b"1e999"])


JSON: tuple[Damage, ...] = (other_json, other_json, other_json, odd_json, flipped, cut)


def other_array(data: bytes, chance: random.Random) -> bytes:
    """An array of another type, shape or content."""
    array = np.load(io.BytesIO(data))
    bare = array if array.dtype.kind in "fiu" else array.view(np.uint8)
    made = chance.choice(
        [
            lambda: bare.astype(np.float64),
            lambda: bare.astype(np.int32),
            lambda: bare.astype("S4"),
            lambda: array[: len(array) // 2],
            lambda: np.concatenate([array, array]),
            lambda: array.reshape(-1),
            lambda: array[None],
            lambda: array[:0],
            lambda: np.array([{"a": 1}] * len(array), object),
            lambda: np.asfortranarray(array),
        ]
    )()
    file = io.BytesIO()
    np.save(file, made, allow_pickle=True)
    return file.getvalue()


def other_header(data: bytes, chance: random.Random) -> bytes:
    """An array whose header says something else."""
    new = bytearray(data)
    if chance.random() < 0.5:
        length = np.load(io.BytesIO(data)).shape[0]
        size = chance.choice([b"9" * 11, b"-1", b"True", b"1e9", b"'a'"])
        return bytes(new).replace(b"(%d," % length, b"(%b," % size)
    for _ in range(3):
        new[chance.randrange(data.index(b"{"), data.index(b"}") + 1)] = chance.choice(
            b"{}()[]'\",:\\\n#0 a<\0\xff"
        )
    return bytes(new)


def other_values(data: bytes, chance: random.Random) -> bytes:
    """Rows of an array that are no embeddings."""
    array = np.load(io.BytesIO(data)).copy()
    if array.dtype.kind == "f":
        array[chance.randrange(len(array))] = chance.choice([np.nan, np.inf, 0, -65504])
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ARRAY: tuple[Damage, ...] = (other_array, other_array, other_header, other_values, flipped, cut, zeroed)
