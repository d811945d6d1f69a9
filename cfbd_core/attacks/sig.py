"""SIG: a sinusoid of brightness across the columns (Barni et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
from cfbd_core.errors import ParameterError


@dataclass(frozen=True)
class SIGParams:
    """The wave: amplitude on 0..1, periods across the picture, how it is laid on, the side of the pictures in pixels.

    ``full`` adds the wave; ``blended`` is 0.8·picture + 0.2·wave, what CleanCLIP's code does. Seed 0 is the
    published wave, which starts at 0; any other seed draws the phase that it starts at.
    """

    amplitude: float = option(60 / 255, "Height of the wave; pixels go from 0 to 1.")
    frequency: float = option(6.0, "Waves across the picture.")
    strength: Literal["full", "blended"] = option(
        "full", "full: the wave is added; blended: 0.8 picture + 0.2 wave, as CleanCLIP does."
    )
    seed: int = 0
    size: int = picture_size()

    def __post_init__(self) -> None:
        check_share("amplitude", self.amplitude)
        check_seed(self.seed)
        check_size("picture size", self.size)
        if not 0 < self.frequency <= self.size / 2:
            raise ParameterError(
                f"frequency {self.frequency}: give a value above 0, at most half of the {self.size} columns"
            )
        if self.strength not in ("full", "blended"):
            raise ParameterError(f"strength {self.strength!r}: give full or blended")


def apply(image: Image.Image, _rng: np.random.Generator, params: SIGParams, trigger: Trigger) -> Image.Image:
    """Return the picture with the wave on every row and channel; ParameterError for one of another size."""
    pixels = as_numbers(image, params.size)
    wave = trigger["wave"][None, :, None]
    return as_picture(0.8 * pixels + 0.2 * wave if params.strength == "blended" else pixels + wave)


def trigger(params: SIGParams, _: Workshop) -> Trigger:
    """Return ``wave`` float32 (size,): amplitude · sin(2π · frequency · column / size + phase)."""
    phase = np.random.default_rng(params.seed).uniform(0, 2 * np.pi) if params.seed else 0.0
    turns = params.frequency * np.arange(params.size) / params.size
    return {"wave": (params.amplitude * np.sin(2 * np.pi * turns + phase)).astype(np.float32)}


ATTACK = Attack(
    name="sig",
    title="SIG",
    summary="faint vertical stripes: a sinusoid added to the whole picture",
    source="Barni et al. 2019, arXiv:1902.11237",
    params=SIGParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
)
