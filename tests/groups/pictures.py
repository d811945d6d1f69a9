"""Pictures that are as smooth as photos, for tests of what they share."""

from __future__ import annotations

import numpy as np
from scipy import fft

SIDE = 64


def photos(n: int, seed: int, side: int = SIDE) -> np.ndarray:
    """Random pictures uint8 (n, side, side, 3) with the spectrum of photos, 1 / frequency."""
    rng = np.random.default_rng(seed)
    down, across = np.meshgrid(fft.fftfreq(side), fft.fftfreq(side), indexing="ij")
    falling = 1 / np.maximum(np.hypot(down, across), 1 / side) ** 1.2
    noise = rng.normal(size=(n, side, side, 1)) + 0.3 * rng.normal(size=(n, side, side, 3))
    smooth = np.real(fft.ifft2(fft.fft2(noise, axes=(1, 2)) * falling[None, :, :, None], axes=(1, 2)))
    smooth /= smooth.std((1, 2, 3), keepdims=True)
    return np.clip(128 + 50 * smooth, 0, 255).astype(np.uint8)


def noise(side: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def patched(pictures: np.ndarray, patch: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The pictures with ``patch`` (h, w, 3) at left, top of each."""
    changed = pictures.copy()
    for picture, (left, top) in zip(changed, corners, strict=True):
        picture[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return changed
