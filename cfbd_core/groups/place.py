"""Where pictures agree: the rectangle whose content hardly varies from one picture to the next."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

HALVED_LOG_VARIANCE = 0.7  # below half of the usual variance a pixel counts for a rectangle, else against it
VARIANCE_FLOOR = (1.5 / 255) ** 2  # variance that rounding and mild compression leave
SMOOTH_PIXELS = 3  # px
LEAST_SIDE = 4  # px, a side

Box = tuple[int, int, int, int]  # left, top, width, height


def variance(pictures: np.ndarray) -> np.ndarray:
    """Mean variance of the three colours at each pixel, (h, w) on 0..1, of pictures uint8 (n, h, w, 3)."""
    n = len(pictures)
    total, square = np.zeros(pictures.shape[1:]), np.zeros(pictures.shape[1:])
    for picture in pictures:
        wide = picture.astype(np.float64) / 255
        total += wide
        square += wide**2
    mean_variance: np.ndarray = (np.maximum(square - total**2 / n, 0) / max(1, n - 1)).mean(2)
    return mean_variance


def agreeing_rectangle(group: np.ndarray, usual: np.ndarray) -> tuple[Box, float]:
    """The rectangle where ``group`` varies far less than ``usual``, and how far, in log units summed over its pixels.

    It is looked for in smoothed agreement, so that a few pixels by chance are none; then its edges are made exact.
    """
    sharp = agreement(group, usual, smooth=1) - HALVED_LOG_VARIANCE
    (left, top, width, height), gain = best_rectangle(agreement(group, usual) - HALVED_LOG_VARIANCE)
    x, y = max(0, left - SMOOTH_PIXELS), max(0, top - SMOOTH_PIXELS)
    part = sharp[y : top + height + SMOOTH_PIXELS, x : left + width + SMOOTH_PIXELS]
    (left, top, width, height), _ = best_rectangle(part)
    return (left + x, top + y, width, height), gain


def agreement(group: np.ndarray, usual: np.ndarray, smooth: int = SMOOTH_PIXELS) -> np.ndarray:
    """Return how much less ``group`` uint8 (n, h, w, 3) varies at each pixel than ``usual`` (h, w): log ratio (h, w).

    What holds over the whole picture, as for a group of pale pictures, is taken out.
    """
    ratio = np.log(usual + VARIANCE_FLOOR) - np.log(variance(group) + VARIANCE_FLOOR)
    if smooth > 1:
        ratio = uniform_filter(ratio, smooth)
    excess: np.ndarray = ratio - np.median(ratio)
    return excess


def best_rectangle(gain: np.ndarray) -> tuple[Box, float]:
    """The rectangle with the largest sum of ``gain`` (h, w), and that sum; all of one pixel where none is positive.

    Kadane's algorithm over columns for every pair of rows: O(h² · w).
    """
    height, width = gain.shape
    down = np.zeros((height + 1, width))
    np.cumsum(gain, axis=0, out=down[1:])
    best, box = -np.inf, (0, 0, 1, 1)
    for top in range(height):
        strips = down[top + 1 :] - down[top]  # all rectangles that begin at this row, (rows, w)
        sums = np.zeros((len(strips), width + 1))
        np.cumsum(strips, axis=1, out=sums[:, 1:])
        lowest = np.minimum.accumulate(sums[:, :-1], axis=1)
        reach = sums[:, 1:] - lowest
        at = int(reach.argmax())
        if reach.flat[at] > best:
            best = float(reach.flat[at])
            row, right = divmod(at, width)
            left = int(sums[row, : right + 1].argmin())
            box = (left, top, right + 1 - left, row + 1)
    return box, best
