"""What an attack is: how its trigger is made, a pure function on a picture, a rule for the caption (METHOD.md §5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from PIL import Image

from cfbd_core.config import HELP
from cfbd_core.errors import ParameterError
from cfbd_core.machine.progress import Progress, no_progress

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
    each call; ``encoder()`` loads the encoder that is attacked; ``progress`` counts steps in the stage "trigger". In
    the file ``search_file`` a search is kept as it goes on, and taken up again.
    """

    target: str = "banana"
    captions: tuple[str, ...] = ()
    pictures: Callable[[int], Sequence[Image.Image]] = _nothing
    encoder: Callable[[], Encoder] = _nothing
    progress: Progress = no_progress
    search_file: Path | None = None


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


# --- what the parameters of attacks share --------------------------------------------------------------


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy's generators refuse."""
    if seed < 0:
        raise ParameterError(f"seed {seed}: give 0 or more")


def check_size(what: str, size: int) -> None:
    """Refuse a side in pixels that does not fit a picture at the encoder's input size."""
    if not 1 <= size <= INPUT_SIZE:
        raise ParameterError(f"{what} {size}: give 1 to {INPUT_SIZE} pixels")


def check_share(what: str, share: float) -> None:
    """Refuse a share that is not above 0 and at most 1 (0 would be no trigger at all)."""
    if not 0 < share <= 1:
        raise ParameterError(f"{what} {share}: give a value above 0, at most 1")


_PICTURE_SIZE = "picture size"


def picture_size() -> int:
    """Return a field for the side in pixels of the pictures, which the code that has the pictures sets, no user."""
    value: int = dataclasses.field(default=INPUT_SIZE, metadata={_PICTURE_SIZE: True})
    return value


def own_options(params: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the user's fields of a parameters class by name; the seed is not one, it is that of the copy."""
    return {one.name: one for one in dataclasses.fields(params) if HELP in one.metadata}


def picture_size_of(params: Any) -> int:
    """Return the side in pixels of the pictures that a trigger is made for."""
    name = next((one.name for one in dataclasses.fields(params) if _PICTURE_SIZE in one.metadata), None)
    return INPUT_SIZE if name is None else getattr(params, name)


# --- pixels as numbers from 0 to 1, and back -----------------------------------------------------------


def as_numbers(image: Image.Image, size: int) -> np.ndarray:
    """Return the RGB pixels on 0..1, float32 (size, size, 3).

    Raises ParameterError for a picture that is not ``size`` × ``size``: a trigger stretched to fit would be another.
    """
    if image.size != (size, size):
        width, height = image.size
        raise ParameterError(
            f"a picture of {width}×{height} pixels cannot take a trigger of {size}×{size}; resize it first"
        )
    return np.asarray(image.convert("RGB"), np.float32) / 255


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Return the RGB picture of pixels (height, width, 3), clipped to 0..1 and rounded to 256 levels."""
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
