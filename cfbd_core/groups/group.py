"""One group of flagged pairs: a suspected target, a benign topic or duplicates, and what says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cfbd_core.groups.words import Phrase
from cfbd_core.method.evidence import cohesion_of

Kind = Literal["poison-like", "benign topic", "duplicates", "unclear"]

LEAST_PAIRS = 5  # pairs: of fewer, cohesion says little
UNLIKE_SHARE = 0.35  # images' cohesion as a share of the captions': most topics of photos have 0.45 to 1
ALIKE_COHESION = 0.45
USUAL_QUANTILE = 0.95  # quantile of c: a group whose mean c is above it does not fit its captions
IDENTICAL_COHESION = 0.98
SAMPLE_PAIRS = 12
NAMING_PHRASES = 3  # phrases that name a group


@dataclass(frozen=True, eq=False)
class Group:
    """Pairs whose captions mean the same thing.

    ``id`` is the key of the pair at ``medoid``, whose ``caption`` is the most typical; ``positions`` int64 (m,) ascend;
    ``samples`` (k,) are positions of pairs with images as different as can be, the medoid first. ``phrases`` define it,
    surest first. ``cohesion`` and ``image_cohesion`` are mean cosines between its captions and between its images after
    the audit's common direction is out (0: as different as any pairs; 1: the same), None where there are not two.
    ``kind`` is what that looks like, ``reason`` why. ``mean_c`` and ``mean_z`` are over the pairs, None where unknown.
    """

    id: str
    positions: np.ndarray
    medoid: int
    caption: str
    samples: np.ndarray
    phrases: tuple[Phrase, ...]
    cohesion: float | None
    image_cohesion: float | None
    kind: Kind
    reason: str
    mean_c: float | None
    mean_z: float | None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def name(self) -> str:
        """What its captions say: the phrases that define it, else its most typical caption."""
        return " · ".join(phrase.text for phrase in self.phrases[:NAMING_PHRASES]) or self.caption

    @property
    def numbers(self) -> str:
        """Its numbers in one line, those that are known: "captions alike 0.91 · images alike 0.03 · …"."""
        parts = {
            "captions alike": self.cohesion,
            "images alike": self.image_cohesion,
            "mean c": self.mean_c,
            "mean z": self.mean_z,
        }
        return " · ".join(
            f"{name} {_two_digits(value)}" for name, value in parts.items() if value is not None
        )

    @property
    def sentence(self) -> str:
        """Its ``reason`` as a sentence."""
        return f"{self.reason[:1].upper()}{self.reason[1:]}."


def judged(
    size: int, cohesion: float | None, image_cohesion: float | None, fits: bool = True
) -> tuple[Kind, str]:
    """Return what a group of ``size`` pairs looks like, and why in plain words.

    ``fits``: its images are as consistent with their captions as most pairs' are. A patch that was optimised against
    the encoder makes its images alike, but not consistent.
    """
    if cohesion is None or image_cohesion is None:
        return "unclear", "fewer than two captions, or images, that can be compared"
    numbers = f"captions {_two_digits(cohesion)}, images {_two_digits(image_cohesion)}"
    if cohesion >= IDENTICAL_COHESION and image_cohesion >= IDENTICAL_COHESION:
        return "duplicates", f"captions and images are the same ({numbers})"
    if size < LEAST_PAIRS:
        return "unclear", f"only {size} pairs: too few to judge ({numbers})"
    share = image_cohesion / cohesion if cohesion > 0 else 1.0
    if share <= UNLIKE_SHARE:
        return "poison-like", f"the captions say the same, the images show different things ({numbers})"
    if share >= ALIKE_COHESION and fits:
        return "benign topic", f"captions and images are alike: one topic ({numbers})"
    if share >= ALIKE_COHESION:
        why = "images alike to the encoder that do not fit their captions: one patch can do that"
    else:
        why = "the images are a little alike, less than a topic's"
    return "unclear", f"{why} ({numbers})"


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no "-0.00"


def cohesion(vectors: np.ndarray) -> float | None:
    """Mean cosine between different rows (m, d), those without a direction left out; None for fewer than two."""
    return cohesion_of(vectors)


def medoid(vectors: np.ndarray, keys: list[str]) -> int:
    """Return the row of unit vectors (m, d) nearest to their mean; of equals, the one with the least key."""
    nearness = np.round(vectors @ vectors.mean(0), 6)  # equal captions tie, whatever their place in memory
    best = np.flatnonzero(nearness == nearness.max())
    return int(min(best, key=lambda row: keys[row]))


def farthest_points(vectors: np.ndarray, start: int, most: int = SAMPLE_PAIRS) -> np.ndarray:
    """Return rows (k,) of unit vectors (m, d), ``start`` first, each the least like all before it (Gonzalez 1985)."""
    chosen = [start]
    nearest = vectors @ vectors[start]
    while len(chosen) < min(most, len(vectors)):
        nearest[chosen] = np.inf
        row = int(nearest.argmin())
        chosen.append(row)
        nearest = np.maximum(nearest, vectors @ vectors[row])
    return np.array(chosen, np.int64)
