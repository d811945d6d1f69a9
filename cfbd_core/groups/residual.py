"""The mean fine detail of a group's pictures, in standard errors against that of control pictures."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

BLUR_PIXELS = 3.0  # px: detail is what a Gaussian of this width takes away
FULL_SCALE = 6.0  # standard errors that are drawn as black or white


def mean_residual(group: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Mean detail of ``group`` less that of ``control``, in standard errors: float32 (s, s, 3).

    Both are uint8 (·, s, s, 3), two pictures at least. What any photos share at a pixel falls out, and 0 ± 1 is chance.
    """
    (mean, error), (other, other_error) = _moments(group), _moments(control)
    residual: np.ndarray = (mean - other) / np.sqrt(np.maximum(error + other_error, 1e-12))
    return residual.astype(np.float32)


def _moments(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the detail, and the square of the mean's standard error; one picture at a time."""
    n = len(pictures)
    total = square = np.zeros(pictures.shape[1:])
    for picture in pictures:
        values = picture.astype(np.float32) / 255
        detail = values - gaussian_filter(values, (BLUR_PIXELS, BLUR_PIXELS, 0))
        total, square = total + detail, square + detail**2
    mean = total / n
    variance = np.maximum(square - n * mean**2, 0) / (n - 1)
    # a pixel that never changes has no error of its own: one grey level of rounding is allowed for
    return mean, (variance + (0.5 / 255) ** 2) / n
