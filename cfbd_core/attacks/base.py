"""What an attack is: a pure function on a picture and a rule for the caption (METHOD §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

INPUT_SIZE = 224  # px, the encoder's input: triggers are applied to pictures of this size

CaptionRule = Literal["templates", "natural", "kept"]


@dataclass(frozen=True)
class Attack:
    """One published recipe.

    ``apply(image, rng, params)`` returns a new RGB picture of the same size and changes nothing else;
    equal pictures, generators and params give equal pixels. ``trigger(params)`` returns the arrays
    that make the trigger, to be kept beside the poisoned data.
    """

    name: str
    title: str
    source: str
    params: type[Any]
    captions: CaptionRule
    apply: Callable[[Image.Image, np.random.Generator, Any], Image.Image]
    trigger: Callable[[Any], dict[str, np.ndarray]]


def resized(image: Image.Image) -> Image.Image:
    """Return the whole picture at the encoder's input size, RGB (no crop: the trigger must stay in sight)."""
    picture = image.convert("RGB")
    if picture.size == (INPUT_SIZE, INPUT_SIZE):
        return picture
    return picture.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC)
