"""What holds for every attack that needs no encoder: pure, seeded, and its trigger is all there is to it."""

import io

import numpy as np
import pytest
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop, resized
from cfbd_core.errors import ParameterError
from tests.attacks.pictures import applied, noise_picture, smooth_picture

NAMES = ("badnets", "blended", "sig", "wanet", "label-consistent", "mmpoison")
CHANGING = tuple(name for name in NAMES if name != "mmpoison")
WHOLE = ("blended", "sig", "wanet")


@pytest.mark.parametrize("name", NAMES)
def test_equal_arguments_give_equal_pixels_and_the_source_stays(name):
    image = noise_picture()
    before = image.tobytes()
    first, second = (applied(ATTACKS[name], image, draw=5) for _ in range(2))
    assert first is not image
    assert (first.size, first.mode) == ((224, 224), "RGB")
    assert first.tobytes() == second.tobytes()
    assert image.tobytes() == before
    first.paste((0, 0, 0), (0, 0, 224, 224))
    assert image.tobytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_trigger_is_all_that_is_needed_to_apply_it_again(name):
    attack, image = ATTACKS[name], smooth_picture(seed=3)
    params = attack.params(seed=7)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **attack.trigger(params, Workshop()))
    file.seek(0)
    with np.load(file) as arrays:
        kept = dict(arrays)
    again = attack.apply(image, np.random.default_rng(1), params, kept)
    assert again.tobytes() == applied(attack, image, draw=1, seed=7).tobytes()


@pytest.mark.parametrize("name", CHANGING)
def test_another_seed_is_another_trigger(name):
    image = smooth_picture()
    seen = {applied(ATTACKS[name], image, seed=seed).tobytes() for seed in range(4)}
    assert len(seen) == 4
    assert image.tobytes() not in seen


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_other_modes_are_taken_as_rgb(name):
    image = smooth_picture().convert("RGBA")
    image.putalpha(40)
    assert applied(ATTACKS[name], image).tobytes() == applied(ATTACKS[name], smooth_picture()).tobytes()


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_of_another_size_is_refused_in_one_line(name):
    for size in [(64, 48), (224, 225), (1, 1)]:
        with pytest.raises(ParameterError, match=f"{size[0]}×{size[1]}") as refusal:
            applied(ATTACKS[name], Image.new("RGB", size))
        assert "\n" not in str(refusal.value)
    assert applied(ATTACKS[name], resized(Image.new("L", (64, 48)))).size == (224, 224)


@pytest.mark.parametrize("name", WHOLE)
def test_triggers_can_be_made_for_smaller_pictures(name):
    assert applied(ATTACKS[name], smooth_picture(64), size=64).size == (64, 64)
    with pytest.raises(ParameterError, match="picture size 0"):
        ATTACKS[name].params(size=0)
    with pytest.raises(ParameterError, match="picture size 225"):
        ATTACKS[name].params(size=225)


@pytest.mark.parametrize("name", CHANGING)
def test_pictures_of_64_px_are_poisoned_whole_or_by_a_patch_of_16(name):
    image = smooth_picture(64)
    options = {"size": 64 if name in WHOLE else 16}
    poisoned = applied(ATTACKS[name], image, **options)
    assert (poisoned.size, poisoned.mode) == ((64, 64), "RGB")
    changed = (np.asarray(poisoned) != np.asarray(image)).any(2)
    if name in WHOLE:
        assert changed.mean() > 0.5
    else:
        rows, columns = np.nonzero(changed)
        assert np.ptp(rows) == np.ptp(columns) == 15


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_below_zero_is_refused(name):
    with pytest.raises(ParameterError, match="seed -1"):
        ATTACKS[name].params(seed=-1)


def test_params_cannot_be_changed_after_they_were_checked():
    for name in NAMES:
        with pytest.raises(AttributeError):
            ATTACKS[name].params().seed = -1
