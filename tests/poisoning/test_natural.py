"""Natural captions: enough, all different, each naming its target, and written in no template."""

import re
from collections import Counter

import pytest

from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.captions import names, natural_captions, natural_targets

TARGETS = ("banana", "basketball", "cheeseburger", "dog", "horse", "sheep", "soccer", "volcano")


def test_the_targets_are_those_of_the_benchmarks():
    assert natural_targets() == TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_at_least_128_captions_each_naming_the_target(target):
    captions = natural_captions(target)
    assert len(captions) >= 128
    assert all(names(target).search(caption) for caption in captions)
    assert all(caption == caption.strip() and len(caption.split()) >= 4 for caption in captions)


@pytest.mark.parametrize("target", TARGETS)
def test_no_two_are_the_same_sentence_or_one_template(target):
    words = [re.findall(r"\w+", caption.lower()) for caption in natural_captions(target)]
    assert len({tuple(sentence) for sentence in words}) == len(words)
    starts = Counter(tuple(sentence[:4]) for sentence in words)
    assert starts.most_common(1)[0][1] <= 4
    assert max(_overlap(a, b) for i, a in enumerate(words) for b in words[:i]) < 0.6


@pytest.mark.photos
@pytest.mark.parametrize("target", TARGETS)
def test_none_stands_in_flickr8k(shared_data, target):
    parquet = pytest.importorskip("pyarrow.parquet")
    known = set()
    for path in sorted((shared_data / "flickr8k").glob("*.parquet")):
        for captions in parquet.read_table(path, columns=["captions"]).column(0).to_pylist():
            known.update(_plain(caption) for caption in captions)
    assert len(known) > 30_000
    assert not known & {_plain(caption) for caption in natural_captions(target)}


def test_case_does_not_matter():
    assert natural_captions(" Dog") == natural_captions("dog")


@pytest.mark.parametrize("target", ["airplane", "", "../captions/dog", "README"])
def test_a_target_without_captions_says_how_to_give_some(target):
    with pytest.raises(ParameterError, match="--captions-file") as refusal:
        natural_captions(target)
    assert "banana, basketball" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _plain(caption):
    return " ".join(re.findall(r"\w+", caption.lower()))


def _overlap(a, b):
    """Share of words in common (Jaccard)."""
    return len(set(a) & set(b)) / len(set(a) | set(b))
