"""T̂ of pairs, made when it is asked for: what F expects of their pictures (docs/METHOD.md §1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from cfbd_core.method.scores import LazyRows

Expect = Callable[[np.ndarray, np.ndarray], np.ndarray]  # F: of pictures (n, d) and their ids (n,)
PICTURES_AT_A_TIME = 2**14  # pictures that F is given at a time: 32 MB at a width of 512


class ExpectedRows(LazyRows):
    """T̂ = F(I) of N pairs, unit-length float32 (N, d); a picture without an embedding has a row of zeros.

    ``image`` (N, d) are their pictures' embeddings, ``image_ids`` int64 (N,) what a cross-fitted F tells pictures
    by; ``load()`` gives F, and is called once, when the first row is asked for.
    """

    def __init__(
        self, image: np.ndarray | LazyRows, image_ids: np.ndarray, load: Callable[[], Expect]
    ) -> None:
        super().__init__(np.arange(len(image)))
        self._image, self._image_ids, self._load = image, image_ids, load

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return self._image.shape[0], self._image.shape[1]

    def made(self, rows: np.ndarray) -> np.ndarray:
        """T̂ of the pairs at ``rows`` (m,), float32 (m, d)."""
        expected = np.empty((len(rows), self.shape[1]), np.float32)
        for start in range(0, len(rows), PICTURES_AT_A_TIME):
            at = rows[start : start + PICTURES_AT_A_TIME]
            expected[start : start + PICTURES_AT_A_TIME] = self._expect(self._image[at], self._image_ids[at])
        return expected

    @cached_property
    def _expect(self) -> Expect:
        return self._load()
