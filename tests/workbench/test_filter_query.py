"""Filters as addresses and as chips."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.maps.lasso import Lasso
from cfbd_core.store.columns import DECISIONS
from cfbd_core.workbench.copies import Copies
from cfbd_core.workbench.filter_query import NAMES, from_query, parts, to_query
from cfbd_core.workbench.likeness import Like
from cfbd_core.workbench.pair_filter import SHOWN, SORTS, SUBSET_CODES, PairFilter

BOUNDS = st.none() | st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).map(tuple)
SQUARE = Lasso("captions", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.5)), "20261126T044108.123456")
FILTERS = st.builds(
    PairFilter,
    show=st.sampled_from(SHOWN),
    subsets=st.lists(st.sampled_from(list(SUBSET_CODES)), max_size=3, unique=True).map(tuple),
    decisions=st.lists(st.sampled_from(DECISIONS), max_size=4, unique=True).map(tuple),
    c=BOUNDS,
    z=BOUNDS,
    text=st.text(max_size=20),
    truth=st.sampled_from([None, True, False]),
    like=st.sampled_from([None, Like("text", "a: dog"), Like("image", "k/1")]),
    group=st.sampled_from(["", "000123", "a/b c", "none"]),
    copies=st.sampled_from([None, Copies("exact"), Copies("near-images", "k:1"), Copies("captions", "a b")]),
    detector=st.sampled_from(["", "dao", "!a b"]),
    lasso=st.sampled_from([None, SQUARE]),
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
)


@given(FILTERS)
def test_an_address_gives_the_filter_back(chosen) -> None:
    query = to_query(chosen)
    assert set(query) <= set(NAMES)
    assert (
        from_query(dict(parse_qsl(urlencode(query, errors="surrogatepass"), errors="surrogatepass")))
        == chosen
    )


def test_the_usual_filter_has_an_empty_address() -> None:
    assert to_query(PairFilter()) == {}
    assert from_query({"audit": "a", "k": "5"}) == PairFilter()


@given(FILTERS)
def test_taking_every_part_out_leaves_all_pairs(chosen) -> None:
    left = chosen
    for _ in range(20):
        if not parts(left):
            break
        left = parts(left)[0].without
    assert left == PairFilter(show="all", text=left.text, sort=chosen.sort, descending=chosen.descending)
    assert not left.text.strip()


@given(FILTERS)
def test_a_part_takes_out_itself_alone(chosen) -> None:
    before = [part.words for part in parts(chosen)]
    for place, part in enumerate(parts(chosen)):
        assert [one.words for one in parts(part.without)] == before[:place] + before[place + 1 :]


def test_pairs_in_no_group_are_named_so() -> None:
    (part,) = parts(from_query({"show": "all", "group": "none"}))
    assert (part.words, part.without) == ("in no group", PairFilter(show="all"))


@pytest.mark.parametrize(
    "query",
    [
        {"show": "some"},
        {"subset": "D_q"},
        {"decided": "yes"},
        {"c": "1"},
        {"c": "a_b"},
        {"z": "1_2_3"},
        {"c": "0.5_0.1"},
        {"z": "nan_nan"},
        {"truth": "maybe"},
        {"lasso": "circle"},
        {"like": "sound:x"},
        {"like": "text: "},
        {"dup": "all"},
        {"dup": ":k"},
        {"sort": "z"},
        {"sort": "size-up"},
    ],
)
def test_an_address_that_is_no_filter_is_refused_in_one_line(query) -> None:
    with pytest.raises(ParameterError) as told:
        from_query(query)
    assert "\n" not in str(told.value)
