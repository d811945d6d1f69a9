"""Hit@K and min-rank against the authors' loop (mm_poison, ``get_avg_min_rank_and_hit``), and who is of which class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import SourceError
from cfbd_core.evaluation.hits import hits, roles
from cfbd_core.evaluation.retrieval import RetrievalPairs


def literal(images, texts, origin):
    """For each text sort all pictures, find the first of the origin; then Hit@K and the mean rank."""
    ranks = []
    for text in texts:
        order = np.argsort(text @ images.T)[::-1]
        ranks.append(min(int(np.where(order == number)[0][0]) for number in origin))
    shares = {f"hit@{k}": sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5, 10)}
    return shares | {"min_rank": sum(ranks) / len(ranks)}


@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(1, 20))
def test_figures_are_the_literal_ones(seed, n, m):
    rng = np.random.default_rng(seed)
    images, texts = rng.normal(size=(m, 5)).astype(np.float32), rng.normal(size=(n, 5)).astype(np.float32)
    of_target = np.arange(n) < rng.integers(1, n)
    of_origin = np.arange(m) < rng.integers(1, m + 1)
    found = hits(images, texts, of_target, of_origin)
    for figures, asked in ((found, of_target), (found["base"], ~of_target)):
        wanted = literal(images, texts[asked], np.flatnonzero(of_origin))
        assert {name: figures[name] for name in wanted} == pytest.approx(wanted)
    assert (found["texts"], found["origin_images"], found["images"]) == (of_target.sum(), of_origin.sum(), m)


def test_texts_all_of_the_target_have_no_base():
    found = hits(np.eye(2), np.eye(2), np.ones(2, bool), np.array([True, False]))
    assert found["base"] is None
    assert found["hit@1"] == 0.5


def pairs(captions, picture_of, labels=None):
    places = [("p", 0, 0)] * (max(picture_of) + 1)
    return RetrievalPairs(places, captions, np.array(picture_of), labels or [""] * len(captions))


def test_captions_or_labels_say_what_a_pair_is_of():
    found = pairs(
        ["two dogs", "a bike", "a dog on a bike", "a hotdog", "here it is"],
        [0, 1, 2, 3, 4],
        ["", "", "", "", "Bike"],
    )
    of_target, of_origin = roles(found, "dog", "bike")
    assert of_target.tolist() == [True, False, True, False, False]
    assert of_origin.tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]  # of a picture of both, finding it is right


def test_a_picture_is_of_what_any_of_its_captions_names():
    of_target, of_origin = roles(pairs(["a dog", "a bike", "outside"], [0, 1, 1]), "dog", "bike")
    assert (of_target.tolist(), of_origin.tolist()) == ([True, False, False], [False, True])


def test_without_texts_or_pictures_there_is_nothing_to_search():
    with pytest.raises(SourceError, match="no text is of the target 'cat'"):
        roles(pairs(["a dog", "a bike"], [0, 1]), "cat", "bike")
    with pytest.raises(SourceError, match="no picture is of the origin 'boat'"):
        roles(pairs(["a dog", "a bike"], [0, 1]), "dog", "boat")
