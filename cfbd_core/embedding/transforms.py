"""A picture made ready for an encoder: a transform that fails, or costs too much, is a bad picture, not a job's end.

Most encoders resize the short side to theirs and keep the proportions: a line of 1,000,000 × 1 pixels, 3 KB as a file,
would become 224,000,000 × 224. What a transform will make is known beforehand from the steps of open_clip's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from cfbd_core.pictures.images import LARGE_PIXELS, BadImage, bad_where_it_fails

if TYPE_CHECKING:
    import torch  # takes a second to import, and is not needed here

Transform = Callable[[Image.Image], "torch.Tensor"]


def transformed(transform: Transform, picture: Image.Image, shape: Transform | None = None) -> torch.Tensor:
    """``transform(picture)``, or ``shape(picture)`` where a part of the transform is asked for.

    Raises BadImage: "extreme proportions" where it would make more than ``LARGE_PIXELS``, else "failed transform".
    """
    check_proportions(transform, picture.size)
    with bad_where_it_fails("failed transform"):
        return (shape or transform)(picture)


def check_proportions(transform: Transform, size: tuple[int, int]) -> None:
    """Raise BadImage where a picture of this width and height would become too large on the way."""
    width, height = largest_size(transform, size)
    if width * height > LARGE_PIXELS:
        raise BadImage(
            "extreme proportions",
            f"{size[0]} × {size[1]} pixels, which the encoder would resize to {width:.0f} × {height:.0f}",
        )


def largest_size(transform: Any, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the largest picture that the steps of a transform make of one of this ``size``."""
    sizes: list[tuple[float, float]] = [size]
    for step in getattr(transform, "transforms", []):
        sizes.append(_after(step, *sizes[-1]))
    return max(sizes[1:], key=lambda one: one[0] * one[1], default=(0, 0))


def _after(step: Any, width: float, height: float) -> tuple[float, float]:
    """Return the size after a step: torchvision's ``Resize`` and ``CenterCrop``, open_clip's ``ResizeKeepRatio``."""
    size = getattr(step, "size", None)
    if size is None:
        return width, height
    sides = [size] if isinstance(size, int) else list(size)
    if len(sides) == 1:  # the short side
        factor = sides[0] / min(width, height)
        return width * factor, height * factor
    if hasattr(step, "longest"):
        ratios = height / sides[0], width / sides[1]
        ratio = max(ratios) * step.longest + min(ratios) * (1 - step.longest)
        return width / ratio, height / ratio
    return sides[1], sides[0]
