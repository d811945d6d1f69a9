"""Sliders as addresses."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given

from cfbd_core import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.workbench.slider_query import NAMES, from_query, to_query
from tests.explored import PARAMS


@given(PARAMS)
def test_an_address_gives_the_sliders_back(params) -> None:
    query = to_query(params)
    assert set(query) <= set(NAMES)
    assert from_query(dict(parse_qsl(urlencode(query))), params) == params


def test_what_no_slider_sets_stays_and_without_a_name_there_are_no_sliders() -> None:
    others = SplitParams(kappa=3.0, seed=7, q=11)
    assert from_query({"text": "banana"}, others) is None
    assert from_query({"k": "3"}, others) == SplitParams(k=3, kappa=3.0, seed=7)


@pytest.mark.parametrize(
    "query", [{"k": "many"}, {"gamma": "2"}, {"q": "1.5"}, {"gamma_z": "nan"}, {"rule": "odd"}, {"k": "99"}]
)
def test_what_cannot_be_is_refused_in_one_line(query) -> None:
    with pytest.raises(ParameterError) as told:
        from_query(query, SplitParams())
    assert "\n" not in str(told.value)
