"""Benign traps: they look like the web, and do what they say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.traps import BOILERPLATE, draw_traps, near_duplicate

WORDS = ("alpine", "bakery", "canyon", "dancer", "engine", "forest", "garden", "harbor")


def drawn(shares, n=1000, per_record=4, seed=0, **others):
    rng = np.random.default_rng(5)
    captions = [f"{rng.choice(WORDS)} with {rng.choice(WORDS)} {i}" for i in range(n)]
    record_of = np.arange(n) // per_record
    traps = draw_traps(captions, record_of, np.arange(n), shares, np.random.default_rng(seed), **others)
    return captions, record_of, traps


def test_mismatched_captions_are_exchanged_and_none_stays():
    captions, _, traps = drawn({"mismatched": 0.1})
    assert len(traps.captions) == 100
    assert sorted(traps.captions.values()) == sorted(captions[pair] for pair in traps.captions)
    assert all(caption != captions[pair] for pair, caption in traps.captions.items())


def test_duplicate_captions_come_in_groups_of_2_to_50_that_share_a_word():
    captions, record_of, traps = drawn({"duplicate_captions": 0.3}, n=6000)
    copies = Counter(traps.captions.values())
    assert sum(copies.values()) == 1800
    assert 1 <= min(copies.values()) <= max(copies.values()) <= 49
    assert len(copies) > 60
    assert sum(n <= 4 for n in copies.values()) > sum(
        n > 20 for n in copies.values()
    )  # small groups are common
    number_of = {caption: number for number, caption in enumerate(captions)}
    for pair, caption in traps.captions.items():
        original = number_of[caption]
        assert original not in traps.captions
        assert record_of[original] != record_of[pair]
    alike = sum(
        bool(set(captions[pair].split()[::2]) & set(text.split()[::2]))
        for pair, text in traps.captions.items()
    )
    assert alike / 1800 > 0.9  # by chance 44 %


def test_boilerplate_is_boilerplate():
    _, _, traps = drawn({"boilerplate": 0.2})
    fixed = [text for text in BOILERPLATE if "{}" not in text]
    begins = tuple(text.split("{}")[0] for text in BOILERPLATE if "{}" in text)
    assert len(traps.captions) == 200
    assert all(caption in fixed or caption.startswith(begins) for caption in traps.captions.values())
    assert len(set(traps.captions.values())) > len(BOILERPLATE)  # numbers vary


def test_near_duplicates_show_another_picture_with_its_caption():
    captions, record_of, traps = drawn({"near_duplicates": 0.2}, usable=lambda pair: pair % 3 != 0)
    assert len(traps.pictures) == 200
    for pair, other in traps.pictures.items():
        assert record_of[pair] != record_of[other]
        assert other % 3 != 0
        assert other not in traps.pictures
        assert traps.captions[pair] == captions[other]
    assert max(Counter(traps.pictures.values()).values()) <= 9


def test_traps_do_not_overlap_and_only_free_pairs_are_in_them():
    rng = np.random.default_rng(1)
    free = np.flatnonzero(rng.random(500) < 0.6)
    shares = {"mismatched": 0.1, "duplicate_captions": 0.1, "boilerplate": 0.1, "near_duplicates": 0.1}
    traps = draw_traps(["a caption"] * 500, np.arange(500), free, shares, np.random.default_rng(0))
    assert Counter(traps.names.values()) == dict.fromkeys(shares, 50)
    assert set(traps.names) | set(traps.pictures.values()) <= set(free.tolist())


@pytest.mark.parametrize("name", ["mismatched", "duplicate_captions", "boilerplate", "near_duplicates"])
def test_shares_that_cannot_be_had_are_refused_with_numbers(name):
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(ParameterError, match=f"{option} 0.01 of 10 pairs is 0"):
        drawn({name: 0.01}, n=10)
    with pytest.raises(ParameterError, match=rf"{option} 1.0 of 12 pairs is 12, but only \d+ can be changed"):
        draw_traps(["a"] * 12, np.arange(12), np.arange(9), {name: 1.0}, np.random.default_rng(0))


def test_a_near_duplicate_is_the_same_picture_nearly():
    rows, columns = np.mgrid[:224, :224]
    pixels = np.stack([rows, columns, (rows + columns) // 2], 2).astype(np.uint8)
    picture = Image.fromarray(pixels)
    changed = [near_duplicate(picture, np.random.default_rng(seed)) for seed in range(10)]
    for other in changed:
        assert (other.size, other.mode) == ((224, 224), "RGB")
        difference = np.abs(np.asarray(other).astype(int) - pixels)
        assert 0 < difference.mean() < 20
        assert np.corrcoef(np.asarray(other).ravel(), pixels.ravel())[0, 1] > 0.99
    assert len({other.tobytes() for other in changed}) == 10
    assert near_duplicate(picture, np.random.default_rng(3)).tobytes() == changed[3].tobytes()
    assert np.array_equal(np.asarray(picture), pixels)
