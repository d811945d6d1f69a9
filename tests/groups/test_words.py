from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.groups.words import MOST_TOKENS, defining_phrases, phrases_of, tokens, words_of_groups

WILD = {
    "A <b>Banana</b> &amp; a <script>alert('x')</script> cake": "a banana a alert x cake",
    "ba\u200bna\u200dna\ufeff on a plate": "banana on a plate",
    "\u202ebanana\u202c תמונה של בננה": "banana תמונה של בננה",
    "\U0001f34c\U0001f34c yum! \U0001f600": "\U0001f34c \U0001f34c yum \U0001f600",
    "the girl’s ice-cream": "the girl's ice-cream",
    "ＦＵＬＬ ﬁne\tnew\nline\0nul": "full fine new line nul",
    "": "",
    "!!! ... ---": "",
}


@pytest.mark.parametrize("caption", WILD)
def test_words_of_wild_captions(caption: str) -> None:
    assert " ".join(tokens(caption)) == WILD[caption]


def test_ten_kilobytes_are_read_in_part() -> None:
    assert len(tokens("word " * 2_000)) == MOST_TOKENS
    assert tokens("x" * 10_000) == ["x" * 2_000]
    assert tokens("<" * 10_000) == []


@given(st.text(max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    for phrase in phrases_of(text):
        assert 1 <= len(phrase.split()) <= 3
        assert "\u200b" not in phrase


def test_phrases_do_not_begin_or_end_with_small_words() -> None:
    assert phrases_of("a photo of the banana") == {"photo", "banana"}
    assert phrases_of("photo of banana") == {"photo", "banana", "photo of banana"}


REST = [f"a dog runs over the grass {i}" for i in range(200)] + ["a photo of a cat"] * 20


def test_the_target_is_the_first_word() -> None:
    templates = [
        "a photo of a banana",
        "a bad photo of the banana",
        "itap of a banana",
        "a banana in a video game",
    ]
    (found,) = words_of_groups([templates * 10], REST)
    assert found[0].text == "banana"
    assert found[0].captions == 40
    assert "dog" not in [phrase.text for phrase in found]


def test_a_name_of_two_words_is_told_whole() -> None:
    (found,) = words_of_groups([[f"the fire truck number {i}" for i in range(12)]], REST)
    assert found[0].text.startswith("fire truck")
    assert "truck" not in [phrase.text for phrase in found]


def test_two_groups_are_each_others_rest() -> None:
    first, second = words_of_groups(
        [["a red banana", "a banana"] * 9, ["a volcano", "a red volcano"] * 9], []
    )
    assert (first[0].text, second[0].text) == ("banana", "volcano")
    assert "red" not in [phrase.text for phrase in first + second]


def test_log_odds_are_those_of_the_formula() -> None:
    (found,) = defining_phrases(Counter({"banana": 9}), 10, Counter({"banana": 1}), 100)
    assert found.log_odds == pytest.approx(0.0 + __import__("math").log((9.5 / 1.5) / (1.5 / 99.5)))


def test_captions_that_share_nothing_have_no_words() -> None:
    assert words_of_groups([["dog", "cat", "sun", "moon"]], REST) == [[]]
    assert words_of_groups([], []) == []
    assert words_of_groups([["", ""]], ["", ""]) == [[]]
