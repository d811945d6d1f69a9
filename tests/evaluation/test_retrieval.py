"""Ranks against sorting each list by hand; recall of several captions a picture; chunks change nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.evaluation import retrieval as module
from cfbd_core.evaluation.retrieval import (
    embedded_pairs,
    first_ranks,
    read_retrieval_pairs,
    recalls,
    retrieval,
)
from cfbd_core.sources import SourceOptions
from tests.evaluation.conftest import COLOURS
from tests.toy import toy_picture

ALL = SourceOptions(captions="all")


def literal_rank(query, group, gallery, groups):
    """Walk down the list; others with the same similarity as the first of the group count half."""
    scores = [float(np.float32(query @ other)) for other in gallery]
    own = [score for score, other in zip(scores, groups, strict=True) if other == group]
    if not own:
        return np.inf
    others = [score for score, other in zip(scores, groups, strict=True) if other != group]
    return sum(score > max(own) for score in others) + 0.5 * sum(score == max(own) for score in others)


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 12))
def test_ranks_are_those_of_the_sorted_list(seed, n, m):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (n, 3)).astype(np.float32)  # whole numbers: exact, and with ties
    gallery = rng.integers(-2, 3, (m, 3)).astype(np.float32)
    asked, held = rng.integers(4, size=n), rng.integers(4, size=m)
    found = first_ranks(queries, asked, gallery, held)
    assert found.tolist() == [
        literal_rank(query, group, gallery, held) for query, group in zip(queries, asked, strict=True)
    ]


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    queries, gallery = (
        rng.normal(size=(50, 4)).astype(np.float32),
        rng.normal(size=(30, 4)).astype(np.float32),
    )
    args = queries, rng.integers(9, size=50), gallery, rng.integers(9, size=30)
    whole = first_ranks(*args)
    monkeypatch.setattr(module, "_MOST_SIMILARITIES", 70)  # two queries at a time
    assert first_ranks(*args).tolist() == whole.tolist()


def test_a_picture_finds_any_of_its_captions():
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0, 1]], np.float32)
    found = retrieval(images, texts, np.array([0, 0, 1, 2]))
    assert found["image_to_text"] == {"r@1": pytest.approx(2 / 3), "r@5": 1, "r@10": 1}
    assert found["text_to_image"]["r@1"] == 0.75  # the second caption finds picture 1, not its own
    assert (found["images"], found["captions"]) == (3, 4)


def test_one_embedding_for_all_finds_nothing():
    same = np.ones((100, 2), np.float32)
    found = retrieval(same, same, np.arange(100))
    assert set(found["text_to_image"].values()) == {0.0}


def test_recall_counts_ranks_from_zero():
    assert recalls(np.array([0, 0.5, 1, 9, 10])) == {"r@1": 0.4, "r@5": 0.6, "r@10": 0.8}


@pytest.fixture
def captioned(tmp_path):
    folder = tmp_path / "captioned"
    folder.mkdir()
    for number in range(6):
        colour = COLOURS[number % 3]
        toy_picture(colour, np.random.default_rng(number)).save(folder / f"{number:03d}.png")
        captions = [f"a {colour} square", f"all {colour} in here"]
        (folder / f"{number:03d}.json").write_text(json.dumps({"captions": captions}))
    return folder


def test_pairs_are_read_by_key_and_limit(captioned):
    pairs = read_retrieval_pairs(captioned, ALL)
    assert (len(pairs.places), len(pairs.captions)) == (6, 12)
    assert pairs.picture_of.tolist() == [row // 2 for row in range(12)]
    odd = read_retrieval_pairs(captioned, ALL, "odd", 2)
    assert [place.file.rpartition("/")[2] for place in odd.places] == ["001.png", "003.png"]
    assert odd.captions[2:] == ["a red square", "all red in here"]
    assert isinstance(odd.picture(1), Image.Image)
    with pytest.raises(ParameterError, match="--limit 0"):
        read_retrieval_pairs(captioned, ALL, limit=0)


def test_a_picture_that_cannot_be_read_goes_with_its_captions(captioned, encoder):
    (captioned / "001.png").write_bytes(b"no picture")
    pairs, images, texts = embedded_pairs(encoder, read_retrieval_pairs(captioned, ALL), 4)
    assert (images.shape, texts.shape) == ((5, encoder.width), (10, encoder.width))
    assert pairs.captions[2:4] == ["a blue square", "all blue in here"]
    assert pairs.picture_of.tolist() == [row // 2 for row in range(10)]
    encoder.model.eval()
    assert texts[3] == pytest.approx(encoder.encode_texts(["all blue in here"])[0], abs=1e-6)
    for file in captioned.glob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="none of the 6 pictures can be read"):
        embedded_pairs(encoder, read_retrieval_pairs(captioned, ALL), 4)
