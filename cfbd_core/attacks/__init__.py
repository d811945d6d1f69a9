"""Attacks: one file each, one line in the registry; other packages add theirs (``cfbd.attacks``)."""

from typing import Any

import numpy as np
from PIL import Image

from cfbd_core.attacks import badclip, badnets, blended, issba, label_consistent, mmpoison, sig, trojan, wanet
from cfbd_core.attacks.base import INPUT_SIZE, Attack, Trigger, Workshop, resized
from cfbd_core.machine.registry import Registry

_OWN = (
    badnets.ATTACK,
    blended.ATTACK,
    sig.ATTACK,
    wanet.ATTACK,
    trojan.ATTACK,
    issba.ATTACK,
    label_consistent.ATTACK,
    mmpoison.ATTACK,
    badclip.ATTACK,
)
ATTACKS: Registry[Attack] = Registry("cfbd.attacks", "attack", Attack, {one.name: one for one in _OWN})


def make_trigger(name: str, params: Any, workshop: Workshop) -> Trigger:
    """Return the trigger of the attack of this name. Raises PluginError where one of another package fails."""
    with ATTACKS.guarded(name):
        trigger = ATTACKS[name].trigger(params, workshop)
        if not all(isinstance(array, np.ndarray) for array in trigger.values()):
            raise TypeError("a trigger is a dict of arrays")
    return trigger


def apply_trigger(
    name: str, image: Image.Image, rng: np.random.Generator, params: Any, trigger: Trigger
) -> Image.Image:
    """Return the picture with the trigger of the attack of this name. Raises as :func:`make_trigger` does."""
    with ATTACKS.guarded(name):
        picture = ATTACKS[name].apply(image, rng, params, trigger)
        if picture.mode != "RGB" or picture.size != image.size:
            raise TypeError(f"gave a picture {picture.mode} {picture.size}, not RGB {image.size}")
    return picture


__all__ = [
    "ATTACKS",
    "INPUT_SIZE",
    "Attack",
    "Trigger",
    "Workshop",
    "apply_trigger",
    "make_trigger",
    "resized",
]
