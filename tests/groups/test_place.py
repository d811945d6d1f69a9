from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.groups.place import agreement, best_rectangle, variance


def literal(gain: np.ndarray) -> float:
    height, width = gain.shape
    return max(
        gain[top:bottom, left:right].sum()
        for top in range(height)
        for bottom in range(top + 1, height + 1)
        for left in range(width)
        for right in range(left + 1, width + 1)
    )


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
def test_the_best_of_all_rectangles(seed: int, height: int, width: int) -> None:
    gain = np.random.default_rng(seed).normal(-0.2, 1, (height, width))
    (left, top, wide, high), total = best_rectangle(gain)
    assert total == pytest.approx(literal(gain))
    assert gain[top : top + high, left : left + wide].sum() == pytest.approx(total)


def test_variance_is_that_of_the_pixels() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
    expected = (pictures / 255).var(0, ddof=1).mean(2)
    np.testing.assert_allclose(variance(pictures), expected, rtol=1e-10)


def test_pictures_agree_where_they_are_the_same() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (30, 40, 40, 3), dtype=np.uint8)
    pictures[:, 10:20, 22:30] = pictures[0, 10:20, 22:30]
    found = agreement(pictures, variance(rng.integers(0, 256, (30, 40, 40, 3), dtype=np.uint8)))
    assert found[12:18, 24:28].min() > 4
    assert abs(np.median(found)) < 1e-9
