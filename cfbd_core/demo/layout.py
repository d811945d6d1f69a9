"""What is in a scene and where: a plan that the painter and the caption writer share.

Lengths are fractions of the picture's side. The same random state gives the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cfbd_core.demo.backdrops import BACKDROPS
from cfbd_core.demo.vocabulary import CLASS_NAMES, COLOURS, PAINTS, PICTOGRAMS

_SIZE_STEP = 28  # sizes are multiples of 1/28: few sizes, so that every glyph is rendered few times
_KINDS = list(BACKDROPS)
_KIND_WEIGHTS = [BACKDROPS[kind].weight for kind in _KINDS]
_CLASS_WEIGHTS = [PICTOGRAMS[name].weight for name in CLASS_NAMES]
_COUNTABLE = [name for name in CLASS_NAMES if PICTOGRAMS[name].number == "count"]
_COUNTABLE_WEIGHTS = [PICTOGRAMS[name].weight for name in _COUNTABLE]
_GRIDS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    2: (((0.27, 0.28), (0.73, 0.72)), ((0.27, 0.72), (0.73, 0.28)), ((0.26, 0.5), (0.74, 0.5))),
    3: (
        ((0.5, 0.26), (0.26, 0.74), (0.74, 0.74)),
        ((0.26, 0.26), (0.74, 0.26), (0.5, 0.74)),
        ((0.25, 0.3), (0.72, 0.27), (0.62, 0.76)),
    ),
    4: (
        ((0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)),
        ((0.5, 0.2), (0.2, 0.5), (0.8, 0.5), (0.5, 0.8)),
    ),
}


@dataclass(frozen=True)
class Group:
    """Equal things, as a caption names them."""

    name: str
    count: int = 1
    paint: str | None = None
    size: str = ""  # "", "small" or "big": said only where the picture shows the difference


@dataclass(frozen=True)
class Thing:
    """One pictogram in the picture; x is its centre, y its centre or, if it stands, its foot."""

    name: str
    glyph: str
    x: float
    y: float
    size: float  # of its long side
    standing: bool
    mirrored: bool
    angle: int
    paint: str | None


@dataclass(frozen=True)
class SceneSpec:
    """Everything a scene shows. ``groups[0] relation groups[1]`` holds where ``relation`` is not empty."""

    groups: tuple[Group, ...]
    things: tuple[Thing, ...]  # back to front
    relation: str  # "", "left of", "above", "next to", "in front of"
    place: str  # where a single thing is: "", "left", "right", "top", "bottom", "middle"
    backdrop: str
    colour: str
    seed: int  # of the backdrop's details
    spot: str | None  # colour of a disc behind a single thing
    outlined: bool
    grain: int


def plan_scene(rng: random.Random) -> SceneSpec:
    """Plan a scene of 1–4 things: one, two in a relation, several of a kind, or a mixture."""
    mode = rng.choices(("single", "pair", "count", "mixed"), (0.3, 0.3, 0.2, 0.2))[0]
    if mode == "single":
        return plan_single(rng, _draw_class(rng, 1)[0])
    kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
    if mode == "pair":
        return _pair(rng, kind)
    if mode == "count":
        name = rng.choices(_COUNTABLE, _COUNTABLE_WEIGHTS)[0]
        groups = [_group(rng, name, rng.choices((2, 3, 4), (0.45, 0.35, 0.2))[0])]
    else:
        parts = rng.choice(
            ((1, 1), (1, 1), (1, 1, 1), (1, 1, 1), (1, 2), (1, 1, 1, 1), (2, 2), (1, 3), (1, 1, 2))
        )
        groups = [
            _group(rng, name, count if PICTOGRAMS[name].number == "count" else 1)
            for name, count in zip(_draw_class(rng, len(parts)), parts, strict=True)
        ]
    return _spread(rng, kind, groups)


def plan_single(rng: random.Random, name: str, smallest: float = 0.3) -> SceneSpec:
    """Plan a scene that shows one thing, at least ``smallest`` of the side long."""
    kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
    group, size = _group(rng, name), _size(rng.uniform(smallest, 0.86))
    spot = (
        rng.choice(list(COLOURS))
        if rng.random() < 0.12 and size < 0.6 and not BACKDROPS[kind].ground
        else None
    )
    margin = (1 - size) / 2 - (0.08 if spot else 0)
    x = 0.5 + rng.uniform(-margin, margin)
    y = 0.5 + rng.uniform(-margin, margin)
    place = ""
    if size < 0.5:
        places = [
            ("left", x < 0.35),
            ("right", x > 0.65),
            ("middle", abs(x - 0.5) < 0.06 and abs(y - 0.5) < 0.1),
        ]
        if not BACKDROPS[kind].ground:
            places += [("top", y < 0.33 and 0.35 < x < 0.65), ("bottom", y > 0.67 and 0.35 < x < 0.65)]
        place = next((word for word, holds in places if holds), "")
    stands = BACKDROPS[kind].ground is not None and rng.random() < 0.8
    things = [_thing(rng, group, (x, _foot(rng, kind) if stands else y), size, stands)]
    return replace(_spec(rng, kind, [group], things), place=place, spot=spot)


def _pair(rng: random.Random, kind: str) -> SceneSpec:
    first, second = (_group(rng, name) for name in _draw_class(rng, 2))
    relation = rng.choice(("left of", "left of", "above", "next to", "next to", "in front of"))
    stands = BACKDROPS[kind].ground is not None and relation != "above" and rng.random() < 0.85
    sizes = [_size(rng.uniform(0.3, 0.45)) for _ in range(2)]
    if relation != "in front of" and rng.random() < 0.3:
        sizes = [_size(0.2), _size(0.5)]
        words = ["small", "big"]
        if rng.random() < 0.5:
            sizes.reverse()
            words.reverse()
        first, second = (
            Group(g.name, 1, g.paint, word) for g, word in zip((first, second), words, strict=True)
        )
    if relation == "above":
        sizes = [min(size, _size(0.46)) for size in sizes]
        x = rng.uniform(0.3, 0.7)
        spots = [(x, sizes[0] / 2 + 0.03), (x + rng.uniform(-0.06, 0.06), 0.97 - sizes[1] / 2)]
    elif relation == "in front of":
        sizes = [_size(rng.uniform(0.3, 0.38)), _size(rng.uniform(0.6, 0.72))]
        side = rng.choice((-1, 1))
        spots = [(0.5 + side * 0.3, 0.74), (0.5 - side * 0.1, 0.45)]
    else:
        gap = 0.02 if relation == "next to" else rng.uniform(0.08, 0.14)
        left = (1 - sum(sizes) - gap) / 2
        y = rng.uniform(0.35, 0.65)
        spots = [(left + sizes[0] / 2, y), (left + sizes[0] + gap + sizes[1] / 2, y)]
        if relation == "next to" and rng.random() < 0.5:
            spots = [(1 - x, height) for x, height in spots]
    foot = _foot(rng, kind)
    things = [
        _thing(rng, group, (x, foot if stands else y), size, stands)
        for group, (x, y), size in zip((first, second), spots, sizes, strict=True)
    ]
    return replace(_spec(rng, kind, [first, second], things[::-1]), relation=relation)


def _spread(rng: random.Random, kind: str, groups: Sequence[Group]) -> SceneSpec:
    """Place 2–4 things without a relation that captions name: in a row, or over a grid."""
    members = [group for group in groups for _ in range(group.count)]
    count = len(members)
    ground = BACKDROPS[kind].ground
    if count < 4 and (ground or rng.random() < 0.3):
        size = _size(rng.uniform(0.7, 0.94) / count)
        spots = [((k + 0.5) / count, 0.5 + rng.uniform(-0.12, 0.12)) for k in range(count)]
        stands = ground is not None
    else:
        size = _size(rng.uniform(0.26, 0.4 if count < 4 else 0.36))
        slack = (0.4 - size) / 3
        spots = [
            (x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack))
            for x, y in rng.choice(_GRIDS[count])
        ]
        stands = False
    if len(groups) > 1:
        rng.shuffle(spots)
    things = [
        _thing(rng, group, (x, _foot(rng, kind) if stands else y), size, stands)
        for group, (x, y) in zip(members, spots, strict=True)
    ]
    return _spec(rng, kind, groups, things)


def _spec(rng: random.Random, kind: str, groups: Sequence[Group], things: Sequence[Thing]) -> SceneSpec:
    backdrop = BACKDROPS[kind]
    colour = rng.choice(backdrop.colours or ("white",))
    return SceneSpec(
        groups=tuple(groups),
        things=tuple(things),
        relation="",
        place="",
        backdrop=kind,
        colour=colour,
        seed=rng.getrandbits(32),
        spot=None,
        outlined=backdrop.dark or colour == "black" or rng.random() < 0.3,
        grain=rng.choice((0, 0, 2, 3, 5, 7)),
    )


def _draw_class(rng: random.Random, count: int) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        name = rng.choices(CLASS_NAMES, _CLASS_WEIGHTS)[0]
        if name not in names:
            names.append(name)
    return names


def _group(rng: random.Random, name: str, count: int = 1) -> Group:
    return Group(name, count, rng.choice(PAINTS) if PICTOGRAMS[name].paintable else None)


def _foot(rng: random.Random, kind: str) -> float:
    """Draw how far down a thing stands before this backdrop; 0 where it has no ground."""
    return rng.uniform(*(BACKDROPS[kind].ground or (0, 0)))


def _thing(rng: random.Random, group: Group, at: tuple[float, float], size: float, stands: bool) -> Thing:
    picture = PICTOGRAMS[group.name]
    x, y = at
    return Thing(
        name=group.name,
        glyph=rng.choice(picture.glyphs),
        x=x,
        y=y,
        size=size,
        standing=stands,
        mirrored=picture.mirrors and rng.random() < 0.5,
        angle=rng.choice((-20, -12, -6, 6, 12, 20)) if not stands and rng.random() < 0.25 else 0,
        paint=group.paint,
    )


def _size(size: float) -> float:
    return round(size * _SIZE_STEP) / _SIZE_STEP
