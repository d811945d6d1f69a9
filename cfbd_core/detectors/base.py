"""What a detector is: one method that judges N pairs at once and says a score, a verdict and how it came by them.

A new detector is one file with one class, and one line in the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cfbd_core.method.scores import Scores


@dataclass(frozen=True)
class Pairs:
    """What a detector sees of N pairs.

    ``image`` and ``text`` (N, d) are their embeddings, float16 or float32, of unit length but for rounding; a row
    of zeros is a pair without one. ``scores`` holds their scores, each (N,), NaN for pairs without. ``captions``
    and ``keys`` are N long. ``seed`` is for every random choice a detector makes. ``losses`` (N,), where the pairs
    have been trained on, is each one's mean loss of the first epochs, NaN where it was never in a batch.
    """

    image: np.ndarray
    text: np.ndarray
    scores: Scores
    captions: Sequence[str]
    keys: Sequence[str]
    seed: int = 0
    losses: np.ndarray | None = None

    @property
    def scored(self) -> np.ndarray:
        """Which pairs can be judged, bool (N,): those with a consistency score."""
        known: np.ndarray = np.isfinite(self.scores.consistency)
        return known


@dataclass(frozen=True)
class Detection:
    """The same columns from every detector.

    ``score`` float32 (N,): the higher, the more suspicious; NaN where a pair has none. ``flagged`` bool (N,): the
    verdict at the detector's own operating point, never of a pair without a score. ``info``: how it came by
    them; values are plain JSON or arrays.
    """

    score: np.ndarray
    flagged: np.ndarray
    info: dict[str, Any]


class Detector(ABC):
    """One published way to tell poisoned pairs from benign ones.

    ``name`` is what the registry and the command line call it, ``title`` what tables do, ``source`` the paper.
    ``trains`` says that it judges by what a model did while it was trained on the pairs: it needs ``Pairs.losses``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    trains: ClassVar[bool] = False

    @abstractmethod
    def detect(self, pairs: Pairs) -> Detection:
        """Judge all pairs; equal pairs and seed give an equal detection."""
