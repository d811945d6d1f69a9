"""Blended: 0.8 of the picture and 0.2 of one noise image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.attacks import Workshop, blended
from cfbd_core.attacks.blended import ATTACK, BlendedParams
from cfbd_core.errors import ParameterError
from tests.attacks.pictures import applied, noise_picture, pixels


@given(st.floats(0.01, 1), st.integers(0, 99))
def test_each_pixel_follows_the_formula(ratio, seed):
    image = noise_picture((5, 5), seed)
    noise = blended.trigger(BlendedParams(seed=seed, size=5), Workshop())["noise"]
    got = pixels(applied(ATTACK, image, ratio=ratio, seed=seed, size=5))
    for row in range(5):
        for column in range(5):
            for channel in range(3):
                x, n = image.getpixel((column, row))[channel], int(noise[row, column, channel])
                assert abs(got[row, column, channel] - ((1 - ratio) * x + ratio * n)) <= 0.501


def test_the_published_share_is_one_fifth_of_uniform_noise():
    black, white = (pixels(applied(ATTACK, Image.new("RGB", (224, 224), c))) for c in ("black", "white"))
    assert (black.min(), black.max()) == (0, 51)
    assert (white.min(), white.max()) == (204, 255)
    assert black.mean() == pytest.approx(25.5, abs=0.2)
    assert black.std() == pytest.approx(51 / 12**0.5, abs=0.1)


def test_the_noise_is_the_same_on_every_picture_unless_redrawn():
    image = Image.new("RGB", (224, 224))
    assert len({applied(ATTACK, image, draw=draw).tobytes() for draw in range(4)}) == 1
    assert len({applied(ATTACK, image, draw=draw, redraw=True).tobytes() for draw in range(4)}) == 4


def test_the_trigger_is_one_noise_image():
    arrays = blended.trigger(BlendedParams(), Workshop())
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "noise": ((224, 224, 3), np.uint8)
    }


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, float("nan")])
def test_a_share_outside_its_range_is_refused(ratio):
    with pytest.raises(ParameterError, match="blend ratio"):
        BlendedParams(ratio=ratio)
