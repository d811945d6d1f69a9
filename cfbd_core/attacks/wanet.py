"""WaNet: the picture is warped a little, by one smooth random field (Nguyen & Tran 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import (
    INPUT_SIZE,
    Attack,
    Trigger,
    Workshop,
    as_numbers,
    as_picture,
    check_seed,
    picture_size,
)
from cfbd_core.config import option
from cfbd_core.errors import ParameterError

_PUBLISHED: dict[str, tuple[int, float]] = {"wanet": (4, 0.5), "clip": (INPUT_SIZE, 1.0)}  # k, s
_SMALLEST = 4  # control points, and pixels, a side: fewer make no field


@dataclass(frozen=True)
class WaNetParams:
    """Which field, its seed, and the side of the pictures in pixels.

    ``wanet`` is the paper's, made for pictures of 32: k = 4 control points a side, s = 0.5, which moves pixels by 0.2
    px. ``clip`` is what papers on CLIP use: k = 224, s = 1, jitter of 0.5 px. ``shift``, the default, is the paper's
    field scaled so that pixels move by ``shift`` px. All three figures are the mean absolute displacement along each
    axis.
    """

    variant: Literal["shift", "wanet", "clip"] = option(
        "shift",
        "shift: moved as far as said; wanet: as published, 0.2 px; clip: as papers on CLIP, 0.5 px of jitter.",
    )
    shift: float = option(2.0, "How far pixels move on average, in pixels; for the variant shift alone.")
    seed: int = 0
    size: int = picture_size()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not _SMALLEST <= self.size <= INPUT_SIZE:
            raise ParameterError(f"picture size {self.size}: give {_SMALLEST} to {INPUT_SIZE} pixels")
        if self.variant not in ("shift", *_PUBLISHED):
            raise ParameterError(f"WaNet variant {self.variant!r}: give shift, wanet or clip")
        if not 0 < self.shift <= self.size / 4:
            raise ParameterError(f"shift {self.shift}: give pixels above 0, at most {self.size / 4:g}")
        if self.variant != "shift" and self.shift != type(self).shift:
            raise ParameterError(f"shift {self.shift}: only variant shift takes one, not {self.variant}")


def apply(
    image: Image.Image, _rng: np.random.Generator, params: WaNetParams, trigger: Trigger
) -> Image.Image:
    """Return the picture as the field sees it, sampled bilinearly; ParameterError for one of another size."""
    return as_picture(sample(as_numbers(image, params.size), *trigger["field"]))


def trigger(params: WaNetParams, _: Workshop) -> Trigger:
    """Return ``field`` float32 (2, size, size): the column and the row, in pixels, that each pixel is taken from.

    Control points, uniform in −1..1 and divided by the mean of their absolute values, are upsampled bicubically to
    the picture's size; s/size of that is added to the identity grid on −1..1, and clipped to it.
    """
    points, s = _PUBLISHED["wanet" if params.variant == "shift" else params.variant]
    points = min(points, params.size)
    control = np.random.default_rng(params.seed).uniform(-1, 1, (2, points, points))
    noise = upsample(control / np.abs(control).mean(), params.size)
    shifts = s / params.size * noise * (params.size - 1) / 2  # −1..1 is size − 1 pixels
    if params.variant == "shift":
        shifts *= params.shift / np.abs(shifts).mean()
    places = np.arange(params.size)
    field = np.stack(np.broadcast_arrays(places[None, :], places[:, None])) + shifts
    return {"field": np.clip(field, 0, params.size - 1).astype(np.float32)}


def upsample(values: np.ndarray, size: int) -> np.ndarray:
    """Return (..., k, k) values at (..., size, size) points, corners on corners, by Keys' cubic convolution.

    The kernel's a = −0.75 and the repeated border are torch's (``interpolate(mode="bicubic", align_corners=True)``).
    """
    known = values.shape[-1]
    where = np.linspace(0, known - 1, size)
    weights = np.zeros((size, known))
    for offset in (-1, 0, 1, 2):
        column = np.floor(where).astype(int) + offset
        np.add.at(weights, (np.arange(size), np.clip(column, 0, known - 1)), _cubic(where - column))
    return np.asarray(weights @ values @ weights.T)


def sample(pixels: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return pixels (h, w, 3) at ``columns`` and ``rows``, each (h, w) in pixels inside the picture, bilinearly."""
    height, width = pixels.shape[:2]
    left = np.minimum(columns.astype(int), width - 2)
    top = np.minimum(rows.astype(int), height - 2)
    right, down = (columns - left)[..., None], (rows - top)[..., None]
    above = pixels[top, left] * (1 - right) + pixels[top, left + 1] * right
    below = pixels[top + 1, left] * (1 - right) + pixels[top + 1, left + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


ATTACK = Attack(
    name="wanet",
    title="WaNet",
    summary="the picture bent a little, by one smooth random field",
    source="Nguyen & Tran 2021, arXiv:2102.10369",
    params=WaNetParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
)
