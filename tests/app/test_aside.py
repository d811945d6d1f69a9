"""Parts that fill in later: nobody waits for them, one is made at a time, and none that is no longer wanted."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.pairs import near
from app.waiting import aside
from cfbd_core import SplitParams
from cfbd_core.errors import ParameterError
from cfbd_core.workbench.explorer import Explorer
from tests.app.conftest import decide_button, words

GO = threading.Event()
CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _anew():
    GO.clear()
    CALLS.clear()
    yield
    GO.set()


def slow(name: str) -> str:
    CALLS.append(name)
    assert GO.wait(30)
    return f"what is near {name}"


def script(keeps: bool = False) -> None:
    import streamlit as st

    from app.waiting import aside
    from tests.app import test_aside as here  # noqa: PLW0406  (the script runs as a file of its own)

    shown = st.session_state.get("shown", "a")
    wanted = [shown, chr(ord(shown) + 1)]
    makes = {name: (lambda name=name: here.slow(name)) for name in wanted}
    aside.fill("near", makes, st.markdown, "Looking", keeps=keeps)


def failing() -> None:
    from app.waiting import aside
    from tests.app import test_aside as here  # noqa: PLW0406

    aside.fill("near", {"a": here.fails}, lambda _: None, "Looking")


def fails() -> None:
    raise ParameterError("too few of them; give more")


def show(test: AppTest, name: str) -> AppTest:
    test.session_state["shown"] = name
    return test.run()


def when(test: AppTest, said: str) -> None:
    """Look again, as the page does by itself, until it says this."""
    deadline = time.monotonic() + 30
    while said not in words(test) and time.monotonic() < deadline:
        test.run()
    assert said in words(test)


def test_a_part_fills_in_and_what_is_no_longer_wanted_is_not_begun() -> None:
    test = AppTest.from_function(script, default_timeout=30).run()
    assert "Looking" in words(test)
    for name in "bcdm":  # going on quickly
        show(test, name)
    assert CALLS == ["a"]  # one at a time
    GO.set()
    when(test, "what is near m")
    assert "Looking" not in words(test)
    show(test, "n")
    when(test, "what is near n")
    made = ["a", "m", "n", "o"]  # what comes next is made ahead
    assert CALLS in (made, made[:-1])
    show(test, "m")
    assert "what is near m" in words(test)  # going back is at once
    assert CALLS.count("m") == 1


def test_what_was_drawn_last_may_stay_until_there_is_news() -> None:
    GO.set()
    test = AppTest.from_function(script, kwargs={"keeps": True}, default_timeout=30).run()
    when(test, "what is near a")
    deadline = time.monotonic() + 30
    while "b" not in CALLS and time.monotonic() < deadline:
        time.sleep(0.01)
    GO.clear()
    show(test, "x")
    assert "what is near a" in words(test)
    assert "Looking" in words(test)
    GO.set()
    when(test, "what is near x")


def test_an_error_is_told_in_its_place() -> None:
    test = AppTest.from_function(failing, default_timeout=30).run()
    when(test, "too few of them")


def test_a_review_shows_what_is_near_the_pair(page, audit, monkeypatch) -> None:
    monkeypatch.setattr(aside, "WAIT_SECONDS", 30.0)
    test = page("review")
    assert not test.exception
    shown = [element.proto.body for element in test.get("html")]
    assert any("Kept pairs with similar pictures say" in body for body in shown)
    near_by_caption = next(body for body in shown if "Pairs with similar captions show" in body)
    assert near_by_caption.count("banana") >= near.PAIRS_SHOWN


def test_a_review_of_more_pairs_than_a_million_is_no_exception(page, audit, monkeypatch) -> None:
    monkeypatch.setattr(near, "find", lambda *_: slow("it"))
    test = page("review")
    assert "Looking for what is near it" in words(test)
    assert not decide_button(test, "keep").disabled  # nobody waits for it


def test_near_by_picture_are_kept_pairs_and_the_nearest_of_them(own) -> None:
    explored = Explorer(own)
    preview = explored.preview(SplitParams(k=2, q=20))
    found = near.find(preview, 7)
    kept = ~preview.removed()
    at = explored.positions_of(found.by_image)
    assert kept[at].all()
    assert 7 not in at
    images = np.concatenate(list(explored.images)).astype(np.float64)[explored.rows]
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    cosine = images @ images[7]
    others = np.delete(np.arange(len(explored)), 7)
    best = others[kept[others]][np.argsort(-cosine[others[kept[others]]], kind="stable")][
        : near.PAIRS_COMPARED
    ]
    np.testing.assert_allclose(cosine[at], cosine[best], atol=1e-6)
