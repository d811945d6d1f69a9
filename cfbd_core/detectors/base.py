"""What a detector is: one method that judges N pairs at once and says a score, a verdict and how it came by them.

A new detector is one file with one class, and one line in the registry; one of another package is an entry point
(``docs/ADD_A_DETECTOR.md``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, overload

import numpy as np

from cfbd_core.method.clusters import Clusters
from cfbd_core.method.scores import JoinedRows, LazyRows, Scores


class LazyTexts(Sequence[str]):
    """Texts of N pairs that are read when they are asked for; ``read(positions)`` gives those at positions (m,)."""

    def __init__(self, n: int, read: Callable[[np.ndarray], list[str]]) -> None:
        self._n, self._read = n, read

    @cached_property
    def _all(self) -> list[str]:
        return self._read(np.arange(self._n))

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._all[index]

    def take(self, positions: np.ndarray) -> list[str]:
        """Return those at positions (m,), without reading the others."""
        return self._read(positions)


@dataclass(frozen=True)
class Pairs:
    """What a detector sees of N pairs.

    ``image`` and ``text`` (N, d) are their embeddings, float16 or float32, of unit length but for rounding; a row
    of zeros is a pair without one. Of a large audit they may be :class:`JoinedRows`: an index gives an array, and
    ``numpy.asarray`` all of them. ``scores`` holds their scores, each (N,), NaN for pairs without. ``captions``
    and ``keys`` are N long. ``seed`` is for every random choice a detector makes. ``losses`` (N,), where the pairs
    have been trained on, is each one's mean loss of the first epochs, NaN where it was never in a batch.

    Where they are known: ``image_ids`` int64 (N,) are equal for pairs that share a picture, ``expected`` (N, d) is T̂,
    the unit-length embedding that F expects the caption of each picture to have, made by the F that made the scores
    and only where it is asked for, and ``sketches`` (N, s) is a small picture of each. ``clusters`` say which pairs
    count once.
    """

    image: np.ndarray | JoinedRows
    text: np.ndarray | JoinedRows
    scores: Scores
    captions: Sequence[str]
    keys: Sequence[str]
    seed: int = 0
    losses: np.ndarray | None = None
    image_ids: np.ndarray | None = None
    expected: np.ndarray | LazyRows | None = None
    sketches: np.ndarray | LazyRows | None = None
    clusters: Clusters | None = None

    def keys_at(self, positions: np.ndarray) -> list[str]:
        """Return keys of the pairs at ``positions`` (m,)."""
        return _take(self.keys, positions)

    def captions_at(self, positions: np.ndarray) -> list[str]:
        """Captions of the pairs at ``positions`` (m,)."""
        return _take(self.captions, positions)

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
    them; values are plain JSON or arrays. ``targets``: what the poisoned captions name, where the detector says it.
    """

    score: np.ndarray
    flagged: np.ndarray
    info: dict[str, Any]
    targets: tuple[str, ...] = ()


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


def fault_of(detection: Any, pairs: Pairs) -> str | None:
    """Return what is wrong with what a detector gave for ``pairs``, in words; None where nothing is."""
    if not isinstance(detection, Detection):
        return f"gave {type(detection).__name__}, no Detection"
    n = len(pairs.keys)
    for name, column, kinds in (("score", detection.score, "f"), ("flagged", detection.flagged, "b")):
        if not isinstance(column, np.ndarray) or column.shape != (n,) or column.dtype.kind not in kinds:
            shape = getattr(column, "shape", type(column).__name__)
            kind = getattr(column, "dtype", "")
            return (
                f"{name} is {shape} {kind}".rstrip()
                + f", not ({n},) of {'floats' if kinds == 'f' else 'bools'}"
            )
    if np.isposinf(detection.score).any() or np.isneginf(detection.score).any():
        return "score holds infinite values"
    if (detection.flagged & ~pairs.scored).any():
        return "flags pairs that have no score to judge them by"
    if not isinstance(detection.info, dict):
        return f"info is {type(detection.info).__name__}, no dict"
    return None


def _take(texts: Sequence[str], positions: np.ndarray) -> list[str]:
    if isinstance(texts, LazyTexts):
        return texts.take(positions)
    return [texts[position] for position in positions.tolist()]
