"""Outlines on the map against a literal walk round them, and as texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.maps.lasso import MOST_CORNERS, Lasso

CORNERS = st.lists(
    st.tuples(st.floats(-2, 2).map(lambda x: round(x, 3)), st.floats(-2, 2).map(lambda y: round(y, 3))),
    min_size=3,
    max_size=MOST_CORNERS,
)


def winding(corners: tuple[tuple[float, float], ...], x: float, y: float) -> int:
    """How often the outline goes round a point: the sum of its turns as seen from there."""
    total = 0.0
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        turn = np.arctan2(y1 - y, x1 - x) - np.arctan2(y0 - y, x0 - x)
        total += (turn + np.pi) % (2 * np.pi) - np.pi
    return round(total / (2 * np.pi))


@given(CORNERS, st.integers(0, 2**32 - 1))
def test_within_is_where_the_outline_goes_round_an_odd_number_of_times(corners, seed) -> None:
    lasso = Lasso("captions", tuple(corners))
    xy = np.random.default_rng(seed).uniform(-2, 2, (40, 2)) + 1e-5  # no corner is that exact
    expected = [winding(lasso.corners, x, y) % 2 == 1 for x, y in xy]
    assert lasso.holds(xy).tolist() == expected


@given(st.sampled_from(["captions", "images"]), CORNERS)
def test_a_text_gives_the_outline_back(space, corners) -> None:
    for map_id in ("", "20261126T044108.123456"):
        lasso = Lasso(space, tuple(corners), map_id)
        again = Lasso.from_text(lasso.to_text())
        assert (again.space, again.map_id) == (space, map_id)
    assert np.allclose(again.corners, lasso.corners, atol=1e-6)


def test_a_hand_drawn_outline_is_thinned_and_holds_nearly_the_same() -> None:
    angle = np.linspace(0, 2 * np.pi, 700, endpoint=False)
    lasso = Lasso.drawn("images", "a", 0.5 + np.cos(angle), np.sin(angle))
    assert len(lasso.corners) == MOST_CORNERS
    xy = np.random.default_rng(0).uniform(-2, 2, (5000, 2))
    within = np.hypot(xy[:, 0] - 0.5, xy[:, 1]) < 1
    assert (lasso.holds(xy) != within).mean() < 0.005


def test_a_box_holds_what_is_between_its_sides_whichever_way_it_was_drawn() -> None:
    xy = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, -0.1]])
    for xs, ys in (((0, 1), (0, 1)), ((1, 0), (1, 0)), ((0, 1), (1, 0))):
        assert Lasso.box("captions", "a", xs, ys).holds(xy).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "captions",
        "captions:1,2;3,4",
        "captions@:0,0;1,0;1,1",
        "captions@../x:0,0;1,0;1,1",
        "other:0,0;1,0;1,1",
        "captions:0,0;1,0;1,nan",
        "captions:0,0;1,0;1,1e9",
    ],
)
def test_a_text_that_is_no_outline_is_refused_in_one_line(text) -> None:
    with pytest.raises(ParameterError) as told:
        Lasso.from_text(text)
    assert "\n" not in str(told.value)


def test_too_many_corners_are_refused() -> None:
    with pytest.raises(ParameterError):
        Lasso("captions", tuple((float(i), 0.0) for i in range(MOST_CORNERS + 1)))
