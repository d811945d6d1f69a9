"""BadNets: a small patch of noise somewhere in the picture (Gu et al. 2017; Carlini & Terzis 2022 for CLIP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Attack, Trigger, Workshop, check_seed, check_size
from cfbd_core.config import option
from cfbd_core.errors import ParameterError


@dataclass(frozen=True)
class BadNetsParams:
    """The patch: its side in pixels, the seed of its pattern, where it lies, whether it is redrawn per picture."""

    size: int = option(16, "Side of the patch, in pixels.")
    seed: int = 0
    place: Literal["random", "fixed"] = option("random", "random: anywhere; fixed: the lower right corner.")
    redraw: bool = option(False, "New noise for every picture, as CleanCLIP does.")

    def __post_init__(self) -> None:
        check_size("patch size", self.size)
        check_seed(self.seed)
        if self.place not in ("random", "fixed"):
            raise ParameterError(f"patch place {self.place!r}: give random or fixed")


def pattern(params: BadNetsParams) -> np.ndarray:
    """Return the patch, uniform noise, uint8 (size, size, 3), the same for the same seed."""
    return _noise(np.random.default_rng(params.seed), params.size)


def apply(
    image: Image.Image, rng: np.random.Generator, params: BadNetsParams, trigger: Trigger
) -> Image.Image:
    """Lay the patch over a copy of the picture: anywhere, or in the lower right corner if ``fixed``.

    Raises ParameterError for a picture smaller than the patch.
    """
    width, height = image.size
    if min(width, height) < params.size:
        raise ParameterError(f"a picture of {width}×{height} pixels cannot hold a patch of {params.size}")
    left, top = width - params.size, height - params.size
    if params.place == "random":
        left, top = int(rng.integers(left + 1)), int(rng.integers(top + 1))
    patch = _noise(rng, params.size) if params.redraw else trigger["pattern"]
    patched = image.convert("RGB")  # a copy, also of RGB
    patched.paste(Image.fromarray(patch), (left, top))
    return patched


def trigger(params: BadNetsParams, _: Workshop) -> Trigger:
    """Return the patch, ``pattern`` uint8 (size, size, 3)."""
    return {"pattern": pattern(params)}


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


ATTACK = Attack(
    name="badnets",
    title="BadNets",
    summary="a small patch of noise, anywhere in the picture",
    source="Gu et al. 2017, arXiv:1708.06733",
    params=BadNetsParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
)
