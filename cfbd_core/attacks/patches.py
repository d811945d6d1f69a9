"""What Trojan and BadCLIP share: a patch that lies at one place, and checks of what makes it. Free of torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Trigger, Workshop, check_seed, check_size
from cfbd_core.errors import ParameterError

Place = Literal["centre", "corner"]


def corner_of(place: Place, side: int, width: int, height: int) -> tuple[int, int]:
    """Return (left, top) of a patch of ``side`` pixels: in the middle, or in the lower right corner.

    Raises ParameterError for a picture smaller than the patch.
    """
    if min(width, height) < side:
        raise ParameterError(f"a picture of {width}×{height} pixels cannot hold a patch of {side}")
    if place == "centre":
        return (width - side) // 2, (height - side) // 2
    return width - side, height - side


def paste(image: Image.Image, trigger: Trigger, place: Place) -> Image.Image:
    """Return an RGB copy with ``pattern`` uint8 (s, s, 3) pasted where ``mask`` bool (s, s) is true."""
    pattern, mask = trigger["pattern"], trigger["mask"]
    left_top = corner_of(place, len(pattern), *image.size)
    patched = image.convert("RGB")  # a copy, also of RGB
    patched.paste(Image.fromarray(pattern), left_top, Image.fromarray(mask))
    return patched


def noise(size: int, seed: int) -> np.ndarray:
    """Uniform noise uint8 (size, size, 3): where the optimisation starts, and the patch it is compared with."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def check_patch(size: int, learning_rate: float, seed: int, **counts: int) -> None:
    """Raise ParameterError for a patch that no picture holds, a rate that moves nothing, or counts below 1."""
    check_size("patch size", size)
    check_seed(seed)
    if not 0 < learning_rate <= 1:
        raise ParameterError(
            f"learning rate {learning_rate}: give a value above 0, at most 1 (pixels are 0..1)"
        )
    for name, count in counts.items():
        if count < 1:
            raise ParameterError(f"{name.replace('_', ' ')} {count}: give at least 1")


def pool_of(workshop: Workshop, n: int, attack: str) -> np.ndarray:
    """Return at most n pictures as uint8 (n, side, side, 3); ParameterError where there are none.

    Raises ParameterError also where no caption of the target was given.
    """
    if not workshop.captions:
        raise ParameterError(
            f"{attack}: no caption of {workshop.target!r} to optimise the patch for; give some"
        )
    pictures = workshop.pictures(n)
    if not pictures:
        raise ParameterError(f"{attack}: no picture to optimise the patch on; give a source with images")
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
