"""Groups, review and one filter for all pages, on a toy audit."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.pairs import pair_view
from app.pairs.review_queue import ReviewQueue
from app.waiting import background
from cfbd_core import Audit, SplitParams
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.pair_filter import PairFilter
from tests.app.conftest import address, cards, data_of, decide_button, press, trigger, words


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """Wait for what is made in the background: a test has no browser that looks again."""
    monkeypatch.setattr(background, "WAIT_SECONDS", 60.0)


def flagged_rows(audit: Audit) -> list[int]:
    found: list[int] = audit.pairs("verdict = 'poisoned'", order_by="z DESC, row")["row"].to_pylist()
    return found


def held(test) -> ReviewQueue:
    queue: ReviewQueue = test.session_state["review"]
    return queue


# --- groups --------------------------------------------------------------------------------------------


def test_flagged_pairs_are_shown_as_a_group_that_can_be_decided_on(page, audit) -> None:
    test = page("groups")
    flagged = flagged_rows(audit)
    assert "banana" in words(test)
    (group, *_) = Explorer(audit).preview(audit.state.applied_params()).groups.groups
    assert len(group) >= len(flagged) * 0.9
    test.text_input(key=f"why_group_{group.medoid}").set_value(" all of   one target ").run()
    test.button(key=f"all_remove_group_{group.medoid}").click().run()
    rows = Explorer(audit).rows[group.positions]
    stored = audit.pairs(f"row IN ({', '.join(map(str, rows))})")["decision"].to_pylist()
    assert set(stored) == {"remove"}
    (action, *_) = audit.history(limit=1)
    assert (action.pairs, action.decision, action.note) == (len(group), "remove", "all of one target")
    assert action.filter == {"show": "all", "group": group.id}
    assert f"{len(group)} decided" in words(test)
    assert test.text_input(key=f"why_group_{group.medoid}").value == ""  # it was of this action


def test_groups_come_by_their_risk_and_a_decided_one_says_so(page, audit) -> None:
    test = page("groups")
    test.segmented_control(key="groups_order").set_value("riskiest").run()
    assert "mean z of what is left 0." in words(test)
    assert "the order is learned from" in words(test)
    (group, *_) = Explorer(audit).preview(audit.state.applied_params()).groups.groups
    test.button(key=f"all_remove_group_{group.medoid}").click().run()
    assert not test.exception
    assert "all decided" in words(test)


def test_of_too_many_the_page_says_which_are_grouped(page, audit, monkeypatch) -> None:
    monkeypatch.setattr("cfbd_core.workbench.groups.MOST_GROUPED_PAIRS", 3)
    test = page("groups")
    assert not test.exception
    assert f"Grouped: the 3 of {len(flagged_rows(audit))} flagged with the highest z." in words(test)


def test_pairs_in_no_group_can_be_reached(page, audit, monkeypatch) -> None:
    monkeypatch.setattr("cfbd_core.workbench.groups.MOST_GROUPED_PAIRS", 3)
    test = page("groups")
    test.button(key="look_ungrouped").click().run()
    assert not test.exception
    groups = Explorer(audit).preview(audit.state.applied_params()).groups
    assert len(groups.left_out) == len(flagged_rows(audit)) - 3
    assert f"**{len(groups.ungrouped)}** pairs match" in words(test)
    assert "in no group" in [button.label for button in test.button]
    assert {card["row"] for card in cards(test)} == set(Explorer(audit).rows[groups.ungrouped].tolist())


def test_without_flagged_pairs_the_page_says_so_calmly(page, audit) -> None:
    params = audit.state.applied_params()
    audit.split(type(params)(**params.to_dict() | {"gamma_z": 0.999, "gamma_z_rule": "manual"}))
    test = page("groups")
    assert not test.exception
    assert "Nothing is flagged" in words(test)


# --- review --------------------------------------------------------------------------------------------


def test_a_decision_is_stored_and_brings_the_next_pair(page, audit) -> None:
    test = page("review")
    flagged = flagged_rows(audit)
    assert held(test).rows.tolist() == flagged
    decide_button(test, "keep").click().run()
    decide_button(test, "remove").click().run()
    decide_button(test, "unsure").click().run()
    stored = {row: audit.pairs(f"row = {row}")["decision"][0].as_py() for row in flagged[:3]}
    assert list(stored.values()) == ["keep", "remove", "unsure"]
    assert held(test).at == 3
    test.button(key="review_undo").click().run()
    assert held(test).at == 2
    assert audit.pairs(f"row = {flagged[2]}")["decision"].to_pylist() == [""]
    test.button(key="review_previous").click().run()
    assert held(test).at == 1
    test.button(key="review_next").click().run()
    assert held(test).at == 2


def note_field(test):
    (field,) = [one for one in test.text_input if (one.key or "").startswith("review_note_")]
    return field


def test_a_note_goes_with_the_decision_on_its_pair_alone_into_log_page_and_exports(
    page, audit, tmp_path
) -> None:
    test = page("review")
    first, second, *_ = flagged_rows(audit)
    note_field(test).set_value(" a <b>watermark   twice ").run()
    decide_button(test, "remove").click().run()
    assert note_field(test).value == ""
    decide_button(test, "keep").click().run()
    assert audit.columns.notes_of(np.array([first, second])) == ["a <b>watermark twice", None]
    assert [action.note for action in audit.history()] == [None, "a <b>watermark twice"]
    test.switch_page("views/log.py").run()
    assert any("a &lt;b&gt;watermark twice" in str(part.value) for part in test.get("html"))
    audit.export(tmp_path / "all.csv", "all")
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        noted = {row["key"]: row["note"] for row in csv.DictReader(file) if row["note"]}
    assert noted == {audit.columns.keys_of(np.array([first]))[0]: "a <b>watermark twice"}


def test_a_note_is_shown_again_kept_changed_and_taken_out(page, audit) -> None:
    test = page("review")
    row = flagged_rows(audit)[0]
    note_field(test).set_value("why").run()
    decide_button(test, "remove").click().run()

    def again(decision: str) -> list[str | None]:
        test.button(key="review_previous").click().run()
        decide_button(test, decision).click().run()
        return audit.columns.notes_of(np.array([row]))

    assert again("unsure") == ["why"]
    test.button(key="review_previous").click().run()
    assert note_field(test).value == "why"
    audit.decide_rows(np.array([row]), 3, who="bob", note="bob's")  # what stands is as it was seen
    decide_button(test, "unsure").click().run()
    assert audit.columns.notes_of(np.array([row])) == ["bob's"]
    test.button(key="review_previous").click().run()
    note_field(test).set_value("").run()
    decide_button(test, "keep").click().run()
    assert audit.columns.notes_of(np.array([row])) == [None]


def test_a_note_that_a_colleague_leaves_meanwhile_is_seen_and_stays(page, audit) -> None:
    test = page("review")
    row = flagged_rows(audit)[0]
    audit.decide_rows(np.array([row]), 2, who="bob", note="watermark seen")
    decide_button(test, "keep").click().run()
    assert "decided meanwhile: remove, by bob; press again to overrule" in words(test)
    assert note_field(test).value == "watermark seen"
    decide_button(test, "keep").click().run()
    assert audit.pairs(f"row = {row}").select(["decision", "note"]).to_pylist() == [
        {"decision": "keep", "note": "watermark seen"}
    ]


def test_undo_where_no_pair_is_left_shows_the_pair_again(page, audit) -> None:
    test = page("review", decided="undecided")
    rows = np.array(flagged_rows(audit))
    decide_button(test, "keep").click().run()
    audit.decide_rows(rows[1:], 1, who="bob")
    del test.session_state["review"]  # as a filter that was changed and changed back
    test.run()
    assert "Keep  `K`" not in [button.label for button in test.button]
    test.button(key="review_undo").click().run()
    assert audit.pairs(f"row = {rows[0]}")["decision"].to_pylist() == [""]
    assert not decide_button(test, "keep").disabled


def test_undo_in_a_review_takes_back_what_was_decided_there_alone(page, audit) -> None:
    test = page("groups")
    (group, *_) = Explorer(audit).preview(audit.state.applied_params()).groups.groups
    test.button(key=f"all_unsure_group_{group.medoid}").click().run()
    test.switch_page("views/review.py").run()
    assert test.button(key="review_undo").disabled
    test.button(key="review_next").click().run()
    decide_button(test, "keep").click().run()
    test.button(key="review_undo").click().run()
    rows = ", ".join(map(str, Explorer(audit).rows[group.positions]))
    assert set(audit.pairs(f"row IN ({rows})")["decision"].to_pylist()) == {"unsure"}
    assert [action.kind for action in audit.history(limit=2)] == ["undo", "decide"]


def test_a_pair_is_told_without_numbers_that_are_none_and_with_all_it_says(page, audit) -> None:
    params = audit.state.applied_params()
    audit.split(type(params)(**params.to_dict() | {"q": 1, "recheck": False}))
    preview = Explorer(audit).preview(audit.state.applied_params())
    (position,) = preview.coarse.probe
    pair = {"key": "k", "caption": "word " * 2000 + "banana", "poisoned": None, "image": None}
    pair |= {"image_offset": None, "image_size": None}
    told = pair_view.large(preview, int(position), pair, "")
    assert np.isnan(preview.z.values[position])
    assert "z –: how much" in told
    assert "nan" not in told.replace("banana", "")
    assert "banana" in told
    nothing = replace(preview, gamma_z=replace(preview.gamma_z, value=np.inf))
    assert "nothing is flagged" in pair_view.large(nothing, int(position), pair, "")


def test_the_last_decision_of_a_control_sample_can_be_undone(page, audit) -> None:
    explorer = Explorer(audit)
    control = explorer.preview(audit.state.applied_params()).draw_control(10)
    pending = control.pending(explorer.decisions)
    explorer.decide(pending[1:], 1)
    test = page("review")
    test.segmented_control(key="review_order").set_value("control").run()
    assert held(test).row == explorer.rows[pending[0]]
    decide_button(test, "keep").click().run()
    assert "The control sample is done" in words(test)
    test.button(key="review_undo").click().run()
    assert held(test).row == explorer.rows[pending[0]]
    assert audit.pairs(f"row = {explorer.rows[pending[0]]}")["decision"].to_pylist() == [""]


def test_a_queue_goes_round_once_and_ends(page, audit) -> None:
    flagged = flagged_rows(audit)
    explorer = Explorer(audit)
    explorer.decide(explorer.positions_of(np.array(flagged[2:])), 3)
    test = page("review")
    test.button(key="review_next").click().run()
    decide_button(test, "remove").click().run()
    assert held(test).at == 0  # the one that was passed over
    decide_button(test, "remove").click().run()
    assert "Every pair of this queue is decided" in test.success[0].value
    assert decide_button(test, "keep").disabled
    before = len(audit.history())
    test.button(key="review_previous").click().run()
    assert not test.success
    assert len(audit.history()) == before


def test_the_learned_order_gives_undecided_pairs_and_says_why(page, audit) -> None:
    flagged = flagged_rows(audit)
    explorer = Explorer(audit)
    explorer.decide(explorer.positions_of(np.array(flagged[:3])), 2)
    test = page("review")
    test.segmented_control(key="review_order").set_value("learned").run()
    assert not test.exception
    queue = held(test)
    assert not set(queue.rows) & set(flagged[:3])
    assert len(queue.reasons) == len(queue.rows)
    assert "so far" in queue.note


def test_a_filter_that_matches_nothing_is_told(page, audit) -> None:
    test = page("pairs")
    test.text_input(key="text").set_value("no such words").run()
    assert "No pair matches" in words(test)


def opened(page, row: int):
    test = page("pairs")
    test.selectbox(key="sort").set_value(("z", False)).run()
    return trigger(test, "cfbd_cards", "open", row)


def test_a_card_opens_its_pair_and_leads_to_its_review_within_the_filter(page, audit) -> None:
    flagged = flagged_rows(audit)
    row = flagged[3]
    test = page("review")
    test.segmented_control(key="review_order").set_value("control").run()
    test.switch_page("views/pairs.py").run()
    test = trigger(test, "cfbd_cards", "open", row)
    assert not test.exception
    assert any(f'data-shown="{row}"' in str(part.proto.body) for part in test.get("html"))
    test.button(key="review_from_here").click().run()
    test.switch_page("views/review.py").run()  # as a browser does, which runs the opened pair alone
    assert not test.exception
    assert test.segmented_control(key="review_order").value == "filter"
    queue = held(test)
    assert (queue.row, sorted(queue.rows)) == (row, sorted(flagged))
    assert queue.at > 0  # in the filter's order
    decide_button(test, "keep").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["keep"]
    assert held(test).row != row  # the review goes on from there


@pytest.mark.parametrize("kind", ["image", "caption"])
def test_a_card_leads_to_the_pairs_that_are_like_it(page, audit, kind) -> None:
    row = flagged_rows(audit)[2]
    test = opened(page, row)
    test.button(key=f"like_it_{kind}").click().run()
    assert not test.exception
    (key,) = audit.columns.keys_of(np.array([row]))
    assert address(test)["like"] == f"{kind}:{key}"
    assert cards(test)[0]["row"] == row
    assert len(cards(test)) == 60
    assert "review_from_here" not in [button.key for button in test.button]  # it is closed


def test_a_pair_is_opened_once(page, audit) -> None:
    test = opened(page, flagged_rows(audit)[0])
    assert "review_from_here" in [button.key for button in test.button]
    test.run()
    assert "review_from_here" not in [button.key for button in test.button]


# --- two people ----------------------------------------------------------------------------------------


def test_a_key_on_a_pair_that_someone_decided_meanwhile_is_told_and_overrules_when_pressed_again(
    page, audit
) -> None:
    test = page("review")
    row = flagged_rows(audit)[0]
    audit.decide_rows(np.array([row]), 1, who="bob *b*")
    decide_button(test, "remove").click().run()
    assert not test.exception
    assert "decided meanwhile: keep, by bob *b*; press again to overrule" in words(test)
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["keep"]
    assert (held(test).row, held(test).made) == (row, 0)
    decide_button(test, "remove").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["remove"]
    assert held(test).at == 1


def test_a_card_of_a_pair_that_someone_decided_meanwhile_is_told_and_overrules_when_pressed_again(
    page, audit
) -> None:
    test = page("pairs")
    row = flagged_rows(audit)[0]
    audit.decide_rows(np.array([row]), 3, who="bob")
    test = press(test, "remove", row)
    assert "decided meanwhile: unsure, by bob; press again to overrule" in words(test)
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["unsure"]
    test = press(test, "remove", row)
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["remove"]


def test_presses_that_are_told_together_or_again_are_stored_once_each(page, audit) -> None:
    test = page("pairs")
    first, second, *_ = cards(test)
    presses = [
        {"id": str(number), "row": card["row"], "key": card["key"], "decision": "keep", "seen": ""}
        for number, card in enumerate((first, second))
    ]
    test = trigger(test, "cfbd_cards", "decide", presses[:1])
    test = trigger(test, "cfbd_cards", "decide", presses)
    rows = (first["row"], second["row"])
    assert set(audit.pairs(f"row IN {rows}")["decision"].to_pylist()) == {"keep"}
    assert len(audit.history()) == 2
    assert [given["done"] for given in data_of(test, "cfbd_cards")] == [["0", "1"]]


@pytest.fixture
def stopped_after_the_store(monkeypatch) -> None:
    """Streamlit ends the run at the first thing that is asked of it after a decision is stored."""
    decide = Explorer.decide

    def then_stopped(self, *given, **options):
        done = decide(self, *given, **options)
        get_script_run_ctx().script_requests.request_stop()
        return done

    monkeypatch.setattr(Explorer, "decide", then_stopped)


def test_a_decision_by_key_whose_run_is_stopped_can_be_undone(page, audit, stopped_after_the_store) -> None:
    test = page("review")
    row = held(test).row
    decide_button(test, "remove").click().run()
    assert audit.pairs(f"row = {row}")["decision"].to_pylist() == ["remove"]
    test.run()
    assert (held(test).at, held(test).made) == (1, 1)
    test.button(key="review_undo").click().run()
    assert (held(test).row, audit.pairs(f"row = {row}")["decision"].to_pylist()) == (row, [""])


def test_decisions_on_cards_and_on_many_whose_runs_are_stopped_can_be_undone(
    page, audit, stopped_after_the_store
) -> None:
    test = page("pairs")
    row, *_ = flagged = flagged_rows(audit)
    press(test, "unsure", row)
    test.run()
    assert [given["done"] for given in data_of(test, "cfbd_cards")] != [[]]
    test.button(key="all_keep_filter").click().run()
    test.run()
    for _ in range(2):
        test.button(key="undo_button").click().run()
    assert set(audit.pairs(f"row IN {tuple(flagged)}")["decision"].to_pylist()) == {""}
    assert [action.kind for action in audit.history()] == ["undo", "undo", "decide", "decide"]


def test_a_bulk_decision_tells_how_many_were_decided_meanwhile(page, audit) -> None:
    test = page("pairs")
    flagged = flagged_rows(audit)
    audit.decide_rows(np.array([*flagged[:2], 0]), 2, who="bob")  # the row 0 is not among them
    test.button(key="all_unsure_filter").click().run()
    assert "on 2 of them someone had decided meanwhile" in words(test)
    assert set(audit.pairs(f"row IN {tuple(flagged)}")["decision"].to_pylist()) == {"unsure"}
    test.button(key="undo_button").click().run()
    assert audit.pairs(f"row IN {tuple(flagged[:2])}")["decision"].to_pylist() == ["remove"] * 2


# --- one filter ----------------------------------------------------------------------------------------


def test_a_chip_takes_its_part_out(page, audit) -> None:
    test = page("pairs")
    test.text_input(key="text").set_value("banana").run()
    labels = [button.label for button in test.button if (button.key or "").startswith("chip_")]
    assert any("removed" in label for label in labels)
    test.button(key="chip_0").click().run()
    assert test.segmented_control(key="show").value == "all"
    assert test.text_input(key="text").value == "banana"


def test_the_chip_of_a_group_says_its_number_and_words_on_every_page(page, audit) -> None:
    (group, *_) = Explorer(audit).preview(audit.state.applied_params()).groups.groups
    test = page("groups")
    assert f"#### 1. {group.name}" in words(test)
    test.button(key=f"look_{group.medoid}").click().run()
    for name in ("pairs", "review"):
        test.switch_page(f"views/{name}.py").run()
        (label,) = [button.label for button in test.button if (button.key or "").startswith("chip_0")]
        assert label.replace("\\", "") == f"group 1: {group.name}, {len(group)} pairs"
    gone = page("pairs", show="all", group="no such key")
    assert "a group that is gone" in [button.label for button in gone.button]


def test_an_address_reopens_the_filter_and_one_that_is_none_is_told(page, audit) -> None:
    test = page("pairs", show="all", text="banana", sort="consistency-up")
    assert test.segmented_control(key="show").value == "all"
    assert test.text_input(key="text").value == "banana"
    assert test.selectbox(key="sort").value == ("consistency", False)
    broken = page("pairs", c="nonsense")
    assert not broken.exception
    assert any("filter was left out" in toast.value for toast in broken.toast)


def test_what_is_like_a_pair_is_shown_nearest_first_and_that_order_goes_with_it(page, audit):
    key = audit.pairs(limit=1)["key"][0].as_py()
    test = page("pairs", show="all", like=f"caption:{key}")
    assert test.selectbox(key="sort").value == ("usual", True)
    assert "nearest first" in test.selectbox(key="sort").options
    assert cards(test)[0]["row"] == audit.columns.row_of(key)
    test.selectbox(key="sort").set_value(("consistency", True)).run()
    assert address(test)["sort"] == "consistency-down"
    test.selectbox(key="sort").set_value(("usual", True)).run()
    assert "sort" not in address(test)
    test.button(key="chip_0").click().run()
    assert test.selectbox(key="sort").value == ("z", True)
    assert "nearest first" not in test.selectbox(key="sort").options


def test_an_outline_of_a_map_that_is_gone_is_told_and_selects_nothing(page, audit):
    test = page("pairs", show="all", lasso="captions@20260101T000000.000000:-2,-2;2,-2;2,2;-2,2")
    assert not test.exception
    assert "**0** pairs match" in words(test)
    assert "no longer there" in words(test)
    (chip,) = [button for button in test.button if (button.key or "").startswith("chip_")]
    assert "map that is gone" in chip.label
    chip.click().run()
    assert "no longer there" not in words(test)


def test_a_view_is_saved_opened_and_taken_out(page, audit) -> None:
    test = page("pairs")
    test.text_input(key="text").set_value("banana").run()
    test.text_input(key="view_name").set_value(" my <b>view ").run()
    test.button(key="save_view").click().run()
    sliders = {"k": "2", "gamma": "0.9", "q": "8", "gamma_z": "auto"}
    assert audit.views.saved() == {"my <b>view": sliders | {"text": "banana"}}
    test.text_input(key="text").set_value("").run()
    test.button(key="view_0").click().run()
    assert test.text_input(key="text").value == "banana"
    test.button(key="forget_0").click().run()
    assert audit.views.saved() == {}


def test_a_view_sets_its_sliders_and_an_older_one_leaves_them(page, audit):
    audit.views.save("old", {"text": "banana"})
    audit.views.save("bad", {"text": "green", "q": "100000", "k": "2"})
    test = page("pairs", k="3", gamma="0.8", q="10", gamma_z="0.25", collapse_duplicates="1")
    saved = test.session_state["params"]
    test.text_input(key="view_name").set_value("mine").run()
    test.button(key="save_view").click().run()
    test.session_state["params"] = SplitParams(k=2, q=9)
    test.button(key="view_0").click().run()
    assert test.text_input(key="text").value == "banana"
    assert test.session_state["params"] == SplitParams(k=2, q=9)
    test.button(key="view_1").click().run()
    assert "q = 100000" in words(test)
    assert test.text_input(key="text").value == "banana"
    test.button(key="view_2").click().run()
    assert test.session_state["params"] == saved
    assert test.session_state["params"] == saved
    assert test.text_input(key="text").value == ""


def test_a_view_is_replaced_only_when_that_is_asked_for(page, audit):
    audit.views.save("mine", {"text": "banana"})
    test = page("pairs", text="green")
    test.text_input(key="view_name").set_value("mine").run()
    test.button(key="save_view").click().run()
    assert audit.views.saved() == {"mine": {"text": "banana"}}
    assert "There is a view called mine" in words(test)
    test.button(key="replace_view").click().run()
    assert audit.views.saved()["mine"]["text"] == "green"
    assert "There is a view" not in words(test)


@pytest.mark.parametrize("decision", ["keep", ""])
def test_all_that_match_are_decided_on_at_once_under_their_filter(page, audit, decision) -> None:
    explorer = Explorer(audit)
    explorer.decide(np.arange(5), 3)
    test = page("pairs")
    test.segmented_control(key="show").set_value("all").run()
    test.pills(key="decided").set_value(["unsure"]).run()
    assert "**5** pairs match" in words(test)
    test.button(key=f"all_{decision or 'clear'}_filter").click().run()
    rows = ", ".join(map(str, explorer.rows[:5]))
    assert set(audit.pairs(f"row IN ({rows})")["decision"].to_pylist()) == {decision}
    (action, *_) = audit.history(limit=1)
    assert action.filter == {"show": "all", "decided": "unsure"}


# --- what is taken home --------------------------------------------------------------------------------


def test_all_that_match_are_downloaded_as_the_filter_orders_them(page, root, audit):
    test = page("pairs", show="all", sort="consistency-down", k="2", gamma="0.9", q="9", gamma_z="0.1")
    assert not test.get("download_button")
    test.toggle(key="selection_safe").set_value(True).run()
    test.button(key="selection_prepare").click().run()
    assert not test.exception
    (button,) = test.get("download_button")
    assert button.label.startswith("Download selection")
    (out,) = (root / "exports" / "toy").glob("selection-*.csv")
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    explorer = Explorer(audit)
    preview = explorer.preview(SplitParams(k=2, q=9, gamma_z=0.1, gamma_z_rule="manual"))
    positions = PairFilter(show="all", sort="consistency").positions(preview)
    assert [row["key"] for row in rows] == audit.columns.keys_of(explorer.rows[positions])
    assert [row["verdict"] == "poisoned" for row in rows] == preview.flagged[positions].tolist()
    assert audit.state.applied_params() == SplitParams(k=2, q=8)
    assert "before later decisions" not in words(test)
    test.text_input(key="text").set_value("banana").run()
    assert not test.get("download_button")  # of other pairs


def test_a_prepared_file_stays_while_others_decide_and_gives_way_to_the_next(page, root, audit):
    test = page("pairs")
    test.button(key="selection_prepare").click().run()
    (first,) = (root / "exports" / "toy").glob("selection-*.csv")
    flagged = flagged_rows(audit)
    audit.decide_rows(np.array(flagged[:1]), 1, who="bob")
    test.run()
    assert f"**{len(flagged) - 1}** pairs match" in words(test)
    assert len(test.get("download_button")) == 1
    assert "before later decisions" in words(test)
    assert len(list(csv.DictReader(first.read_text(encoding="utf-8").splitlines()))) == len(flagged)
    audit.decide_rows(np.array(flagged[1:]), 1, who="bob")
    test.run()
    assert len(test.get("download_button")) == 1  # nothing matches now; the file is there still
    audit.undo(who="bob")
    test.run()
    test.button(key="selection_prepare").click().run()
    assert not test.exception
    assert "before later decisions" not in words(test)
    (second,) = (root / "exports" / "toy").glob("selection-*.csv")
    assert second != first
    assert not first.with_name(f"{first.name}.json").exists()
    assert len(list(csv.DictReader(second.read_text(encoding="utf-8").splitlines()))) == len(flagged) - 1
