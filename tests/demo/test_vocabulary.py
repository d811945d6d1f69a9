"""The vocabulary: every class can be drawn, said and told apart from the classes set aside for zero-shot."""

import re

import pytest

from cfbd_core.demo.glyphs import glyph
from cfbd_core.demo.vocabulary import CLASS_NAMES, PAINTS, PICTOGRAMS
from cfbd_core.demo.words import plural, with_article

SET_ASIDE = (
    "tench",
    "english springer",
    "springer spaniel",
    "cassette",
    "chain saw",
    "chainsaw",
    "church",
    "french horn",
    "garbage truck",
    "gas pump",
    "fuel pump",
    "golf",
    "parachute",
)


def test_there_are_many_classes_with_banana_among_them():
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) >= 150
    assert "banana" in CLASS_NAMES


def test_no_name_is_imagenettes_nor_another_classs():
    names = [name.lower() for picture in PICTOGRAMS.values() for name in (picture.name, *picture.synonyms)]
    assert not [name for name in names if any(re.search(rf"\b{word}\b", name) for word in SET_ASIDE)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_glyph_has_ink_and_fits(name):
    for character in PICTOGRAMS[name].glyphs:
        picture = glyph(character, 64)
        alpha = picture.getchannel("A")
        assert max(picture.size) == 64
        assert alpha.getbbox() == (0, 0, *picture.size)
        assert len(set(picture.convert("RGB").quantize(16).get_flattened_data())) > 1
        # the font's box for a missing character is hollow and narrow
        assert sum(alpha.histogram()[128:]) > 0.08 * picture.width * picture.height


def test_no_two_classes_share_a_glyph():
    glyphs = [character for picture in PICTOGRAMS.values() for character in picture.glyphs]
    assert len(glyphs) == len(set(glyphs))


@pytest.mark.parametrize("name", [name for name in CLASS_NAMES if PICTOGRAMS[name].paintable])
def test_every_paint_changes_the_colour_and_keeps_the_outline(name):
    (character,) = PICTOGRAMS[name].glyphs
    painted = {paint: glyph(character, 48, paint) for paint in PAINTS}
    assert len({picture.tobytes() for picture in painted.values()}) == len(PAINTS)
    assert len({picture.getchannel("A").tobytes() for picture in painted.values()}) == 1


@pytest.mark.parametrize(
    ("word", "several"),
    [
        ("cherry", "cherries"),
        ("fox", "foxes"),
        ("mouse", "mice"),
        ("toy", "toys"),
        ("bus", "buses"),
        ("sheep", "sheep"),
    ],
)
def test_plurals(word, several):
    assert plural(word) == several


@pytest.mark.parametrize(
    ("phrase", "whole"),
    [
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("orange car", "an orange car"),
        ("ewe", "a ewe"),
        ("banana", "a banana"),
    ],
)
def test_articles(phrase, whole):
    assert with_article(phrase) == whole
