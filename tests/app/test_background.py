"""What is made in the background: shown when it is there, told while it is not, errors in its place."""

from __future__ import annotations

import threading

from streamlit.testing.v1 import AppTest

from cfbd_core.errors import ParameterError

GO = threading.Event()
CALLS: list[str] = []


def slow() -> str:
    CALLS.append("made")
    GO.wait(30)
    return "the answer"


def failing() -> str:
    raise ParameterError("too few of them; give more")


def script(kind: str) -> None:
    import streamlit as st

    from app.waiting import background
    from tests.app import test_background as here  # noqa: PLW0406  (the script runs as a file of its own)

    found = background.made(("x", kind), here.slow if kind == "slow" else here.failing, "Thinking")
    if found is not None:
        st.markdown(f"found {found}")


def test_it_is_told_while_it_is_made_and_made_once() -> None:
    GO.clear()
    CALLS.clear()
    test = AppTest.from_function(script, args=("slow",), default_timeout=30).run()
    assert "Thinking" in test.caption[0].value
    assert not test.markdown
    GO.set()
    test.session_state["background"].get(("x", "slow")).result(30)
    test.run()
    assert test.markdown[0].value == "found the answer"
    assert not test.caption
    assert CALLS == ["made"]


def test_an_error_is_told_in_its_place_and_tried_again() -> None:
    test = AppTest.from_function(script, args=("failing",), default_timeout=30).run()
    while not test.error:  # the thread may not have come to it yet
        test.run()
    assert "too few of them" in test.error[0].value
    assert test.session_state["background"].get(("x", "failing")) is None


def moving(at: int) -> None:
    import streamlit as st

    from app.waiting import background
    from tests.app import test_background as here  # noqa: PLW0406

    background.made(("moved", st.session_state.get("at", at)), here.slow, "Grouping", worker="groups")
    background.tidy()


def test_what_a_slider_has_left_behind_is_not_begun_and_holds_nobody_else_up() -> None:
    GO.clear()
    CALLS.clear()
    test = AppTest.from_function(moving, args=(0,), default_timeout=30).run()
    for at in (1, 2, 3):
        test.session_state["at"] = at
        test.run()
    held = test.session_state["background"]
    assert [at for at in range(4) if held.get(("moved", at)) is not None] == [0, 3]  # the first has begun
    other = AppTest.from_function(script, args=("failing",), default_timeout=30).run()
    while not other.error:  # a worker of its own
        other.run()
    GO.set()
    assert held.get(("moved", 3)).result(30) == "the answer"
    assert CALLS == ["made", "made"]
