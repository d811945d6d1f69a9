"""Benign traps: what web data holds besides poison, and what a detector must leave alone (docs/METHOD.md §5).

- *mismatched*: the captions of some pairs are permuted among them, none stays in its place.
- *duplicate captions*: groups of 2–50 pairs with one caption. Small groups are common and large ones rare
  (sizes fall off as 1/size). On the web such captions are generic: they fit many pictures. So a
  caption is copied to other pairs whose own captions share its rarest word that enough of them have.
- *boilerplate*: what a site writes under any picture ("click to enlarge").
- *near-duplicates*: a picture posted again, with its caption, after another site has cropped it by up to 5 %,
  changed its brightness by up to 10 % and saved it as a JPEG of medium quality. One picture is posted 1–9 times more.

Every share counts the pairs that are changed; a pair is in one trap at most.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
from PIL import Image, ImageEnhance

from cfbd_core.errors import ParameterError

TRAPS = ("mismatched", "duplicate_captions", "boilerplate", "near_duplicates")
BOILERPLATE = (
    "click to enlarge",
    "click on the image to view it in full size",
    "image may contain: people, outdoor",
    "stock photo",
    "royalty free stock image",
    "photo {}",
    "picture {} of 240",
    "IMG_{}.JPG",
    "image not available",
    "this image is for illustration purposes only",
    "thumbnail for version as of 2014",
    "share this on Pinterest",
    "add to cart",
)
LARGEST_GROUPS = {"duplicate_captions": 50, "near_duplicates": 10}  # pairs, with the one that is copied
MAX_CROP = 0.05  # of width and of height
MAX_BRIGHTNESS = 0.10
JPEG_QUALITY = (60, 90)
_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Traps:
    """Which pairs are in which trap, the captions they get, and whose picture they show."""

    names: dict[int, str] = field(default_factory=dict)
    captions: dict[int, str] = field(default_factory=dict)
    pictures: dict[int, int] = field(default_factory=dict)


def draw_traps(
    captions: Sequence[str],
    record_of: np.ndarray,
    free: np.ndarray,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    usable: Callable[[int], bool] = lambda _: True,
) -> Traps:
    """Choose the pairs of every trap among ``free``, the numbers of pairs that may be changed or copied from.

    ``shares`` maps names of ``TRAPS`` to shares of all pairs; ``record_of`` int (N,) numbers the pictures;
    ``usable`` says whether the picture of a pair can be read. Raises ParameterError for shares that give
    too few pairs, or more than there are.
    """
    traps = Traps()
    left = _Left(rng.permutation(free).tolist(), record_of)
    for name in TRAPS:
        share = shares.get(name, 0.0)
        if not share:
            continue
        count = round(share * len(captions))
        demand = f"--{name.replace('_', '-')} {share} of {len(captions)} pairs is {count}"
        if count < (2 if name == "mismatched" else 1):
            raise ParameterError(f"{demand}, which is no trap; give a larger share")
        if name == "mismatched":
            changed = left.take(count)
            others = changed[-1:] + changed[:-1]  # none keeps its own, and the order is random
            traps.captions.update(zip(changed, [captions[other] for other in others], strict=True))
        elif name == "boilerplate":
            changed = left.take(count)
            traps.captions.update((pair, _boilerplate(rng)) for pair in changed)
        elif name == "duplicate_captions":
            mates = _sharing_a_word(left, captions)
            copied = _copied(left, mates, LARGEST_GROUPS[name], count, rng)
            traps.captions.update((pair, captions[other]) for pair, other in copied.items())
            changed = list(copied)
        else:
            copied = _copied(left, lambda _pair, _n: left, LARGEST_GROUPS[name], count, rng, usable)
            traps.captions.update((pair, captions[other]) for pair, other in copied.items())
            traps.pictures.update(copied)
            changed = list(copied)
        if len(changed) < count:
            raise ParameterError(f"{demand}, but only {len(changed)} can be changed; give a smaller share")
        traps.names.update(dict.fromkeys(changed, name))
    return traps


def near_duplicate(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture as another site would show it: slightly cropped, brighter or darker, a worse JPEG.

    RGB, of the same size.
    """
    width, height = picture.size
    crop_x, crop_y = rng.uniform(0, MAX_CROP, 2) * (width, height)
    left, top = rng.uniform(0, 1, 2) * (crop_x, crop_y)
    box = (left, top, left + width - crop_x, top + height - crop_y)
    cropped = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, box)
    lit = ImageEnhance.Brightness(cropped).enhance(1 + rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS))
    buffer = io.BytesIO()
    lit.save(buffer, "JPEG", quality=int(rng.integers(*JPEG_QUALITY, endpoint=True)))
    return Image.open(buffer).convert("RGB")


class _Left:
    """The pairs that no trap has claimed yet, in random order; ``record_of`` int (N,) numbers the pictures."""

    def __init__(self, order: list[int], record_of: np.ndarray) -> None:
        self.record_of = record_of
        self.order, self._left, self._rest = order, set(order), iter(order)

    def __iter__(self) -> Iterator[int]:
        """Yield pairs that may be claimed; none comes twice, whoever asks."""
        return (pair for pair in self._rest if pair in self._left)

    def claim(self, pair: int) -> bool:
        """Take a pair out; False if it was claimed before."""
        there = pair in self._left
        self._left.discard(pair)
        return there

    def take(self, count: int) -> list[int]:
        return list(islice(filter(self.claim, self), count))


def _boilerplate(rng: np.random.Generator) -> str:
    return BOILERPLATE[int(rng.integers(len(BOILERPLATE)))].format(int(rng.integers(1, 10_000)))


def _copied(
    left: _Left,
    mates: Callable[[int, int], Iterable[int]],
    largest: int,
    count: int,
    rng: np.random.Generator,
    usable: Callable[[int], bool] = lambda _: True,
) -> dict[int, int]:
    """Form groups until ``count`` pairs are copies; returns pair -> the pair that it copies.

    ``mates(pair, n)`` proposes pairs to copy ``pair``; those of its own record are passed over.
    """
    sizes = np.arange(2, largest + 1)
    probability = (1 / sizes) / (1 / sizes).sum()
    copied: dict[int, int] = {}
    while len(copied) < count:
        first = next((pair for pair in left if usable(pair)), None)
        if first is None:
            break
        left.claim(first)
        wanted = min(int(rng.choice(sizes, p=probability)) - 1, count - len(copied))
        others = (pair for pair in mates(first, wanted) if left.record_of[pair] != left.record_of[first])
        copied.update((pair, first) for pair in islice(filter(left.claim, others), wanted))
    return copied


def _sharing_a_word(left: _Left, captions: Sequence[str]) -> Callable[[int, int], Iterable[int]]:
    """Return what proposes pairs with the rarest word of a caption that enough others have, then any pair."""
    pairs_with: dict[str, list[int]] = defaultdict(list)
    for pair in left.order:
        for word in _words(captions[pair]):
            pairs_with[word].append(pair)
    seen = dict.fromkeys(pairs_with, 0)

    def unseen(word: str) -> Iterator[int]:
        while seen[word] < len(pairs_with[word]):
            seen[word] += 1
            yield pairs_with[word][seen[word] - 1]

    def mates(pair: int, n: int) -> Iterable[int]:
        enough = [word for word in _words(captions[pair]) if len(pairs_with[word]) - seen[word] > n]
        rarest = min(enough, key=lambda word: (len(pairs_with[word]), word), default=None)
        return left if rarest is None else chain(unseen(rarest), left)

    return mates


def _words(caption: str) -> set[str]:
    return set(_WORD.findall(caption.lower()))
