"""Where a scene takes place: the registry of backdrops, and what captions call them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from cfbd_core.demo import indoors, outdoors
from cfbd_core.demo.sheet import Colour, Sheet
from cfbd_core.demo.vocabulary import COLOURS

Painter = Callable[[Sheet, random.Random, Colour], None]
_ALL = tuple(COLOURS)
_BRIGHT = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "light blue",
    "purple",
    "pink",
    "teal",
    "gray",
    "brown",
)
_WALLS = ("beige", "light blue", "green", "pink", "yellow", "gray", "teal", "orange", "white")


@dataclass(frozen=True)
class Backdrop:
    """A kind of background."""

    paint: Painter
    phrases: tuple[str, ...]  # "{c}" stands for the colour's name
    colours: tuple[str, ...] = ()  # names it may be drawn in; empty: it has its own colours
    ground: tuple[float, float] | None = None  # heights on which things stand; None: anywhere
    dark: bool = False  # black outlines would be lost on it
    weight: float = 1.0


BACKDROPS: dict[str, Backdrop] = {
    "plain": Backdrop(
        indoors.plain,
        (
            "on a {c} background",
            "against a {c} background",
            "on plain {c}",
            "with a {c} backdrop",
            "over solid {c}",
        ),
        _ALL,
        weight=4,
    ),
    "gradient": Backdrop(
        indoors.gradient,
        ("on a {c} background", "against a soft {c} backdrop", "on a {c} gradient", "in {c} light"),
        _BRIGHT,
        weight=2.5,
    ),
    "dots": Backdrop(
        indoors.dots,
        (
            "on a polka dot background",
            "on {c} polka dots",
            "against a {c} dotted background",
            "over {c} dots",
        ),
        _BRIGHT,
    ),
    "stripes": Backdrop(
        indoors.stripes,
        (
            "on a striped background",
            "in front of {c} stripes",
            "on {c} stripes",
            "over a {c} striped pattern",
        ),
        _BRIGHT,
    ),
    "checks": Backdrop(
        indoors.checks,
        ("on a checkered tablecloth", "on a {c} checked cloth", "on a {c} and white picnic blanket"),
        ("red", "blue", "green", "yellow", "pink", "teal"),
    ),
    "wrapping": Backdrop(
        indoors.hearts,
        ("on {c} wrapping paper", "on {c} patterned paper", "over a {c} pattern"),
        ("red", "pink", "purple", "blue", "teal", "orange"),
    ),
    "notebook": Backdrop(
        indoors.notebook, ("on notebook paper", "on a sheet of paper", "drawn in a notebook", "on a page")
    ),
    "lights": Backdrop(
        indoors.lights,
        (
            "with blurry lights behind",
            "in front of blurred lights",
            "with soft lights in the background",
            "at a party",
        ),
        ("blue", "purple", "brown", "teal", "red"),
        dark=True,
    ),
    "boards": Backdrop(
        indoors.boards,
        ("on wooden boards", "on a wooden surface", "on rustic wood", "seen from above on wood"),
    ),
    "bricks": Backdrop(
        indoors.bricks,
        ("in front of a brick wall", "against a brick wall", "by a brick wall"),
        ground=(0.82, 0.97),
    ),
    "rug": Backdrop(
        indoors.rug,
        ("on a {c} rug", "on a carpet", "on the rug", "lying on a {c} carpet"),
        ("red", "blue", "green", "purple", "teal", "orange"),
    ),
    "table": Backdrop(
        indoors.table,
        ("on a table", "on a wooden table", "on the dining table", "on a desk"),
        _WALLS,
        (0.68, 0.95),
        weight=1.5,
    ),
    "kitchen": Backdrop(
        indoors.tiles,
        ("in the kitchen", "on a kitchen counter", "in front of {c} tiles", "on the worktop"),
        ("white", "light blue", "green", "yellow", "teal", "pink"),
        (0.72, 0.95),
    ),
    "room": Backdrop(
        indoors.room,
        (
            "in a room",
            "indoors",
            "on the floor of a room",
            "in front of a {c} wall",
            "in the living room",
            "at home",
        ),
        _WALLS,
        (0.78, 0.97),
        weight=1.5,
    ),
    "window": Backdrop(
        indoors.window,
        ("by the window", "on a window sill", "next to a window", "in front of a window"),
        _WALLS,
        (0.82, 0.97),
    ),
    "shelf": Backdrop(
        indoors.shelf, ("on a shelf", "on the shelf", "sitting on a wooden shelf"), _WALLS, (0.835, 0.845)
    ),
    "stage": Backdrop(
        indoors.stage,
        ("on a stage", "under a spotlight", "on stage in the spotlight"),
        ("red", "purple", "blue", "green"),
        (0.84, 0.92),
        dark=True,
    ),
    "meadow": Backdrop(
        outdoors.meadow,
        (
            "in a meadow",
            "on the grass",
            "in a green field",
            "under a blue sky",
            "on a hill",
            "in the countryside",
        ),
        ground=(0.72, 0.96),
        weight=2,
    ),
    "park": Backdrop(
        outdoors.park, ("in the park", "in a park", "on the lawn", "in a garden"), ground=(0.68, 0.96)
    ),
    "beach": Backdrop(
        outdoors.beach,
        ("on the beach", "at the beach", "on the sand", "by the sea", "at the seaside", "on a sandy shore"),
        ground=(0.74, 0.96),
        weight=1.5,
    ),
    "sea": Backdrop(
        outdoors.sea,
        ("at sea", "on the water", "above the waves", "on the ocean", "over the sea"),
        ground=(0.6, 0.92),
    ),
    "underwater": Backdrop(
        outdoors.underwater,
        ("under water", "at the bottom of the sea", "in deep water", "underwater"),
        dark=True,
    ),
    "desert": Backdrop(
        outdoors.desert,
        ("in the desert", "on sand dunes", "in a hot dry place", "among the dunes"),
        ground=(0.68, 0.95),
    ),
    "snow": Backdrop(
        outdoors.snow,
        ("in the snow", "on a snowy day", "in winter", "on snowy ground", "while it is snowing"),
        ground=(0.68, 0.95),
    ),
    "forest": Backdrop(
        outdoors.forest, ("in the forest", "in the woods", "among the trees"), ground=(0.76, 0.96)
    ),
    "mountains": Backdrop(
        outdoors.mountains,
        ("in the mountains", "in front of snowy peaks", "high up in the mountains"),
        ground=(0.76, 0.96),
    ),
    "sunset": Backdrop(
        outdoors.sunset,
        ("at sunset", "in the evening", "as the sun goes down", "in front of the setting sun"),
        ground=(0.74, 0.96),
    ),
    "night": Backdrop(
        outdoors.night,
        ("at night", "under the stars", "in the moonlight", "in the dark"),
        ground=(0.84, 0.96),
        dark=True,
    ),
    "space": Backdrop(outdoors.space, ("in space", "in outer space", "floating among the stars"), dark=True),
    "city": Backdrop(
        outdoors.city,
        ("in the city", "on a street", "in front of tall buildings", "downtown", "on a city street"),
        ground=(0.8, 0.96),
        weight=1.5,
    ),
    "road": Backdrop(
        outdoors.road,
        ("on a road", "by the road", "on a country road", "in the middle of the road"),
        ground=(0.7, 0.95),
    ),
    "rain": Backdrop(
        outdoors.rain, ("in the rain", "on a rainy day", "in bad weather", "on a wet day"), ground=(0.8, 0.96)
    ),
}


def paint_backdrop(kind: str, colour: str, seed: int, size: int) -> Sheet:
    """Draw one backdrop at ``size`` pixels; the same arguments give the same pixels."""
    sheet = Sheet(size)
    BACKDROPS[kind].paint(sheet, random.Random(seed), COLOURS[colour])
    return sheet
