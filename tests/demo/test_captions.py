"""The grammar: variety, length, repeats, and captions that are true unless they say they are not."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.demo.captions import (
    MAX_WORDS,
    MIN_WORDS,
    VAGUE_SHARE,
    WRONG_SHARE,
    right_caption,
    write_caption,
)
from cfbd_core.demo.layout import plan_scene
from cfbd_core.demo.vocabulary import COLOURS, PAINTS, PICTOGRAMS
from cfbd_core.demo.words import plural
from tests.demo.test_vocabulary import SET_ASIDE

N = 4000


@pytest.fixture(scope="module")
def written():
    """4,000 scenes' plans with their captions."""
    pairs = []
    for index in range(N):
        spec = plan_scene(random.Random(f"plan {index}"))
        pairs.append((spec, write_caption(spec, random.Random(f"caption {index}"))))
    return pairs


def names_of(name):
    picture = PICTOGRAMS[name]
    nouns = (picture.name, *picture.synonyms)
    return [noun.lower() for noun in nouns] + [plural(noun).lower() for noun in nouns]


def names(text, name):
    return any(re.search(rf"\b{re.escape(noun)}\b", text.lower()) for noun in names_of(name))


def test_captions_have_4_to_20_words_and_use_the_whole_range(written):
    lengths = Counter(len(caption.text.split()) for _, caption in written)
    assert set(lengths) == set(range(MIN_WORDS, MAX_WORDS + 1)) == set(range(4, 21))


def test_captions_vary_and_some_recur(written):
    texts = [caption.text for _, caption in written]
    assert 0.85 < len(set(texts)) / N < 0.98
    openings = Counter(" ".join(text.lower().split()[:2]) for text in texts)
    assert len(openings) > 300
    assert openings.most_common(1)[0][1] < 0.15 * N


def test_a_few_captions_are_vague_or_wrong(written):
    kinds = Counter(caption.kind for _, caption in written)
    assert set(kinds) == {"right", "vague", "wrong"}
    assert kinds["vague"] / N == pytest.approx(VAGUE_SHARE, abs=0.008)
    assert kinds["wrong"] / N == pytest.approx(WRONG_SHARE, abs=0.012)


def test_vague_captions_name_nothing_and_differ(written):
    vague = [(spec, caption.text) for spec, caption in written if caption.kind == "vague"]
    assert not [text for spec, text in vague if any(names(text, group.name) for group in spec.groups)]
    assert len({text for _, text in vague}) > 0.7 * len(vague)


def test_right_captions_name_only_what_is_there(written):
    told = Counter()
    for spec, caption in written:
        if caption.kind != "right":
            continue
        shown = {group.name for group in spec.groups}
        named = {name for name in shown if names(caption.text, name)}
        told[named == shown] += 1
        assert named, caption.text
    assert told[True] > 0.8 * sum(told.values())  # the others are stock titles that name one thing


def test_right_captions_tell_the_right_paint(written):
    for spec, caption in written:
        alone = [group for group in spec.groups if group.paint]
        if caption.kind != "right" or not alone:
            continue
        allowed = {group.paint for group in alone} | {spec.colour, spec.spot}
        text = caption.text.lower()
        for group in alone:
            for paint in set(PAINTS) - allowed:
                assert not any(f"{paint} {noun}" in text for noun in names_of(group.name)), (
                    caption.text,
                    group,
                )


def test_wrong_captions_contradict_the_scene(written):
    wrong = [(spec, caption.text.lower()) for spec, caption in written if caption.kind == "wrong"]
    swapped = [text for spec, text in wrong if not all(names(text, group.name) for group in spec.groups)]
    miscounted = [
        text
        for spec, text in wrong
        for group in spec.groups
        if group.count > 1 and names(text, group.name) and not told_count(text, group.count)
    ]
    assert len(swapped) > 0.3 * len(wrong)
    assert len(miscounted) > 0.1 * len(wrong)


def told_count(text, count):
    words = {2: ("two", "pair", "couple", "2"), 3: ("three", "3"), 4: ("four", "4")}[count]
    return any(re.search(rf"\b{word}\b", text) for word in words)


def test_no_caption_names_a_class_set_aside(written):
    assert not [
        c.text for _, c in written if any(re.search(rf"\b{word}\b", c.text.lower()) for word in SET_ASIDE)
    ]


def test_backdrop_colours_are_told(written):
    told = sum(spec.colour in c.text for spec, c in written if spec.backdrop == "plain" and c.kind == "right")
    assert told > 0.4 * sum(spec.backdrop == "plain" for spec, _ in written)
    assert {spec.colour for spec, _ in written if spec.backdrop == "plain"} == set(COLOURS)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_caption_is_a_function_of_its_seeds(plan_seed, caption_seed):
    first, second = (
        right_caption(plan_scene(random.Random(plan_seed)), random.Random(caption_seed)) for _ in range(2)
    )
    assert first == second
    assert MIN_WORDS <= len(first.split()) <= MAX_WORDS
    assert "{" not in first
    assert "  " not in first
    assert first == first.strip()
