"""SIG: the published sinusoid, column by column."""

import math

import numpy as np
import pytest
from PIL import Image

from cfbd_core.attacks import Workshop, sig
from cfbd_core.attacks.sig import ATTACK, SIGParams
from cfbd_core.errors import ParameterError
from tests.attacks.pictures import applied, noise_picture, pixels


@pytest.mark.parametrize("strength", ["full", "blended"])
def test_each_pixel_follows_the_published_formula(strength):
    image = noise_picture()
    got = pixels(applied(ATTACK, image, strength=strength))
    for column in range(224):
        wave = (60 / 255) * math.sin(2 * math.pi * 6 * column / 224)
        for row, channel in [(0, 0), (100, 1), (223, 2)]:
            x = image.getpixel((column, row))[channel] / 255
            y = x + wave if strength == "full" else 0.8 * x + 0.2 * wave
            assert abs(got[row, column, channel] - 255 * min(max(y, 0), 1)) <= 0.501


def test_six_periods_of_sixty_levels_about_a_grey():
    stripes = pixels(applied(ATTACK, Image.new("RGB", (224, 224), (128, 128, 128)))) - 128
    assert (stripes == stripes[:1, :, :1]).all()
    assert (stripes.min(), stripes.max()) == (-60, 60)
    assert np.argmax(np.abs(np.fft.rfft(stripes[0, :, 0]))) == 6


def test_amplitude_and_frequency():
    grey = Image.new("RGB", (224, 224), (128, 128, 128))
    stripes = pixels(applied(ATTACK, grey, amplitude=10 / 255, frequency=20.0))[0, :, 0] - 128
    assert stripes.max() == 10
    assert np.argmax(np.abs(np.fft.rfft(stripes))) == 20


def test_the_wave_starts_at_zero_unless_another_seed_moves_it():
    first, second = (sig.trigger(SIGParams(seed=seed), Workshop())["wave"] for seed in (0, 1))
    assert (first.shape, first.dtype, first[0]) == ((224,), np.float32, 0)
    assert abs(second[0]) > 0.01
    assert np.allclose(np.abs(np.fft.rfft(first)), np.abs(np.fft.rfft(second)), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": 0}, "amplitude"),
        ({"amplitude": 60}, "amplitude 60"),
        ({"frequency": 0}, "frequency"),
        ({"frequency": 113}, "frequency 113"),
        ({"frequency": float("nan")}, "frequency"),
        ({"strength": "half"}, "'half': give full or blended"),
    ],
)
def test_bad_params_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        SIGParams(**options)
