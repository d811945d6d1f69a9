"""Scenes: a picture with its caption, one for every (seed, index), the same bytes wherever they are drawn.

The pictograms are OpenMoji's, licence CC BY-SA 4.0; whoever passes pictures on passes ``ATTRIBUTION`` on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from cfbd_core.demo.captions import right_caption, write_caption
from cfbd_core.demo.draw import draw_scene
from cfbd_core.demo.layout import SceneSpec, plan_scene, plan_single
from cfbd_core.demo.vocabulary import PICTOGRAMS

LICENSE = "CC BY-SA 4.0"
ATTRIBUTION = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project (https://openmoji.org). "
    "License: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/).\n"
    "CFBD Auditor composed them into scenes: scaled, mirrored, turned, some recoloured, over backdrops of its own. "
    "These pictures are shared under the same license.\n"
)


@dataclass(frozen=True)
class Scene:
    """A drawn scene and what is known about it."""

    key: str  # nine digits, the index
    image: Image.Image  # RGB, size × size
    caption: str
    caption_kind: str  # "right", "vague" or "wrong"
    classes: list[str]  # class names in the picture, without repeats
    label: str | None  # the class, where the scene shows one single thing
    spec: SceneSpec


def scene(seed: int, index: int, size: int = 224) -> Scene:
    """Draw scene ``index`` of the endless series that ``seed`` names."""
    spec = plan_scene(_random("plan", seed, index))
    caption = write_caption(spec, _random("caption", seed, index))
    return _drawn(spec, index, size, caption.text, caption.kind)


def single_object_scene(seed: int, index: int, class_name: str, size: int = 224) -> Scene:
    """Draw one thing of a class, for zero-shot evaluation; its caption is always right and its label is set.

    Raises KeyError for a name that is not in ``CLASS_NAMES``.
    """
    if class_name not in PICTOGRAMS:
        raise KeyError(f"{class_name!r} is not one of the scene classes")
    spec = plan_single(_random(f"single {class_name}", seed, index), class_name, smallest=0.4)
    text = right_caption(spec, _random(f"single caption {class_name}", seed, index))
    return _drawn(spec, index, size, text, "right")


def draw_scenes(seed: int, n: int, start: int = 0, size: int = 224) -> Iterator[Scene]:
    """Draw scenes ``start`` … ``start + n - 1`` one after the other."""
    return (scene(seed, index, size) for index in range(start, start + n))


def right_captions(seed: int, index: int, n: int) -> list[str]:
    """Write ``n`` truthful captions for ``scene(seed, index)``; they may repeat."""
    spec = plan_scene(_random("plan", seed, index))
    rng = _random("right captions", seed, index)
    return [right_caption(spec, rng) for _ in range(n)]


def planned_classes(seed: int, index: int) -> list[str]:
    """Name what ``scene(seed, index)`` shows, without drawing it."""
    return [group.name for group in plan_scene(_random("plan", seed, index)).groups]


def _random(purpose: str, seed: int, index: int) -> random.Random:
    """Return a generator of its own for every purpose: another caption does not move a pixel."""
    return random.Random(f"cfbd demo {purpose} {seed} {index}")


def _drawn(spec: SceneSpec, index: int, size: int, caption: str, kind: str) -> Scene:
    classes = list(dict.fromkeys(group.name for group in spec.groups))
    return Scene(
        key=f"{index:09d}",
        image=draw_scene(spec, size),
        caption=caption,
        caption_kind=kind,
        classes=classes,
        label=classes[0] if len(spec.things) == 1 else None,
        spec=spec,
    )
