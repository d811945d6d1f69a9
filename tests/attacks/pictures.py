"""Pictures for tests of attacks, and an attack applied as it is to a copy: trigger first, then picture by picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from cfbd_core.attacks import Attack, Workshop


def noise_picture(size: tuple[int, int] = (224, 224), seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def smooth_picture(size: int = 224, seed: int = 0) -> Image.Image:
    """A picture with blobs a few dozen pixels wide, as photos have them."""
    return noise_picture((8, 8), seed).resize((size, size), Image.Resampling.BICUBIC)


def applied(attack: Attack, image: Image.Image, draw: int = 0, **options: Any) -> Image.Image:
    """The picture with the trigger of ``options``; ``draw`` seeds what is drawn for this picture alone."""
    params = attack.params(**options)
    return attack.apply(image, np.random.default_rng(draw), params, attack.trigger(params, Workshop()))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)
