"""Views of pictures and captions: seeded by the row alone, and made as torchvision and EDA make them."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.training.defences import augment
from cfbd_core.training.defences.augment import caption_view, image_view, view_generator

CAPTION = "a small dog running on the red road towards an old bridge"


def noise(width: int = 64, height: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(side: int = 64) -> np.ndarray:
    """Red grows to the right, green downwards, blue with both: no two places look alike, nothing saturates."""
    across = np.linspace(60, 190, side)
    picture = np.stack(np.broadcast_arrays(across, across[:, None], (across + across[:, None]) / 2), axis=-1)
    return picture.astype(np.uint8)


def views_of(rows: list[int], epoch: int = 0) -> dict[int, tuple[bytes, str]]:
    return {
        row: (
            image_view(noise(), view_generator("image", 3, epoch, row)).tobytes(),
            caption_view(CAPTION, view_generator("caption", 3, epoch, row)),
        )
        for row in rows
    }


def test_a_view_depends_on_its_row_and_not_on_what_was_drawn_before():
    rows = list(range(20))
    forwards = views_of(rows)
    assert views_of(rows[::-1]) == forwards
    assert views_of([7]) == {7: forwards[7]}


def test_rows_epochs_seeds_and_modalities_have_generators_of_their_own():
    places = [(m, s, e, r) for m in ("image", "caption") for s in (0, 1) for e in (0, 1) for r in (0, 1)]
    drawn = {view_generator(*place).random() for place in places}
    assert len(drawn) == len(places) == 16
    pictures = {view for view, _ in views_of(list(range(20))).values()}
    assert len(pictures) == 20
    assert views_of([1], epoch=0) != views_of([1], epoch=1)


def test_a_view_comes_back_as_what_it_was_and_leaves_the_picture_alone():
    array = noise(80, 50)
    before = array.copy()
    view = image_view(array, view_generator("image", 0, 0, 0))
    assert (view.shape, view.dtype) == ((50, 50, 3), np.uint8)
    assert view.flags.writeable
    picture = image_view(Image.fromarray(array), view_generator("image", 0, 0, 0), 32)
    assert (picture.size, picture.mode) == ((32, 32), "RGB")
    np.testing.assert_array_equal(array, before)


def test_arrays_and_pil_pictures_give_the_same_view():
    for row in range(10):
        of_array, of_picture = (
            image_view(picture, view_generator("image", 0, 0, row))
            for picture in (noise(), Image.fromarray(noise()))
        )
        np.testing.assert_array_equal(of_array, np.asarray(of_picture))


@given(width=st.integers(8, 400), height=st.integers(8, 400), seed=st.integers(0, 10**6))
@settings(max_examples=200)  # each takes no time, and rare cases matter
def test_a_crop_lies_within_the_picture_and_keeps_its_area_and_aspect(width, height, seed):
    left, top, right, bottom = augment._crop_box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    # Rounded to whole pixels, each side is off by at most half of one.
    assert (w + 0.5) * (h + 0.5) >= augment.AREA[0] * width * height * 0.99 or min(width, height) in (w, h)
    assert 3 / 4 * (h - 0.5) - 0.5 <= w <= 4 / 3 * (h + 0.5) + 0.5


def test_crops_are_spread_over_areas_and_places():
    boxes = np.array(
        [augment._crop_box(1000, 1000, view_generator("image", 0, 0, row)) for row in range(2000)]
    )
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1e6
    # Uniform over 8 to 100 %, but that large crops of a wide aspect do not fit and are drawn again.
    assert area.min() < 0.1
    assert area.max() > 0.95
    assert 0.45 < area.mean() < 0.56
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(middle.mean(axis=0) - 500).max() < 15


@pytest.mark.parametrize("seed", range(12))
def test_jitter_is_torchvisions_in_the_order_drawn(seed):
    import_torchvision()
    from torchvision.transforms import functional

    rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
    found = augment._jittered(Image.fromarray(noise()), rng)
    brightness, contrast, saturation = same.uniform(0.5, 1.5, 3)
    hue = same.uniform(-0.1, 0.1)
    expected = Image.fromarray(noise())
    for step in same.permutation(4):
        if step == 0:
            expected = functional.adjust_brightness(expected, brightness)
        elif step == 1:
            expected = functional.adjust_contrast(expected, contrast)
        elif step == 2:
            expected = functional.adjust_saturation(expected, saturation)
        else:
            expected = functional.adjust_hue(expected, hue)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_flips_greys_and_jitter_come_at_their_rates(monkeypatch):
    monkeypatch.setattr(augment, "BLUR_RATE", 0.0)
    jitter, jittered = augment._jittered, []
    monkeypatch.setattr(augment, "_jittered", lambda view, rng: jittered.append(1) or jitter(view, rng))
    views = np.stack([image_view(gradient(32), view_generator("image", 1, 0, row)) for row in range(1500)])
    values = views.astype(int)
    grey = (views.max(axis=-1) == views.min(axis=-1)).all(axis=(1, 2))
    assert grey.mean() == pytest.approx(0.2, abs=0.03)
    # The blue of the gradient grows to the right in whatever crop, until it is flipped.
    flipped = values[..., 2].sum(axis=1)[:, -1] < values[..., 2].sum(axis=1)[:, 0]
    assert flipped.mean() == pytest.approx(0.5, abs=0.04)
    assert len(jittered) == pytest.approx(0.8 * 1500, abs=60)


def test_half_of_the_views_are_blurred_in_proportion_to_their_size(monkeypatch):
    for name in ("JITTER_RATE", "GREY_RATE", "FLIP_RATE"):
        monkeypatch.setattr(augment, name, 0.0)
    radii = []
    gaussian = augment.ImageFilter.GaussianBlur
    monkeypatch.setattr(
        augment.ImageFilter, "GaussianBlur", lambda radius: radii.append(radius) or gaussian(radius)
    )
    for row in range(600):
        image_view(noise(56, 56), view_generator("image", 0, 0, row))
    assert len(radii) == pytest.approx(300, abs=50)
    assert min(radii) >= 0.1 / 4
    assert max(radii) <= 2.0 / 4
    assert np.mean(radii) == pytest.approx(1.05 / 4, abs=0.03)


def test_the_four_ways_of_eda_come_equally_often_and_each_does_what_it_says():
    words = CAPTION.split()
    known = {"small", "dog", "running", "road", "old"}
    seen: Counter[str] = Counter()
    for row in range(4000):
        changed = caption_view(CAPTION, view_generator("caption", 0, 0, row)).split()
        if len(changed) > len(words):
            seen["insert"] += 1
            (new,) = (Counter(changed) - Counter(words)).elements()
            assert new in {other for word in known for other in augment._SYNONYM[word]}
            assert is_subsequence(words, changed)
        elif Counter(changed) == Counter(words):
            seen["swap or nothing deleted"] += 1
            assert sum(a != b for a, b in zip(changed, words, strict=True)) in (0, 2)
        elif len(changed) < len(words):
            seen["delete"] += 1
            assert is_subsequence(changed, words)
        else:
            seen["replace"] += 1
            ((old, new),) = [(a, b) for a, b in zip(words, changed, strict=True) if a != b]
            assert new in augment._SYNONYM[old]
    nothing_deleted = 0.9 ** len(words)
    assert seen["insert"] == pytest.approx(1000, abs=110)
    assert seen["replace"] == pytest.approx(1000, abs=110)
    assert seen["delete"] == pytest.approx(1000 * (1 - nothing_deleted), abs=110)
    assert seen["swap or nothing deleted"] == pytest.approx(1000 * (1 + nothing_deleted), abs=110)


def is_subsequence(shorter: list[str], longer: list[str]) -> bool:
    rest = iter(longer)
    return all(word in rest for word in shorter)


@given(st.lists(st.text("xyzäß", min_size=1, max_size=5), max_size=40), st.integers(0, 10**6))
@settings(max_examples=200)  # each takes no time, and rare cases matter
def test_captions_without_a_known_word_are_swapped_or_thinned_out(words, seed):
    changed = caption_view(" ".join(words), np.random.default_rng(seed)).split()
    assert bool(changed) == bool(words)
    swapped = Counter(changed) == Counter(words)
    assert swapped or is_subsequence(changed, words)
    if swapped:
        assert sum(a != b for a, b in zip(changed, words, strict=True)) <= 2 * max(1, len(words) // 10)


def test_a_tenth_of_a_long_captions_words_change():
    caption = " ".join(
        ["dog", *"bcdefghijklmnopqrstuvwxyz", *"0123"]
    )  # 30 words: three swaps, three insertions
    lengths = {len(caption_view(caption, view_generator("caption", 0, 0, row)).split()) for row in range(300)}
    assert max(lengths) == 33


@pytest.mark.parametrize(("caption", "same"), [("", True), ("bridge", True), ("dog", False)])
def test_short_captions(caption, same):
    views = {caption_view(caption, view_generator("caption", 0, 0, row)) for row in range(50)}
    assert (views == {caption}) is same
    assert "" not in views or not caption


def test_a_synonym_keeps_its_capital_and_stands_in_one_group():
    views = {caption_view("Dog", view_generator("caption", 0, 0, row)) for row in range(50)}
    assert "Hound" in views
    words = augment.SYNONYMS.replace(";", " ").split()
    assert len(set(words)) == len(words)
    assert all(len(group.split()) > 1 for group in augment.SYNONYMS.split(";"))


def test_views_are_fast_enough_to_feed_a_small_model():
    picture = noise()
    start = time.process_time()
    for row in range(400):
        image_view(picture, view_generator("image", 0, 0, row))
    # 3,000 a second on one core of the machine this was written on; a busy one has half of that to spare.
    assert 400 / (time.process_time() - start) > 1000
