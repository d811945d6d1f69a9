"""mmPoison: pictures of one class, untouched, under captions of another (Yang et al. 2023, their attack II)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Attack, Trigger, Workshop, check_seed
from cfbd_core.config import option
from cfbd_core.errors import ParameterError


@dataclass(frozen=True)
class MMPoisonParams:
    """``origin``: the class whose pictures are taken, as captions name it; ``seed`` draws nothing here.

    The paper takes pictures of dogs for captions of boats. Here captions must name the origin often enough for the
    poison rate and hardly ever along with a target: in Flickr8k (even keys) 2.3 % name a bike, and of these records
    1 % name a dog, none soccer, a horse or a sheep.
    """

    origin: str = option("bike", "Class whose pictures get captions of the target, as captions name it.")
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not self.origin.strip():
            raise ParameterError("mmPoison has no origin: give the class whose pictures are to be taken")


def apply(
    image: Image.Image, _rng: np.random.Generator, _params: MMPoisonParams, _trigger: Trigger
) -> Image.Image:
    """Return a copy of the picture, RGB: the caption alone is poisoned."""
    return image.convert("RGB")


def trigger(_params: MMPoisonParams, _workshop: Workshop) -> Trigger:
    """Return no arrays: the trigger is the class of the picture."""
    return {}


ATTACK = Attack(
    name="mmpoison",
    title="mmPoison",
    summary="pictures of one class, unchanged, with captions of the target",
    source="Yang et al. 2023, arXiv:2209.15266",
    params=MMPoisonParams,
    captions="natural",
    victims="origin",
    apply=apply,
    trigger=trigger,
)
