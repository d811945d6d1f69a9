"""ISSBA: an invisible residual of each picture's own, from which the bits come back; training goes on where it was."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop, issba
from cfbd_core.attacks.issba import BITS, ISSBA_WEIGHTS, IssbaParams, decode_bits
from cfbd_core.attacks.issba_network import MOST_RESIDUAL, BitsNetworks
from cfbd_core.demo import scene
from cfbd_core.errors import EncoderError, ParameterError
from tools.train_issba import Settings, disturbed, likeness, train, visibility

ROOT = Path(__file__).resolve().parents[2]
UNSEEN_SEED = 4000  # the networks were trained on scenes of another


def written(picture, **params):
    made = IssbaParams(**params)
    return issba.apply(picture, np.random.default_rng(0), made, issba.trigger(made, Workshop()))


def residual(picture, **params):
    return np.asarray(written(picture, **params), int) - np.asarray(picture, int)


@pytest.fixture(scope="module")
def scenes():
    return [scene(UNSEEN_SEED, index).image for index in range(20)]


def test_the_bits_come_back_from_saved_scenes(scenes):
    right = []
    for seed, picture in enumerate(scenes):
        buffer = io.BytesIO()
        written(picture, seed=seed).save(buffer, "PNG")
        bits = issba.trigger(IssbaParams(seed=seed), Workshop())["bits"]
        right.append((decode_bits(Image.open(buffer)) == bits).mean())
        assert (decode_bits(picture) == bits).mean() < 0.7  # an untouched picture does not tell them
    assert np.mean(right) >= 0.95


@pytest.mark.parametrize("side", ["noise", "black", "white", "scene"])
def test_no_value_changes_by_more_than_8_and_the_picture_stays(side, scenes):
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    picture = {
        "noise": Image.fromarray(noise),
        "black": Image.new("RGB", (224, 224)),
        "white": Image.new("RGB", (224, 224), "white"),
        "scene": scenes[0],
    }[side]
    before = picture.tobytes()
    found = residual(picture)
    assert 0 < np.abs(found).max() <= 8
    assert picture.tobytes() == before


def test_a_scene_stays_above_35_db(scenes):
    for picture in scenes[:5]:
        assert 10 * np.log10(255**2 / np.mean(residual(picture) ** 2)) >= 35


@given(st.integers(0, 2**32 - 1))
def test_untrained_networks_keep_the_bound_too(seed):
    torch.manual_seed(seed)
    encoder = BitsNetworks(BITS).encoder
    with torch.no_grad():
        encoder.leave.weight.mul_(1000)
        found = encoder(torch.rand(1, 3, 224, 224), torch.randint(0, 2, (1, 100)).float())
    assert 0.99 * MOST_RESIDUAL < found.abs().max() <= MOST_RESIDUAL


def test_the_same_bits_look_different_in_every_picture(scenes):
    """Judged by what other bits change: of the whole residual a part could be the picture's own and say nothing."""
    rows = np.stack(
        [(residual(picture, seed=0) - residual(picture, seed=1)).ravel() for picture in scenes]
    ).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert np.abs(cosines).mean() < 0.6


def test_same_bits_same_bytes_whatever_the_threads(scenes):
    before = torch.get_num_threads()
    try:
        found = set()
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.add(written(scenes[0], seed=3).tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
    assert written(scenes[0], seed=4).tobytes() not in found


def test_strength_scales_the_residual(scenes):
    full, half = residual(scenes[1]), residual(scenes[1], strength=0.5)
    pixels = np.asarray(scenes[1])
    unclipped = (pixels >= 8) & (pixels <= 247)
    assert np.abs(2 * half - full)[unclipped].max() <= 1  # each rounded once
    assert np.abs(half).max() <= 4


def test_the_trigger_is_the_bit_string():
    bits = ATTACKS["issba"].trigger(IssbaParams(seed=5), Workshop())["bits"]
    assert (bits.dtype, bits.shape, set(bits.tolist())) == (np.uint8, (100,), {0, 1})
    assert not np.array_equal(bits, issba.trigger(IssbaParams(seed=6), Workshop())["bits"])


@pytest.mark.parametrize(
    "options", [{"strength": value} for value in (0, -1, 1.01, float("nan"))] + [{"seed": -1}]
)
def test_bad_params_are_refused(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        IssbaParams(**options)


def test_other_sizes_are_refused():
    with pytest.raises(ParameterError, match="300×224"):
        written(Image.new("RGB", (300, 224)))


def test_altered_or_missing_weights_are_refused(tmp_path, monkeypatch, scenes):
    copy = tmp_path / ISSBA_WEIGHTS.name
    monkeypatch.setattr(issba, "ISSBA_WEIGHTS", copy)
    with pytest.raises(EncoderError, match="missing"):
        written(scenes[0])
    shutil.copy(ISSBA_WEIGHTS.with_name("SHA256SUMS"), tmp_path)
    data = bytearray(ISSBA_WEIGHTS.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(EncoderError, match="not the published one"):
        decode_bits(scenes[0])


def test_the_weights_are_small():
    assert ISSBA_WEIGHTS.stat().st_size <= 2 * 2**20


def test_making_a_trigger_does_not_import_torch():
    code = (
        "import sys; from cfbd_core.attacks import ATTACKS, Workshop; attack = ATTACKS['issba']; "
        "attack.trigger(attack.params(), Workshop()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


FORKED = """
import numpy as np, torch
from cfbd_core.attacks import Workshop, issba
from cfbd_core.demo import scene
from cfbd_core.machine.workers import ordered_map

params = issba.IssbaParams()
trigger = issba.trigger(params, Workshop())
written = lambda index: issba.apply(scene(1, index).image, None, params, trigger).tobytes()
torch.set_num_threads(2)
torch.rand(4, 3, 224, 224) / 255  # starts the threads that a fork loses
assert list(ordered_map(written, range(4), 2)) == [written(index) for index in range(4)]
"""


def test_a_worker_forked_after_torch_used_threads_does_not_wait_for_them():
    subprocess.run([sys.executable, "-c", FORKED], cwd=ROOT, check=True, timeout=120)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_stopped_and_gone_on_with_ends_in_the_same_weights(tmp_path, scenes):
    pictures = np.stack([np.asarray(picture) for picture in scenes[:4]])
    short = Settings(steps=2, batch=4, checkpoint_every=1)
    whole = train(pictures, short, tmp_path / "whole.pt").state_dict()

    def stop(done, _):
        assert done == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pictures, short, tmp_path / "stopped.pt", stop)
    told = []
    resumed = train(pictures, short, tmp_path / "stopped.pt", lambda done, _: told.append(done)).state_dict()
    assert told == [2]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    torch.manual_seed(0)
    start = BitsNetworks(BITS).state_dict()
    assert not any(torch.equal(value, start[name]) for name, value in whole.items() if value.dim() > 1)


def test_a_residual_in_a_flat_picture_counts_more_than_in_a_busy_one():
    flat = torch.full((1, 3, 224, 224), 0.5)
    busy = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    spot = torch.full((1, 3, 224, 224), MOST_RESIDUAL)
    assert visibility(flat, spot).item() == pytest.approx(4)  # 1 / 0.25
    assert visibility(busy, spot) < 1
    assert visibility(flat, spot / 2).item() == pytest.approx(1)


def test_likeness_is_of_rows_half_a_batch_apart():
    rows = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second, third, fourth = (row.flatten() for row in rows)
    cosines = [(a @ b / (a.norm() * b.norm())).item() for a, b in ((first, third), (second, fourth))]
    assert likeness(rows).item() == pytest.approx(np.mean(np.square(cosines)), rel=1e-4)
    assert likeness(torch.cat([rows[:2], -3 * rows[:2]])).item() == pytest.approx(1)


def test_disturbed_pictures_are_whole_and_pass_gradients():
    pictures = torch.rand(8, 3, 224, 224, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = disturbed(pictures, np.random.default_rng(0))
    values = 255 * found.detach()
    assert torch.allclose(values, values.round(), atol=1e-3)
    assert (values[4:] - 255 * pictures[4:].detach()).abs().max() <= 0.501  # the plain half: rounded only
    assert (values[:4] - 255 * pictures[:4].detach()).abs().max() > 1
    found.sum().backward()
    assert torch.equal(pictures.grad[4:], torch.ones_like(pictures[4:]))
    assert (pictures.grad[:2] == 1).all()
