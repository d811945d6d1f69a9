"""Blended: noise laid over the whole picture, one part in five (Chen et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import (
    Attack,
    Trigger,
    Workshop,
    as_numbers,
    as_picture,
    check_seed,
    check_share,
    check_size,
    picture_size,
)
from cfbd_core.config import option


@dataclass(frozen=True)
class BlendedParams:
    """The share of noise, the seed of the noise image, whether it is redrawn, the side of the pictures in pixels."""

    ratio: float = option(0.2, "Share of noise in the mix with the picture.")
    seed: int = 0
    redraw: bool = option(False, "New noise for every picture, as CleanCLIP does.")
    size: int = picture_size()

    def __post_init__(self) -> None:
        check_share("blend ratio", self.ratio)
        check_seed(self.seed)
        check_size("picture size", self.size)


def apply(
    image: Image.Image, rng: np.random.Generator, params: BlendedParams, trigger: Trigger
) -> Image.Image:
    """Return (1 − ratio)·picture + ratio·noise; ParameterError for a picture of another size than the noise."""
    noise = _noise(rng, params.size) if params.redraw else trigger["noise"]
    pixels = as_numbers(image, params.size)
    return as_picture((1 - params.ratio) * pixels + params.ratio * (noise / np.float32(255)))


def trigger(params: BlendedParams, _: Workshop) -> Trigger:
    """Return the noise image, ``noise`` uint8 (size, size, 3), uniform, the same for the same seed."""
    return {"noise": _noise(np.random.default_rng(params.seed), params.size)}


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


ATTACK = Attack(
    name="blended",
    title="Blended",
    summary="a faint noise image over the whole picture",
    source="Chen et al. 2017, arXiv:1712.05526",
    params=BlendedParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
)
