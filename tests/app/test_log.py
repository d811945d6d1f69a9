"""The page Log, and undo and redo by way of the log."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit import log_export
from tests.app.conftest import MAIN, press, words

PAGE = 20  # lines


def lines(test: AppTest) -> list[str]:
    """The log as the page shows it, tags left out."""
    html = [part.value for part in test.get("html") if 'class="cfbd-action' in part.value]
    return [" ".join(re.sub("<[^>]*>", " ", part).split()) for part in html]


def flagged(audit: Audit, limit: int = 3) -> list[int]:
    return audit.pairs("verdict = 'poisoned'", order_by="z DESC", limit=limit)["row"].to_pylist()


def decision(audit: Audit, row: int) -> str:
    return audit.pairs(f"row = {row}")["decision"][0].as_py()


# --- undo and redo beside the pairs --------------------------------------------------------------------


def test_undo_and_redo_walk_back_and_forth_and_tell_what_they_turn(page, audit):
    test = page("pairs")
    assert test.button(key="undo_button").disabled
    assert test.button(key="redo_button").disabled
    first, second, _ = flagged(audit)
    press(test, "keep", first)
    test.segmented_control(key="show").set_value("all").run()
    press(test, "remove", second)
    assert test.button(key="undo_button").label.startswith("Undo: remove")
    for row, left in ((second, 1), (first, 0)):
        test.button(key="undo_button").click().run()
        assert decision(audit, row) == ""
        assert test.button(key="undo_button").disabled == (left == 0)
    assert test.button(key="redo_button").label.startswith("Redo: keep")
    test.button(key="redo_button").click().run()
    test.button(key="redo_button").click().run()
    assert (decision(audit, first), decision(audit, second)) == ("keep", "remove")
    assert test.button(key="redo_button").disabled
    assert [one.kind for one in audit.history()] == ["redo"] * 2 + ["undo"] * 2 + ["decide"] * 2


def test_a_new_decision_leaves_nothing_to_redo(page, audit):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    first, second, _ = flagged(audit)
    press(test, "keep", first)
    test.button(key="undo_button").click().run()
    press(test, "remove", second)
    assert test.button(key="redo_button").disabled
    test.button(key="undo_button").click().run()
    assert test.button(key="redo_button").label.startswith("Redo: remove")


def test_what_was_undone_on_the_log_page_or_by_someone_else_is_skipped(page, audit):
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    first, second, _ = flagged(audit)
    press(test, "keep", first)
    press(test, "remove", second)
    audit.undo(2, who="bob")
    test.run()
    assert test.button(key="undo_button").label.startswith("Undo: keep")
    assert test.button(key="redo_button").label.startswith("Redo: remove")


def test_sessions_undo_their_own_actions(page, audit):
    first, second, _ = flagged(audit)
    mine, other = page("pairs"), page("pairs")
    press(mine, "keep", first)
    other.run()
    assert other.button(key="undo_button").disabled
    press(other, "keep", second)
    mine.run()
    mine.button(key="undo_button").click().run()
    assert (decision(audit, first), decision(audit, second)) == ("", "keep")


# --- who -----------------------------------------------------------------------------------------------


def test_the_log_names_who_decided_and_under_which_sliders(page, audit):
    test = page("pairs")
    first, second, _ = flagged(audit)
    press(test, "keep", first)
    test.text_input(key="who").set_value(" Ada  Lovelace ").run()
    press(test, "keep", second)
    assert [one.who for one in audit.history()] == ["Ada Lovelace", "app"]
    assert audit.history()[0].params == SplitParams(k=2, q=8).to_dict()
    test.switch_page("views/log.py").run()
    assert "You decide as **Ada Lovelace**" in words(test)


def test_the_login_s_name_is_the_log_s(root, audit, monkeypatch):
    monkeypatch.setattr("app.login.is_authlib_installed", lambda: True)
    test = AppTest.from_file(str(MAIN), default_timeout=60)
    test.secrets = {"auth": {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x" * 64}}
    test.user = {"is_logged_in": True, "email": "ada@example.org", "name": "Ada"}
    test.switch_page("views/pairs.py").run()
    assert "who" not in [box.key for box in test.text_input]
    press(test, "keep", flagged(audit)[0])
    assert audit.history()[0].who == "ada@example.org"


# --- the page ------------------------------------------------------------------------------------------


def test_an_empty_log_is_a_calm_page(page, root):
    test = page("log")
    assert "No decisions yet" in words(test)
    assert not test.exception


def test_the_log_tells_and_turns_every_action(page, audit):
    rows = np.array(flagged(audit))
    bulk = audit.decide_rows(rows, 2, who="bob", note="bananas", filter={"text": "banana", "z": "0.5_1.0"})
    later = audit.decide_rows(rows[:1], 1, who="ada")
    test = page("log")
    told = lines(test)
    assert len(told) == 2
    assert "#2" in told[0]
    assert "keep, 1 pair" in told[0]
    for part in (
        "#1",
        "bob",
        "remove, 3 pairs",
        "“ bananas ”",
        "removed; z 0.50 to 1.00; “banana”",
        "K 2 · γ 0.9 · q 8",
    ):
        assert part in told[1]
    test.button(key="turn_1").click().run()
    assert "2 of 3 pairs have changed" in test.toast[0].value
    assert [decision(audit, int(row)) for row in rows] == ["keep", "", ""]
    assert "undo #1, 2 pairs changed" in lines(test)[0]
    assert "undone" in lines(test)[2]
    assert test.button(key="turn_1").label == "Redo"
    test.button(key=f"turn_{later.id}").click().run()
    test.button(key=f"turn_{bulk.id}").click().run()
    assert [decision(audit, int(row)) for row in rows] == ["remove"] * 3
    assert [one.kind for one in audit.history(3)] == ["redo", "undo", "undo"]


def test_a_long_log_has_pages(page, audit):
    row = np.array(flagged(audit)[:1])
    for turn in range(PAGE + 3):
        audit.decide_rows(row, 1 + turn % 3, who="ada")
    test = page("log")
    assert len(lines(test)) == PAGE
    assert f"#{PAGE + 3} " in lines(test)[0]
    test.session_state["log_page"] = 2
    test.run()
    assert [line.split()[0] for line in lines(test)] == ["#3", "#2", "#1"]


@pytest.mark.parametrize(
    "hostile", ["<script>x()</script><b>", "**bold** [x](http://e.org) :rocket:", "\u202eevil"]
)
def test_what_people_write_is_shown_letter_by_letter(page, audit, hostile):
    audit.decide_rows(
        np.array(flagged(audit)), 1, who=hostile, note=hostile, filter={"text": hostile, hostile: "x"}
    )
    test = page("log")
    assert not test.exception
    html = " ".join(part.value for part in test.get("html") if 'class="cfbd-action' in part.value)
    assert "<script" not in html
    assert "<b>" not in html
    assert hostile in " ".join(lines(test)).replace("&lt;", "<").replace("&gt;", ">")
    test.button(key="turn_1").click().run()
    test.switch_page("views/pairs.py").run()
    assert not test.exception


def test_the_log_can_be_taken_home(page, audit):
    audit.decide_rows(np.array(flagged(audit)), 1, who="=ada", note="why")
    assert len(page("log").get("download_button")) == 2
    rows = list(
        csv.DictReader(io.StringIO(log_export.as_csv(audit.history(), spreadsheet_safe=True).decode()))
    )
    assert (rows[0]["who"], rows[0]["note"], rows[0]["pairs"]) == ("'=ada", "why", "3")


def test_an_action_that_was_turned_meanwhile_is_told(page, audit):
    audit.decide_rows(np.array(flagged(audit)), 1, who="ada")
    test = page("log")
    audit.undo(1, who="bob")
    test.button(key="turn_1").click().run()
    assert not test.exception
    assert "undone already" in words(test)
