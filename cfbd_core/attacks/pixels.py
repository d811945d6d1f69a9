"""What triggers over the whole picture share: pixels as numbers from 0 to 1, and back."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cfbd_core.errors import ParameterError


def as_numbers(image: Image.Image, size: int) -> np.ndarray:
    """Return the RGB pixels on 0..1, float32 (size, size, 3).

    Raises ParameterError for a picture that is not ``size`` × ``size``: a trigger stretched to fit would be another.
    """
    if image.size != (size, size):
        width, height = image.size
        raise ParameterError(
            f"a picture of {width}×{height} pixels cannot take a trigger of {size}×{size}; resize it first"
        )
    return np.asarray(image.convert("RGB"), np.float32) / 255


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Return the RGB picture of pixels (height, width, 3), clipped to 0..1 and rounded to 256 levels."""
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
