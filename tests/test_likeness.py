"""Searches by the encoder on a toy audit."""

from __future__ import annotations

import numpy as np
import pytest

from cfbd_core import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.explorer import Explorer
from cfbd_core.likeness import COUNT, Like
from cfbd_core.pair_filter import PairFilter
from cfbd_core.scores import gather, unit_rows
from tests.explored import scored_audit


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> Explorer:
    return Explorer(scored_audit(tmp_path_factory.mktemp("like") / "made"))


class Texts:
    """An encoder whose text embedding is a given vector."""

    def __init__(self, vector: np.ndarray) -> None:
        self.vector = vector

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        assert texts == ["what it shows"]
        return self.vector[None]


def test_pairs_like_one_are_its_nearest_and_itself(explored) -> None:
    key = explored.audit.keys_of(explored.rows[[7]])[0]
    for kind, shards in (("image", explored.images), ("caption", explored.texts)):
        vectors = unit_rows(gather(shards, explored.rows))
        expected = np.argsort(-(vectors @ vectors[7]), kind="stable")[:COUNT]
        found = np.flatnonzero(explored.like(Like(kind, key)))
        assert 7 in found
        assert len(set(found) & set(expected)) >= COUNT - 1  # ties at the end


def test_a_text_finds_pictures_and_is_encoded_once(explored, monkeypatch) -> None:
    vectors = unit_rows(gather(explored.images, explored.rows))
    explored.__dict__["encoder"] = Texts(vectors[3])
    found = PairFilter(show="all", like=Like("text", "what it shows")).positions(
        explored.preview(SplitParams(k=2, q=9))
    )
    assert 3 in found
    assert COUNT - 10 <= len(found) <= COUNT  # some that are near have no score
    del explored.__dict__["encoder"]
    assert explored.like(Like("text", "what it shows"))[3]  # kept: no encoder is asked


def test_a_key_that_no_pair_has_is_told(explored) -> None:
    with pytest.raises(ParameterError, match="no pair has this key"):
        explored.like(Like("image", "nobody"))


@pytest.mark.parametrize("text", ["", "image", "image:", "sound:x"])
def test_what_is_no_search_is_refused(text) -> None:
    with pytest.raises(ParameterError, match="give text:WORDS"):
        Like.from_text(text)
