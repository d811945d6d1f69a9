"""Pictures with what photos have in common taken out: every colour axis and frequency equally strong.

Photos are smooth and mostly grey. In units of what is usual at each frequency, of brightness and of two colour
differences, a pasted patch stands out from them, and one place of a photo is hardly like another's.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [0.5, 0.5, -1]], np.float32)  # brightness, red–green, yellow–blue
CLIP_DEVIATIONS = 6.0  # standard deviations: a hard edge is not to outweigh a patch


class Whitener:
    """Made from control pictures uint8 (m, s, s, 3); turns a picture into float32 (3, s, s), variance about 1."""

    def __init__(self, control: np.ndarray) -> None:
        power = np.zeros((3, control.shape[1], control.shape[2] // 2 + 1), np.float64)
        for picture in control:
            power += np.abs(_spectrum(picture)) ** 2
        power /= max(1, len(control))
        floor = 1e-3 * np.median(power, axis=(1, 2), keepdims=True)
        self._gain = (1 / np.sqrt(np.maximum(power, floor) + 1e-6)).astype(np.float32)
        self._gain[:, 0, 0] = 0  # not the mean
        self.side = control.shape[1]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Whiten one picture uint8 (s, s, 3)."""
        spectrum = _spectrum(picture) * self._gain
        white = fft.irfft2(spectrum, (self.side, self.side), axes=(1, 2)) * self.side
        clipped: np.ndarray = np.clip(white, -CLIP_DEVIATIONS, CLIP_DEVIATIONS).astype(np.float32)
        return clipped


def _spectrum(picture: np.ndarray) -> np.ndarray:
    axes = np.tensordot(OPPONENT, picture.astype(np.float32) / 255, axes=(1, 2))
    spectrum: np.ndarray = fft.rfft2(axes, axes=(1, 2))
    return spectrum
