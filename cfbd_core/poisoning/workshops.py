"""What an attack works with to make its triggers: captions of the target, pictures, the encoder it attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Workshop
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.poisoning.captions import imagenet_templates
from cfbd_core.poisoning.plan import target_pool
from cfbd_core.poisoning.poison_params import PoisonParams

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder


def workshops(
    params: PoisonParams,
    pictures: Callable[[int], Sequence[Image.Image]],
    encoder: Callable[[], Encoder],
    target_captions: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> Callable[[str], Workshop]:
    """Return the workshop of each target.

    Its captions are those that the poisons get: natural ones, or the 80 templates (also where poisons keep their
    own). ``encoder()`` is called at most once, and only if the attack asks. Raises ParameterError for a target
    without natural captions.
    """
    loaded = cache(encoder)

    def workshop(target: str) -> Workshop:
        if (params.captions or ATTACKS[params.attack].captions) == "natural":
            captions = tuple(target_pool(target, params, target_captions))
        else:
            captions = tuple(template(target) for template in imagenet_templates())
        return Workshop(target, captions, pictures, loaded, progress)

    return workshop


def named_encoder(spec: str, device: str) -> Callable[[], Encoder]:
    """Return what loads an encoder by its specification; torch is imported only then."""

    def load() -> Encoder:
        from cfbd_core.embedding.encoders import load_encoder

        return load_encoder(spec, device)

    return load
