"""Pictures of pairs at one square size, as one array; those that cannot be read, or come again, are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.images import BadImage, bad_where_it_fails, decode_image
from cfbd_core.pictures.picture import Picture

SIDE_PIXELS = 224  # px: what usual encoders see, 150 KB a picture
SIGNATURE_PIXELS = 16  # px
SAME_CORRELATION = 0.97  # correlation of two signatures
PICTURES_AT_A_TIME = 32  # pictures read at a time

Where = TypeVar("Where")


@dataclass(frozen=True)
class Stack:
    """``pictures`` uint8 (n, s, s, 3), and for each its place ``index`` int (n,) among what was asked for.

    ``missing`` pictures could not be read; ``repeats`` show the same scene as an earlier one.
    """

    pictures: np.ndarray
    index: np.ndarray
    missing: int = 0
    repeats: int = 0

    def __len__(self) -> int:
        return len(self.pictures)


def decoded(picture: Picture) -> Image.Image:
    """Read and decode a picture. Raises BadImage."""
    return decode_image(picture.read())


def read_stack(
    places: Sequence[Where],
    read: Callable[[Where], Image.Image],
    most: int,
    side: int = SIDE_PIXELS,
    stop: Callable[[], bool] = lambda: False,
) -> Stack:
    """Read pictures in the order of ``places`` until there are ``most`` different ones; the whole of each, squeezed.

    One scene may come with several captions: its copies would seem to share everything, so only the first is kept.
    ``stop()`` True ends it early.
    """

    def squeezed(place: Where) -> np.ndarray | None:
        try:
            picture = read(place)
            with bad_where_it_fails("failed transform"):
                picture = picture.convert("RGB")
                if picture.size != (side, side):
                    picture = picture.resize((side, side), Image.Resampling.BICUBIC)
                return np.asarray(picture)
        except BadImage:
            return None

    views: list[np.ndarray] = []
    index: list[int] = []
    signatures = np.empty((0, SIGNATURE_PIXELS**2), np.float32)
    missing = repeats = 0
    with ThreadPoolExecutor(usable_cores()) as pool:
        for at in range(0, len(places), PICTURES_AT_A_TIME):
            if len(views) >= most or stop():
                break
            for number, picture in enumerate(pool.map(squeezed, places[at : at + PICTURES_AT_A_TIME]), at):
                if len(views) >= most:
                    break
                if picture is None:
                    missing += 1
                    continue
                mine = signature(picture)
                if len(signatures) and (signatures @ mine).max() > SAME_CORRELATION:
                    repeats += 1
                    continue
                signatures = np.vstack([signatures, mine])
                views.append(picture)
                index.append(number)
    pictures = np.stack(views) if views else np.empty((0, side, side, 3), np.uint8)
    return Stack(pictures, np.array(index, np.int64), missing, repeats)


def signature(picture: np.ndarray) -> np.ndarray:
    """Return a tiny grey version of uint8 (s, s, 3) as a unit vector: near 1 with that of the same scene."""
    small = (
        Image.fromarray(picture)
        .convert("L")
        .resize((SIGNATURE_PIXELS, SIGNATURE_PIXELS), Image.Resampling.BOX)
    )
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    if length < 1e-3:  # one colour: it is like every other plain picture of its brightness, and none else
        values = np.zeros(SIGNATURE_PIXELS**2, np.float32)
        values[int(np.asarray(small)[0, 0])] = length = 1.0
    return values / length
