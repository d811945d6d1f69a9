from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cfbd_core.groups.pattern import common_pattern, correlation, strongest_wave
from cfbd_core.groups.repeated import WINDOW_PIXELS, _match
from cfbd_core.groups.residual import mean_residual
from cfbd_core.groups.stack import Stack, read_stack
from cfbd_core.groups.trigger_estimate import TriggerEstimate, estimate_trigger
from cfbd_core.groups.whiten import Whitener
from cfbd_core.pictures.images import BadImage
from tests.groups.pictures import SIDE, noise, patched, photos

N = 40
CONTROL = photos(80, seed=1)


def stack(pictures: np.ndarray) -> Stack:
    return Stack(pictures, np.arange(len(pictures)))


def estimate(pictures: np.ndarray) -> TriggerEstimate:
    return estimate_trigger(stack(pictures), stack(CONTROL))


def test_photos_share_nothing_and_it_says_so() -> None:
    for seed in (2, 3, 4):
        found = estimate(photos(N, seed))
        assert not found.seen
        assert (
            found.reason == f"{N} pictures share no patch and no pattern beyond what 80 control pictures do"
        )
        assert found.zoom is None
        assert not found.boxes.any()
        assert found.residual.shape == found.mean.shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_a_patch_at_any_place_is_found_in_each_picture(share: float) -> None:
    corners = np.random.default_rng(0).integers(0, SIDE - 16 + 1, (N, 2))
    pictures, held = photos(N, 2), int(share * N)
    pictures[:held] = patched(pictures[:held], noise(16), corners[:held])
    found = estimate(pictures)
    assert found.kind == "patch at any place"
    assert found.patch.shows[:held].mean() > 0.95
    assert not found.patch.shows[held:].any()
    seen = np.flatnonzero(found.patch.shows)
    assert np.abs(found.boxes[seen, :2] - corners[seen]).max() <= 1
    assert np.abs(found.boxes[seen, 2:] - 16).max() <= 2
    assert found.strength == pytest.approx(share, abs=0.05)
    assert found.chance == 0
    assert (found.boxes[held:] == 0).all()


def test_a_patch_at_one_place_is_found_there() -> None:
    pictures = patched(photos(N, 2), noise(12), np.full((N, 2), (40, 20)))
    found = estimate(pictures)
    assert found.kind == "patch at one place"
    left, top, width, height = found.boxes[0]
    assert abs(left - 40) <= 1
    assert abs(top - 20) <= 1
    assert abs(width - 12) <= 2
    assert abs(height - 12) <= 2
    inside = found.patch.content[20 - top : 32 - top, 40 - left : 52 - left].astype(float)
    truth = noise(12)[: inside.shape[0], : inside.shape[1]].astype(float)
    assert correlation(inside - inside.mean(), truth - truth.mean()) > 0.95


def test_a_smooth_patch_at_one_place_is_found_too() -> None:
    ramp = np.tile(np.linspace(40, 220, 14, dtype=np.uint8)[None, :, None], (14, 1, 3))
    assert estimate(patched(photos(N, 2), ramp, np.full((N, 2), (5, 45)))).kind == "patch at one place"


def test_a_white_border_is_no_patch() -> None:
    pictures = photos(N, 2)
    pictures[:, :6] = 255
    found = estimate(pictures)
    assert not found.patch.seen
    assert not found.boxes.any()


def test_faint_noise_over_the_whole_picture() -> None:
    pictures = np.rint(0.8 * photos(N, 2) + 0.2 * noise(SIDE)).astype(np.uint8)
    found = estimate(pictures)
    assert found.kind == "pattern"
    true = noise(SIDE) / 255 - 0.5
    assert correlation(found.pattern.pattern, true) > 0.8
    assert found.strength > 0.85
    assert found.chance < 0.1


def test_stripes_are_told_by_their_waves() -> None:
    wave = 30 * np.sin(2 * np.pi * 6 * np.arange(SIDE) / SIDE)
    pictures = np.clip(photos(N, 2) + wave[None, None, :, None], 0, 255).astype(np.uint8)
    found = estimate(pictures)
    assert found.kind == "stripes"
    assert found.pattern.wave[:2] == pytest.approx((6, 0), abs=0.2)
    assert found.reason.startswith(
        "stripes, 6.0 waves across and 0.0 down: two halves of the 40 pictures agree"
    )


def test_the_same_pictures_give_the_same_estimate() -> None:
    pictures = patched(photos(N, 2), noise(16), np.random.default_rng(0).integers(0, 48, (N, 2)))
    first, second = estimate(pictures), estimate(pictures)
    assert first.reason == second.reason
    assert (first.boxes == second.boxes).all()


@pytest.mark.parametrize(("n", "m"), [(0, 80), (1, 80), (7, 80), (N, 0), (N, 3)])
def test_too_few_pictures_are_told(n: int, m: int) -> None:
    found = estimate_trigger(stack(photos(N, 2)[:n]), stack(CONTROL[:m]))
    assert not found.seen
    assert "at least 8 are needed" in found.reason


def test_pictures_of_one_colour_are_no_trouble() -> None:
    plain = np.full((N, SIDE, SIDE, 3), 200, np.uint8)
    assert not estimate_trigger(stack(plain), stack(plain)).seen
    assert not estimate(plain).seen


# --- parts ------------------------------------------------------------------------------------------


def test_the_pattern_of_two_equal_sets_is_nothing() -> None:
    assert not common_pattern(CONTROL, CONTROL).pattern.any()


def test_the_residual_is_its_literal_version() -> None:
    from scipy.ndimage import gaussian_filter

    a, b = photos(9, 2) / np.float32(255), CONTROL[:12] / np.float32(255)
    details = [np.stack([p - gaussian_filter(p, (3, 3, 0)) for p in pictures]) for pictures in (a, b)]
    error = sum((d.var(0, ddof=1) + (0.5 / 255) ** 2) / len(d) for d in details)
    expected = (details[0].mean(0) - details[1].mean(0)) / np.sqrt(error)
    np.testing.assert_allclose(mean_residual(photos(9, 2), CONTROL[:12]), expected, atol=1e-3)


def test_a_match_is_that_of_every_window_tried() -> None:
    white = Whitener(CONTROL)(photos(1, 9)[0])
    template = white[:, 30 : 30 + WINDOW_PIXELS, 11 : 11 + WINDOW_PIXELS] + 0.3
    scores = {}
    for top in range(SIDE - WINDOW_PIXELS + 1):
        for left in range(SIDE - WINDOW_PIXELS + 1):
            window = white[:, top : top + WINDOW_PIXELS, left : left + WINDOW_PIXELS].astype(float)
            energy = max((window**2).sum(), 0.5 * window.size)
            scores[left, top] = (window * template).sum() / np.sqrt(energy) / np.linalg.norm(template)
    best = max(scores, key=scores.get)
    score, left, top = _match(white, template)
    assert (left, top) == best
    assert score == pytest.approx(scores[best], rel=1e-4)


def test_white_pictures_have_no_usual_frequency() -> None:
    whiten = Whitener(CONTROL)
    white = np.stack([whiten(picture) for picture in photos(30, 7)])
    assert 0.6 < white.std() < 1.4
    neighbours = np.mean(white[..., 1:] * white[..., :-1]) / white.var()
    assert abs(neighbours) < 0.15


def test_a_wave_between_two_frequencies_is_placed_there() -> None:
    column = np.arange(224)
    picture = np.sin(2 * np.pi * 6.4 * column / 224)[None, :, None] * np.ones((224, 1, 3))
    across, down, share = strongest_wave(np.fft.rfft2(picture, axes=(0, 1)), 224)
    assert across == pytest.approx(6.4, abs=0.2)
    assert down == pytest.approx(0, abs=1e-6)
    assert share > 0.8


# --- reading ------------------------------------------------------------------------------------------


def test_missing_pictures_and_repeated_scenes_are_counted() -> None:
    pictures = photos(6, 2)

    def read(place: int) -> Image.Image:
        if place < 0:
            raise BadImage("missing file")
        return Image.fromarray(pictures[place]).resize((90, 70))

    found = read_stack([0, -1, 1, 0, 2, -1, 3, 4, 5], read, most=5, side=32)
    assert found.pictures.shape == (5, 32, 32, 3)
    assert found.index.tolist() == [0, 2, 4, 6, 7]
    assert (found.missing, found.repeats) == (2, 1)


def test_reading_nothing_and_stopping() -> None:
    assert len(read_stack([], lambda _: Image.new("RGB", (5, 5)), 10)) == 0
    stopped = read_stack(range(100), lambda i: Image.fromarray(photos(1, i)[0]), 90, 32, stop=lambda: True)
    assert len(stopped) == 0
