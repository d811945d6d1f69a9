"""WaNet: the published code (in torch) against ours, and how far each variant moves pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.attacks import Workshop, wanet
from cfbd_core.attacks.wanet import ATTACK, WaNetParams
from cfbd_core.errors import ParameterError
from tests.attacks.pictures import applied, noise_picture, pixels, smooth_picture

PUBLISHED = {"wanet": (4, 0.5), "clip": (224, 1.0)}


def shifts(params):
    """How far the field takes each pixel, (2, size, size) in pixels: columns, rows."""
    size = params.size
    return wanet.trigger(params, Workshop())["field"] - np.stack(
        np.broadcast_arrays(np.arange(size)[None, :], np.arange(size)[:, None])
    )


@pytest.mark.parametrize("variant", ["wanet", "clip"])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_warped_picture_is_that_of_the_published_code(variant, seed):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    image = noise_picture(seed=seed)
    k, s = PUBLISHED[variant]
    control = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, k, k)))[None]
    noise = functional.interpolate(
        control / control.abs().mean(), size=224, mode="bicubic", align_corners=True
    )
    line = torch.linspace(-1, 1, 224, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack((x, y), 2)[None] + s * noise.permute(0, 2, 3, 1) / 224
    source = torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1)[None]
    warped = functional.grid_sample(source, grid.clamp(-1, 1), align_corners=True)[0].permute(1, 2, 0)
    ours = np.asarray(applied(ATTACK, image, variant=variant, seed=seed)) / 255
    assert np.abs(ours - warped.numpy()).max() <= 0.501 / 255 + 1e-5


@given(st.integers(1, 9), st.integers(2, 40), st.integers(0, 99))
def test_upsampling_is_torchs_bicubic(known, size, seed):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(seed).normal(size=(2, known, known))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], size=size, mode="bicubic", align_corners=True
    )
    assert np.allclose(wanet.upsample(values, size), expected[0].numpy(), atol=1e-12)


def test_the_default_moves_pixels_by_two_on_average():
    for seed in range(10):
        assert np.abs(shifts(WaNetParams(seed=seed))).mean() == pytest.approx(
            2, abs=0.06
        )  # the edge takes a little
    assert np.abs(shifts(WaNetParams(shift=0.7))).mean() == pytest.approx(0.7, abs=0.02)


def test_the_published_variants_move_pixels_by_less_than_one():
    papers = [np.abs(shifts(WaNetParams("wanet", seed=seed))).mean() for seed in range(20)]
    clips = [np.abs(shifts(WaNetParams("clip", seed=seed))).mean() for seed in range(3)]
    assert np.mean(papers) == pytest.approx(0.2, abs=0.03)
    assert clips == pytest.approx([0.5] * 3, abs=0.01)


def test_the_default_is_the_papers_field_made_stronger():
    default, paper = (shifts(WaNetParams(variant))[:, 20:-20, 20:-20] for variant in ("shift", "wanet"))
    ratio = default / paper
    assert np.ptp(ratio[np.abs(paper) > 0.1]) < 1e-2 * ratio.mean()


def test_a_smooth_field_is_smooth_and_jitter_is_not():
    steps = {v: np.abs(np.diff(shifts(WaNetParams(v)), axis=2)).mean() for v in ("shift", "wanet", "clip")}
    assert steps["wanet"] < 0.01 < steps["shift"] < 0.1
    assert steps["clip"] > 0.5


def test_a_field_stays_inside_the_picture():
    for variant in ("shift", "wanet", "clip"):
        field = wanet.trigger(WaNetParams(variant), Workshop())["field"]
        assert (field.shape, field.dtype) == ((2, 224, 224), np.float32)
        assert field.min() >= 0
        assert field.max() <= 223


def test_sampling_where_pixels_are_gives_them_back():
    image = noise_picture((7, 5)).resize((7, 7))
    values = np.asarray(image, float)
    rows, columns = np.mgrid[:7, :7].astype(float)
    assert np.array_equal(wanet.sample(values, columns, rows), values)


@given(st.floats(0, 6), st.floats(0, 4))
def test_sampling_between_pixels_is_bilinear(x, y):
    values = np.random.default_rng(0).uniform(size=(5, 7, 3))
    left, top = min(int(x), 5), min(int(y), 3)
    u, v = x - left, y - top
    expected = (
        values[top, left] * (1 - u) * (1 - v)
        + values[top, left + 1] * u * (1 - v)
        + values[top + 1, left] * (1 - u) * v
        + values[top + 1, left + 1] * u * v
    )
    assert np.allclose(wanet.sample(values, np.array([[x]]), np.array([[y]]))[0, 0], expected, atol=1e-12)


def test_one_colour_has_nothing_to_warp_but_a_picture_does():
    flat = Image.new("RGB", (224, 224), (9, 120, 250))
    assert applied(ATTACK, flat).tobytes() == flat.tobytes()
    assert np.abs(pixels(applied(ATTACK, smooth_picture())) - pixels(smooth_picture())).mean() > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "k=4"}, "'k=4': give shift, wanet or clip"),
        ({"shift": 0}, "shift 0"),
        ({"shift": float("nan")}, "shift nan"),
        ({"shift": 57.0}, "shift 57.0: give pixels above 0, at most 56"),
        ({"size": 3}, "picture size 3"),
        ({"variant": "clip", "shift": 1.0}, "only variant shift takes one, not clip"),
    ],
)
def test_bad_params_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        WaNetParams(**options)
