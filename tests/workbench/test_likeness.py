"""Searches by the encoder on a toy audit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfbd_core import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.method.scores import gather, unit_rows
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.likeness import PAIRS_SHOWN, Like
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview
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


@pytest.fixture(scope="module")
def preview(explored) -> Preview:
    return explored.preview(SplitParams(k=2, q=9))


def vectors_of(explored: Explorer, kind: str) -> np.ndarray:
    return unit_rows(gather(explored.images if kind == "image" else explored.texts, explored.rows))


@pytest.mark.parametrize("kind", ["image", "caption"])
@pytest.mark.parametrize("others", [{}, {"c": (0.05, 0.3)}, {"truth": True}])
def test_the_nearest_of_those_that_the_rest_of_the_filter_leaves_nearest_first(preview, kind, others) -> None:
    explored = preview.pairs
    key = explored.audit.columns.keys_of(explored.rows[[7]])[0]
    left = PairFilter(show="all", **others).mask(preview)
    found = PairFilter(show="all", like=Like(kind, key), **others).positions(preview)
    cosine = vectors_of(explored, kind) @ vectors_of(explored, kind)[7]
    assert len(found) == min(PAIRS_SHOWN, left.sum())
    assert left[found].all()
    assert (found[0] == 7) == left[7]
    assert (np.diff(cosine[found]) <= 1e-6).all()
    assert cosine[found].min() >= np.delete(cosine, found)[np.delete(left, found)].max(initial=-1) - 1e-6


def test_another_order_of_the_same_pairs_can_be_chosen(preview) -> None:
    key = preview.pairs.audit.columns.keys_of(preview.pairs.rows[[7]])[0]
    nearest = PairFilter(show="all", like=Like("image", key))
    by_c = replace(nearest, sort="consistency")
    found = by_c.positions(preview)
    assert set(found) == set(nearest.positions(preview))
    assert (np.diff(preview.pairs.consistency[found]) <= 0).all()


def test_a_text_finds_pictures_and_is_encoded_once(explored, preview) -> None:
    explored.__dict__["encoder"] = Texts(vectors_of(explored, "image")[3])
    shows = PairFilter(show="all", like=Like("text", "what it shows"))
    found = shows.positions(preview)
    assert found[0] == 3
    assert len(found) == PAIRS_SHOWN
    del explored.__dict__["encoder"]
    assert shows.positions(preview).tolist() == found.tolist()  # kept: no encoder is asked


def test_a_key_that_no_pair_has_is_told(explored) -> None:
    with pytest.raises(ParameterError, match="no pair has this key"):
        Like("image", "nobody").of_pairs(explored)


@pytest.mark.parametrize("text", ["", "image", "image:", "sound:x"])
def test_what_is_no_search_is_refused(text) -> None:
    with pytest.raises(ParameterError, match="give text:WORDS"):
        Like.from_text(text)
