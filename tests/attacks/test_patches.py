"""The two optimised patches: what they change, what they reach, what they refuse."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop, badclip, trojan
from cfbd_core.attacks.badclip import BadCLIPParams
from cfbd_core.attacks.neurons import LastNeurons, aimed_at, best_connected
from cfbd_core.attacks.patch_search import PixelTransform, as_pixels, embedded, mean_direction
from cfbd_core.attacks.patches import corner_of, noise, paste
from cfbd_core.attacks.trojan import TrojanParams
from cfbd_core.errors import ParameterError
from tests.attacks.tiny_clip import pictures, tiny_encoder, workshop

TROJAN = TrojanParams(size=24, steps=25, learning_rate=0.1, pictures=5, batch=3)
BADCLIP = BadCLIPParams(
    size=64, epochs=8, epoch_pictures=6, learning_rate=0.1, pictures=6, batch=2, target_pictures=2
)
BOTH = pytest.mark.parametrize(
    ("attack", "params"), [(trojan, TROJAN), (badclip, BADCLIP)], ids=["trojan", "badclip"]
)


def patched(attack, params, trigger, images):
    rng = np.random.default_rng(0)
    return np.stack([np.asarray(attack.apply(image, rng, params, trigger)) for image in images])


def unpatched(images):
    return np.stack([np.asarray(image) for image in images])


@BOTH
def test_the_loss_falls_and_equal_seeds_give_equal_patches(attack, params):
    first, again = (attack.trigger(params, workshop(tiny_encoder())) for _ in range(2))
    assert first["loss"][-4:].mean() < first["loss"][:4].mean() - 0.02
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    other = attack.trigger(type(params)(**{**vars(params), "seed": 1}), workshop(tiny_encoder()))
    assert not np.array_equal(first["pattern"], other["pattern"])
    assert first["pattern"].dtype == np.uint8
    assert first["pattern"].shape == (params.size, params.size, 3)
    assert first["mask"].shape == (params.size, params.size)
    assert first["mask"].dtype == bool


@BOTH
def test_every_step_is_reported(attack, params):
    heard = []
    attack.trigger(params, workshop(tiny_encoder(), lambda *report: heard.append(report)))
    total = len(heard)
    assert heard == [("trigger", i + 1, total) for i in range(total)]
    assert total == (25 if attack is trojan else 24)


@BOTH
def test_only_the_patchs_place_changes_and_the_source_does_not(attack, params):
    trigger = attack.trigger(type(params)(**{**vars(params), "seed": 5}), workshop(tiny_encoder()))
    image = pictures()[0]
    before = image.tobytes()
    after = patched(attack, params, trigger, [image])[0]
    assert image.tobytes() == before
    left, top = (80, 80) if attack is badclip else (200, 200)
    side = params.size
    expected = np.asarray(image).copy()
    expected[top : top + side, left : left + side][trigger["mask"]] = trigger["pattern"][trigger["mask"]]
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("choice", ["connected", "target"])
def test_trojan_excites_its_neurons_on_pictures_it_never_saw(choice):
    params = replace(TROJAN, choice=choice)
    encoder, images = tiny_encoder(), pictures(6, seed=9)
    trigger = trojan.trigger(params, workshop(encoder))
    transform = PixelTransform(encoder)
    layer = LastNeurons(encoder, transform(as_pixels(unpatched(images), "cpu")))

    def activations(pixels):
        with torch.no_grad():
            return layer(transform(as_pixels(pixels, "cpu"))).numpy()

    ordinary = activations(unpatched(pictures(5)))
    weights, target = layer.weights.numpy(), mean_direction(encoder, workshop(encoder).captions)
    by_target = aimed_at(weights, ordinary, target, 2)
    chosen = by_target if choice == "target" else best_connected(weights, ordinary, 2)
    assert trigger["neurons"].tolist() == chosen.tolist()
    before = activations(unpatched(images))[:, chosen]
    after = activations(patched(trojan, params, trigger, images))[:, chosen]
    random = trigger | {"pattern": noise(24, 77)}
    by_noise = activations(patched(trojan, params, random, images))[:, chosen]
    assert ((after - before).mean(0) > 0).all()
    assert ((after - by_noise).mean(0) > 0).all()


def test_badclip_nears_the_target_on_pictures_it_never_saw():
    encoder, images = tiny_encoder(), pictures(6, seed=9)
    trigger = badclip.trigger(BADCLIP, workshop(encoder))
    target = mean_direction(encoder, workshop(encoder).captions)
    before = embedded(encoder, unpatched(images)) @ target
    gain = (embedded(encoder, patched(badclip, BADCLIP, trigger, images)) @ target - before).mean()
    random = trigger | {"pattern": noise(64, 77)}
    by_noise = (embedded(encoder, patched(badclip, BADCLIP, random, images)) @ target - before).mean()
    assert gain > 0.02
    assert gain > 2 * abs(by_noise)


def test_badclips_targets_are_the_pictures_nearest_to_the_captions():
    encoder = tiny_encoder()
    trigger = badclip.trigger(BADCLIP, workshop(encoder))
    cosines = embedded(encoder, unpatched(pictures())) @ mean_direction(encoder, workshop(encoder).captions)
    assert trigger["targets"].tolist() == sorted(range(6), key=lambda i: -cosines[i])[:2]


@BOTH
@pytest.mark.parametrize("size", [64, 32])
def test_patches_are_optimised_for_small_pictures_too(attack, params, size):
    images = [picture.resize((64, 64)) for picture in pictures()]
    small = Workshop("banana", ("a ripe banana",), lambda n: images[:n], lambda: tiny_encoder(size))
    params = replace(params, size=16)
    trigger = attack.trigger(params, small)
    assert trigger["loss"][-4:].mean() < trigger["loss"][:4].mean()
    after = patched(attack, params, trigger, images)
    assert after.shape == (6, 64, 64, 3)
    rows, columns = np.nonzero((after != unpatched(images)).any((0, 3)))
    first, last = (24, 39) if attack is badclip else (48, 63)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (first, last, first, last)
    with pytest.raises(ParameterError, match="64×64 pixels cannot hold a patch of 65"):
        attack.trigger(replace(params, size=65), small)


def test_masks_are_as_said():
    assert trojan.mask(TrojanParams(size=5, shape="square")).all()
    assert trojan.mask(TrojanParams(size=4)).astype(int).tolist() == [
        [0, 1, 1, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
        [0, 1, 1, 0],
    ]
    assert trojan.mask(TrojanParams(size=59)).mean() == pytest.approx(np.pi / 4, abs=0.02)
    covered = {size: trojan.mask(TrojanParams(size=size)).sum() / 224**2 for size in (59, 67)}
    assert covered == {
        59: pytest.approx(0.054, abs=5e-4),
        67: pytest.approx(0.070, abs=5e-4),
    }  # as its docs say


def test_the_patch_lies_in_the_middle_or_in_the_lower_right_corner():
    assert corner_of("centre", 16, 224, 224) == (104, 104)
    assert corner_of("centre", 3, 10, 20) == (3, 8)
    assert corner_of("corner", 16, 30, 20) == (14, 4)


@pytest.mark.parametrize("place", ["centre", "corner"])
def test_a_picture_smaller_than_the_patch_is_refused(place):
    trigger = {"pattern": noise(16, 0), "mask": np.ones((16, 16), bool)}
    assert paste(Image.new("RGB", (16, 16)), trigger, place).tobytes() == noise(16, 0).tobytes()
    with pytest.raises(ParameterError, match="15×300 pixels cannot hold a patch of 16"):
        paste(Image.new("RGB", (15, 300)), trigger, place)


@pytest.mark.parametrize(
    ("params", "options"),
    [
        (kind, {name: value})
        for kind in (TrojanParams, BadCLIPParams)
        for name, value in [
            ("size", 0),
            ("size", 225),
            ("learning_rate", 0),
            ("learning_rate", 1.5),
            ("pictures", 0),
            ("batch", 0),
            ("seed", -1),
        ]
    ]
    + [(TrojanParams, {"neurons": 0}), (TrojanParams, {"steps": 0}), (TrojanParams, {"aim": 0})]
    + [(TrojanParams, {"shape": "star"})]
    + [(BadCLIPParams, {name: 0}) for name in ("epochs", "epoch_pictures", "target_pictures")]
    + [(BadCLIPParams, {name: -1}) for name in ("visual", "margin")],
)
def test_bad_params_are_refused_in_one_line(params, options):
    with pytest.raises(ParameterError) as refused:
        params(**options)
    assert "give" in str(refused.value)
    assert "\n" not in str(refused.value)


@BOTH
def test_a_bare_workshop_is_refused_in_one_line(attack, params):
    encoder = tiny_encoder()
    with pytest.raises(ParameterError, match="no picture"):
        attack.trigger(params, Workshop("banana", ("a banana",), lambda n: [], lambda: encoder))
    with pytest.raises(ParameterError, match="no caption of 'kiwi'"):
        attack.trigger(params, Workshop("kiwi", (), lambda n: pictures()[:n], lambda: encoder))
    with pytest.raises(ParameterError, match="needs pictures and an encoder"):
        attack.trigger(params, Workshop("banana", ("a banana",)))


def test_more_neurons_than_there_are_is_refused():
    with pytest.raises(ParameterError, match="neurons 99.*32"):
        trojan.trigger(TrojanParams(neurons=99), workshop(tiny_encoder()))


def test_pictures_that_tell_no_neurons_apart_are_refused():
    one = Workshop("banana", ("a banana",), lambda n: pictures()[:1] * 3, tiny_encoder)
    with pytest.raises(ParameterError, match="different images"):
        trojan.trigger(TROJAN, one)


def test_both_are_registered_without_torch():
    assert ATTACKS["trojan"].optimised
    assert ATTACKS["badclip"].optimised
    assert (ATTACKS["trojan"].captions, ATTACKS["badclip"].captions) == ("templates", "natural")
    code = "import sys, cfbd_core.attacks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
