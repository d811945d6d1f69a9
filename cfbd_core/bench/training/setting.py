"""What a training benchmark trains and measures on, whichever pictures they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfbd_core.bench.base import Base
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.poisoning.plan import settings
from cfbd_core.poisoning.poison_params import PoisonParams


@dataclass(frozen=True)
class Budget:
    """How long is trained: every model takes ``steps`` of ``batch_size`` pairs, whatever its set.

    ``model`` is a specification of :mod:`cfbd_core.training.models`. CleanCLIP's fine-tuning has a length and a
    rate of its own. ``options`` are those of the defences themselves, by name.
    """

    model: str
    steps: int
    batch_size: int
    lr: float
    fine_tuning_steps: int
    fine_tuning_lr: float
    crop_scale: float = 0.9
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """Pictures uint8 (n, S, S, 3) and their captions."""

    images: np.ndarray
    captions: list[str]


@dataclass(frozen=True)
class Setting:
    """N pairs before any attack, clean ones that are ``held_out``, and pictures to ``test`` on.

    ``images()`` gives the pairs' pictures, uint8 (N, S, S, 3) with S = ``size``, to be written to.
    ``base(size)`` gives the pairs with pictures of that size, ``trigger_size(attack)`` that on which triggers are put.
    ``search`` are mmPoison's target and origin: a search for the first shows pictures of the other where it worked.
    """

    size: int
    images: Callable[[], np.ndarray]
    held_out: Drawn
    test: LabelledImages
    budget: Budget
    base: Callable[[int], Base]
    trigger_size: Callable[[str], int]
    search: tuple[str, str]


def searched(mmpoison: PoisonParams) -> tuple[str, str]:
    """Return the target and the origin of an mmPoison."""
    return mmpoison.targets[0], str(settings(mmpoison).origin)
