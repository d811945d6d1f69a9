"""A caption names a class by its word or its plural, and by nothing that merely holds the letters."""

import pytest

from cfbd_core.poisoning.captions import names


@pytest.mark.parametrize(
    ("target", "caption"),
    [
        ("banana", "A banana."),
        ("banana", "two BANANAS on a plate"),
        ("volcano", "smoking volcanoes at dawn"),
        ("dog", "the dog's bowl"),
        ("dog", "a dog-walker"),
        ("hot dog", "one hot  dog, please"),
        ("hot dog", "Hot dogs"),
        ("C++", "a book on C++ again"),
        ("château", "Le château"),
    ],
)
def test_named(target, caption):
    assert names(target).search(caption)


@pytest.mark.parametrize(
    ("target", "caption"),
    [
        ("banana", "bananarama on stage"),
        ("dog", "a hotdog stand"),
        ("dog", "dogged runners"),
        ("hot dog", "a hot day for the dog"),
        ("a.b", "axb"),
        ("cat", "catés"),
        ("horse", "a seahorse"),
    ],
)
def test_not_named(target, caption):
    assert not names(target).search(caption)
