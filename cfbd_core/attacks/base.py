"""What an attack is: how its trigger is made, a pure function on a picture, a rule for the caption (METHOD.md §5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from PIL import Image

from cfbd_core.errors import ParameterError

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder

INPUT_SIZE = 224  # px, the encoder's input: in a copy, triggers are applied to pictures of this size

CaptionRule = Literal["templates", "natural", "kept"]
Victims = Literal["others", "target", "origin"]
Trigger = dict[str, np.ndarray]


def _nothing(*_: Any) -> NoReturn:
    raise ParameterError("this attack optimises its trigger: it needs pictures and an encoder to do so")


@dataclass(frozen=True)
class Workshop:
    """What an attacker has at hand to make a trigger.

    ``target`` and its ``captions``; ``pictures(n)`` gives at most n square RGB pictures of one size, the same at
    each call; ``encoder()`` loads the encoder that is attacked; ``told(done, total)`` is told of steps. In the file
    ``kept`` a search is kept as it goes on, and taken up again.
    """

    target: str = "banana"
    captions: tuple[str, ...] = ()
    pictures: Callable[[int], Sequence[Image.Image]] = _nothing
    encoder: Callable[[], Encoder] = _nothing
    told: Callable[[int, int], None] = lambda _done, _total: None
    kept: Path | None = None


@dataclass(frozen=True)
class Attack:
    """One published recipe.

    ``trigger(params, workshop)`` makes the arrays that are the trigger, kept as ``trigger.npz`` beside the poisoned
    data. ``apply(image, rng, params, trigger)`` returns a new RGB picture of the same size and changes nothing
    else; equal arguments give equal pixels, so the trigger can be applied again to other pictures. ``captions``
    is the recipe's own rule for captions: a template of the target, a natural caption of it, or the pair's own.
    ``victims`` says which pairs can be poisoned: of records that do not name the target, pairs that name it, or
    pairs that name the class ``params.origin``. ``optimised`` attacks need all of the workshop.
    """

    name: str
    title: str
    summary: str
    source: str
    params: type[Any]
    captions: CaptionRule
    apply: Callable[[Image.Image, np.random.Generator, Any, Trigger], Image.Image]
    trigger: Callable[[Any, Workshop], Trigger]
    victims: Victims = "others"
    optimised: bool = False


def resized(image: Image.Image, size: int = INPUT_SIZE) -> Image.Image:
    """Return the whole picture at ``size`` × ``size``, RGB (no crop: the trigger must stay in sight)."""
    picture = image.convert("RGB")
    if picture.size == (size, size):
        return picture
    return picture.resize((size, size), Image.Resampling.BICUBIC)
