"""What is left, in the app: drawn, extended, reviewed, told on the pages Review and Export."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from app.waiting import aside, background
from cfbd_core.review.left import CONTROL_NAME
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.preview import Preview
from tests.app.conftest import PAIRS, decide_button, words


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """Wait for what is made in the background: a test has no browser that looks again."""
    monkeypatch.setattr(background, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(aside, "WAIT_SECONDS", 60.0)


def in_order(test, order: str):
    return test.segmented_control(key="review_order").set_value(order).run()


def test_a_sample_is_drawn_and_reviewed_and_the_numbers_follow(page, audit):
    test = in_order(page("review"), "control")
    assert "No control sample yet" in words(test)
    test.button(key="left_draw_review").click().run()
    assert not test.exception
    preview = Explorer(audit).preview(audit.state.applied_params())
    control = preview.what_is_left().control
    assert test.session_state["review"].rows.tolist() == preview.pairs.rows[control.order].tolist()
    assert f"from {PAIRS} random pairs, 0 looked at" in words(test)  # the toy has fewer than 260
    decide_button(test, "keep").click().run()
    decide_button(test, "unsure").click().run()
    assert f"from {PAIRS} random pairs, 2 looked at, 1 of them unsure" in words(test)
    assert Explorer(audit).decisions[control.order[:2]].tolist() == [1, 3]


def test_more_is_drawn_from_the_panel_and_the_queue_takes_it(page, audit):
    explorer = Explorer(audit)
    explorer.preview(audit.state.applied_params()).draw_control(30)
    test = in_order(page("review"), "control")
    assert len(test.session_state["review"].rows) == 30
    test.button(key="left_more_review").click().run()
    assert len(test.session_state["review"].rows) == 130
    assert "from 130 random pairs, 0 looked at" in words(test)
    assert "more" not in [toggle.label for toggle in test.toggle]
    test.toggle(key="left_needed_review").set_value(True).run()
    assert "Reviews to say how many poisons are left" in words(test)


def test_the_learned_order_mixes_the_sample_in(page, audit):
    control = Explorer(audit).preview(audit.state.applied_params()).draw_control(60)
    test = in_order(page("review"), "learned")
    assert not test.exception
    queue = test.session_state["review"]
    at_random = [row for row, why in zip(queue.rows, queue.reasons, strict=True) if why.startswith("drawn")]
    assert 0 < len(at_random) < len(queue.rows)
    assert np.isin(at_random, Explorer(audit).rows[control.order]).all()


def test_used_up_a_learned_queue_is_made_anew(page, audit):
    test = in_order(page("review"), "learned")
    first = test.session_state["review"].rows
    explorer = Explorer(audit)
    at = explorer.positions_of(first)
    explorer.decide(at[1:], 1)
    decide_button(test, "keep").click().run()
    assert not test.exception
    assert not np.isin(test.session_state["review"].rows, first).any()


def test_a_sample_that_is_done_says_so(page, audit):
    explorer = Explorer(audit)
    control = explorer.preview(audit.state.applied_params()).draw_control(10)
    explorer.decide(control.order, 1)
    test = in_order(page("review"), "control")
    assert "The control sample is done" in words(test)
    assert not test.button(key="left_more_review").disabled


def test_the_export_page_tells_it_with_the_reviews_needed(page, audit):
    test = page("export")
    assert "What is left" in words(test)
    test.button(key="left_draw_export").click().run()
    assert not test.exception
    assert "poisons are left among the" in words(test)
    assert "Reviews to say how many poisons are left" in words(test)


def test_sliders_that_moved_since_are_told_and_a_new_sample_offered(page, audit):
    Explorer(audit).preview(audit.state.applied_params()).draw_control(40)
    test = page("export", gamma_z="-0.2", k="2", q="8")
    assert "changed sides since the sample was drawn" in " ".join(info.value for info in test.info)
    test.button(key="left_draw_export").click().run()
    assert not any("changed sides" in info.value for info in test.info)


def test_a_damaged_sample_is_told_and_drawn_anew(page, audit):
    path = audit.folder / CONTROL_NAME
    path.parent.mkdir()
    path.write_bytes(b"none")
    test = page("export")
    assert "damaged" in words(test)
    test.button(key="left_draw_export").click().run()
    assert "damaged" not in words(test)
    path.write_bytes(b"none")
    assert not in_order(page("review"), "control").exception


def test_the_numbers_are_worked_out_once_for_what_they_depend_on(page, audit, monkeypatch):
    Explorer(audit).preview(audit.state.applied_params()).draw_control(60)
    calls, real = [], Preview.what_is_left
    monkeypatch.setattr(Preview, "what_is_left", lambda self: calls.append(1) or real(self))
    test = in_order(page("review"), "control")
    assert len(calls) == 1
    for key in ("review_next", "review_next", "review_previous"):
        test.button(key=key).click().run()
    assert len(calls) == 1
    decide_button(test, "keep").click().run()
    assert len(calls) == 2
    assert "1 looked at" in words(test)


def test_a_key_does_not_wait_for_the_numbers(page, audit, monkeypatch):
    Explorer(audit).preview(audit.state.applied_params()).draw_control(60)
    test = in_order(page("review"), "control")
    go = threading.Event()
    real = Preview.what_is_left
    monkeypatch.setattr(Preview, "what_is_left", lambda self: (go.wait(60), real(self))[1])
    monkeypatch.setattr(aside, "WAIT_SECONDS", 0.0)
    try:
        decide_button(test, "keep").click().run()
        assert test.session_state["review"].at == 1
        assert "0 looked at" in words(test)  # as before, until the new ones are there
        assert "Working out what is left" in words(test)
    finally:
        go.set()
    monkeypatch.setattr(aside, "WAIT_SECONDS", 60.0)
    test.run()
    assert "1 looked at" in words(test)
    assert "Working out" not in words(test)
