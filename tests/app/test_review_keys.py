"""Decisions as the browser tells of them: some at once, each more than once, of pairs that may have changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

from app.pairs.review_pair import PAIRS_AHEAD
from cfbd_core import Audit
from tests.app.conftest import data_of, trigger, words


def told(test: AppTest) -> dict[str, Any]:
    """What the keys' script was given last."""
    found: dict[str, Any] = data_of(test, "cfbd_keys")[-1]
    return found


def pressed(test: AppTest, decisions: str) -> list[dict[str, Any]]:
    """Presses of K, X and U on the pairs that the page holds ready, in their order."""
    given = told(test)
    return [
        {
            "id": f"{pair['row']}{key}",
            "subject": given["subject"],
            **pair,
            "decision": given["decisions"][key],
        }
        for pair, key in zip(given["pairs"], decisions, strict=False)
    ]


def stood(audit: Audit, rows: list[int]) -> list[str]:
    """The decisions on the pairs at these rows, in their order."""
    pairs = audit.pairs("decision <> ''").to_pydict()
    held = dict(zip(pairs["row"], pairs["decision"], strict=True))
    return [held.get(row, "") for row in rows]


def test_the_page_holds_the_next_pairs_ready(page, audit) -> None:
    test = page("review", show="all")
    rows = [pair["row"] for pair in told(test)["pairs"]]
    assert len(set(rows)) == 1 + PAIRS_AHEAD
    drawn = " ".join(element.proto.body for element in test.get("html"))
    assert all(drawn.count(f'data-shown="{row}"') == 1 for row in rows)
    trigger(test, "cfbd_keys", "decide", pressed(test, "x"))
    assert [pair["row"] for pair in told(test)["pairs"]][:PAIRS_AHEAD] == rows[1:]


def test_presses_that_are_told_together_and_again_are_each_stored_once_on_their_own_pairs(
    page, audit
) -> None:
    test = page("review", show="all")
    rows = [pair["row"] for pair in told(test)["pairs"]]
    presses = pressed(test, "xku")
    trigger(test, "cfbd_keys", "decide", presses[:2])
    assert told(test)["pairs"][0]["row"] == rows[2]
    trigger(test, "cfbd_keys", "decide", presses)
    assert stood(audit, rows[:4]) == ["remove", "keep", "unsure", ""]
    assert len(audit.history()) == 3
    assert set(told(test)["done"]) == {press["id"] for press in presses}
    assert told(test)["pairs"][0]["row"] == rows[3]


def test_a_press_on_what_someone_decided_meanwhile_is_refused_and_told_and_those_after_it_are_not(
    page, audit
) -> None:
    test = page("review", show="all")
    first, *_ = rows = [pair["row"] for pair in told(test)["pairs"]]
    audit.decide_rows(np.array([first]), np.array([1], np.int8), who="Ada")
    trigger(test, "cfbd_keys", "decide", pressed(test, "xk"))
    assert stood(audit, rows[:2]) == ["keep", "keep"]
    assert "meanwhile" in words(test)
    assert told(test)["pairs"][0] | {"key": ""} == {"row": first, "key": "", "seen": "keep"}
    again = [press | {"id": "again"} for press in pressed(test, "x")]
    trigger(test, "cfbd_keys", "decide", again)
    assert stood(audit, [first]) == ["remove"]


def test_a_press_of_another_audit_is_not_for_this_one(page, audit) -> None:
    test = page("review", show="all")
    trigger(test, "cfbd_keys", "decide", [press | {"subject": "another"} for press in pressed(test, "x")])
    assert audit.history() == []


def test_a_note_goes_with_the_press_on_the_pair_that_it_was_written_for(page, audit) -> None:
    test = page("review", show="all")
    presses = pressed(test, "xk")
    next(field for field in test.text_input if (field.key or "").startswith("review_note_")).set_value(
        "look"
    ).run()
    trigger(test, "cfbd_keys", "decide", presses)
    assert [action.note for action in audit.history()] == [None, "look"]
