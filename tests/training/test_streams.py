"""Streams of a run: equal for equal places, and none another's."""

from __future__ import annotations

from itertools import product
from typing import get_args

from cfbd_core.training.streams import Purpose, stream


def first(purpose: Purpose, *place: int) -> int:
    return int(stream(purpose, *place).generate_state(1)[0])


def test_a_stream_repeats_at_its_place_and_nowhere_else():
    places = [
        place
        for length in (1, 2, 3)
        for place in product(range(3), repeat=length)
        if length == 1 or place[-1]
    ]  # a last 0 is the place one shorter; the lengths of a purpose do not mix
    drawn = {(purpose, *place): first(purpose, *place) for purpose in get_args(Purpose) for place in places}
    assert len(set(drawn.values())) == len(drawn)
    assert first("order", 1, 2) == drawn["order", 1, 2]
