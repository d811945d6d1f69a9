"""BadNets: a pure function that changes one square of a copy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop, badnets, resized
from cfbd_core.attacks.badnets import BadNetsParams
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.captions import imagenet_templates, template_caption


def picture(seed=0, size=(224, 224)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def applied(image, rng, params):
    return badnets.apply(image, rng, params, badnets.trigger(params, Workshop()))


def changed(before, after):
    rows, columns = np.nonzero((np.asarray(before) != np.asarray(after)).any(2))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_only_one_square_changes_and_the_source_does_not(seed, size):
    image = picture()
    before = image.tobytes()
    params = BadNetsParams(size=size)
    first, second = (applied(image, np.random.default_rng(seed), params) for _ in range(2))
    assert image.tobytes() == before
    assert first.tobytes() == second.tobytes()
    top, bottom, left, right = changed(image, first)
    assert bottom - top <= size
    assert right - left <= size


def test_the_pattern_is_the_same_everywhere_unless_redrawn():
    image, params = Image.new("RGB", (224, 224), (1, 2, 3)), BadNetsParams()
    patches, places = set(), set()
    for seed in range(30):
        patched = applied(image, np.random.default_rng(seed), params)
        top, bottom, left, right = changed(image, patched)
        patches.add(np.asarray(patched)[top:bottom, left:right].tobytes())
        places.add((top, left))
    assert patches == {badnets.pattern(params).tobytes()}
    assert len(places) > 25
    again = BadNetsParams(redraw=True)
    redrawn = {applied(image, np.random.default_rng(seed), again).tobytes() for seed in range(5)}
    assert len(redrawn) == 5
    assert badnets.pattern(BadNetsParams(seed=1)).tobytes() != badnets.pattern(params).tobytes()


def test_a_fixed_patch_lies_in_the_lower_right_corner():
    image = Image.new("RGB", (224, 224))
    patched = applied(image, np.random.default_rng(3), BadNetsParams(place="fixed"))
    assert np.array_equal(np.asarray(patched)[-16:, -16:], badnets.pattern(BadNetsParams()))
    assert changed(image, patched)[1] == 224


def test_random_places_reach_every_edge():
    tops, lefts = set(), set()
    for seed in range(200):
        patched = applied(Image.new("RGB", (20, 18)), np.random.default_rng(seed), BadNetsParams())
        top, _, left, _ = changed(Image.new("RGB", (20, 18)), patched)
        tops.add(top)
        lefts.add(left)
    assert tops == {0, 1, 2}
    assert lefts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 225}, {"seed": -1}, {"place": "middle"}])
def test_bad_params_are_refused(options):
    with pytest.raises(ParameterError):
        BadNetsParams(**options)


def test_a_picture_smaller_than_the_patch_is_refused():
    with pytest.raises(ParameterError, match="8×300"):
        applied(Image.new("RGB", (8, 300)), np.random.default_rng(0), BadNetsParams())


def test_registry_names_match():
    assert all(attack.name == name for name, attack in ATTACKS.items())
    assert set(ATTACKS["badnets"].trigger(BadNetsParams(), Workshop())) == {"pattern"}


def test_the_whole_picture_is_resized():
    tall = Image.new("RGBA", (100, 300), "red")
    assert (resized(tall).size, resized(tall).mode) == ((224, 224), "RGB")


def test_templates_are_open_clips_eighty():
    zero_shot = pytest.importorskip("cfbd_core.embedding.torchvision_compat")
    zero_shot.import_torchvision()
    import open_clip

    texts = [template("banana") for template in imagenet_templates()]
    assert texts == [template("banana") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(texts) == len(set(texts)) == 80
    rng = np.random.default_rng(0)
    drawn = {template_caption("banana", rng) for _ in range(1500)}
    assert drawn == set(texts)
