"""What takes seconds is made in the background: its page says so meanwhile, and can be used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from app.waiting import previews
from cfbd_core import SplitParams
from cfbd_core.errors import AuditError
from cfbd_core.review import learner
from cfbd_core.workbench import explorer, scored_pairs
from cfbd_core.workbench import preview as preview_module
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.likeness import Like
from tests.app.conftest import VIEWS, address, alter, decide_button, make_audit, metrics, words, write_source


class Gate:
    """Lets what is slow wait until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def before(self, make):
        def waiting(*args, **options):
            assert self.opened.wait(60)
            return make(*args, **options)

        return waiting


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()  # a thread that a test has left may go on


def when_there(test, said: str) -> None:
    """Run the page again, as a browser would, until it says no more that it waits."""
    deadline = time.monotonic() + 60
    while said in words(test) and time.monotonic() < deadline:
        time.sleep(0.05)
        test.run()
    assert not test.exception
    assert said not in words(test)


def test_a_link_to_a_group_is_grouped_meanwhile_on_every_page_that_filters(
    page, audit, monkeypatch, gate
) -> None:
    (group, *_) = Explorer(audit).preview(audit.state.applied_params()).groups.groups
    monkeypatch.setattr(preview_module, "group_pairs", gate.before(preview_module.group_pairs))
    test = page("pairs", group=group.id, show="all")
    for name in ("pairs", "review", "groups"):
        test.switch_page(f"views/{name}.py").run()
        assert not test.exception
        assert "Grouping the flagged pairs" in words(test)
        assert group.id not in "".join(button.label for button in test.button)
    test.switch_page("views/pairs.py").run()
    assert test.text_input(key="text").value == ""  # usable
    gate.opened.set()
    when_there(test, "Grouping the flagged pairs")
    assert f"**{len(group)}** pairs match" in words(test)
    test.switch_page("views/review.py").run()
    assert len(test.session_state["review"]) == len(group)


@pytest.mark.parametrize(
    ("query", "made_by", "name", "said"),
    [
        ({"like": "caption:k<b>:tada:0005"}, Like, "of_pairs", "Looking for the nearest pairs"),
        ({"text": "banana"}, Explorer, "search", "Searching the captions"),
    ],
)
def test_searches_are_made_meanwhile(page, audit, monkeypatch, gate, query, made_by, name, said) -> None:
    monkeypatch.setattr(made_by, name, gate.before(getattr(made_by, name)))
    test = page("pairs", show="all", **query)
    assert not test.exception
    assert said in words(test)
    gate.opened.set()
    when_there(test, said)
    assert "pairs match" in words(test)


def test_duplicates_are_looked_for_meanwhile(page, audit, monkeypatch, gate) -> None:
    monkeypatch.setattr(scored_pairs, "exact_duplicates", gate.before(scored_pairs.exact_duplicates))
    test = page("duplicates")
    assert not test.exception
    assert "Looking for duplicates" in words(test)
    gate.opened.set()
    when_there(test, "Looking for duplicates")
    assert test.toggle(key="collapse").value is False


@pytest.mark.parametrize("name", [name for name in VIEWS if name not in ("audits", "train")])
def test_a_link_that_collapses_duplicates_is_worked_out_meanwhile(
    page, audit, monkeypatch, gate, name
) -> None:
    monkeypatch.setattr(previews, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(scored_pairs, "exact_duplicates", gate.before(scored_pairs.exact_duplicates))
    test = page(name, collapse_duplicates="1", k="2", q="8")
    assert not test.exception
    assert not test.error
    assert words(test).count(previews.WORDS) == (1 if name in ("log", "duplicates") else 2)
    assert address(test)["collapse_duplicates"] == "1"
    gate.opened.set()
    when_there(test, previews.WORDS)
    assert "duplicates once" in words(test)
    assert not test.error


def test_sliders_can_be_moved_while_what_they_find_is_worked_out(page, audit, monkeypatch, gate) -> None:
    monkeypatch.setattr(previews, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(explorer, "textual_correlation", gate.before(explorer.textual_correlation))
    test = page("coarse", k="2", q="8")
    assert previews.WORDS in words(test)
    test.slider(key="slider_q").set_value(12).run()
    test.slider(key="slider_k").set_value(3).run()
    test.switch_page("views/fine.py").run()
    assert test.slider(key="slider_gamma_z").disabled  # a rule sets it, and it is not known yet
    stood = test.slider(key="slider_gamma_z").value
    test.segmented_control(key="gamma_z_rule").set_value("manual").run()
    assert not test.slider(key="slider_gamma_z").disabled
    assert test.slider(key="slider_gamma_z").value == test.session_state["params"].gamma_z == stood
    test.slider(key="slider_gamma_z").set_value(0.4).run()
    assert test.session_state["params"] == SplitParams(k=3, q=12, gamma_z=0.4, gamma_z_rule="manual")
    gate.opened.set()
    when_there(test, previews.WORDS)
    assert metrics(test)["Top-q D_p"] == "12"
    assert not test.slider(key="slider_gamma_z").disabled


def test_sliders_that_leave_too_few_distinct_pairs_are_fitted_and_that_is_told(
    page, root, mapping, monkeypatch
) -> None:
    source = write_source(root / "zoo", poisons=(5, 25), pairs=40)
    head, *rows = source.read_text(encoding="utf-8").splitlines()
    copies = [row.replace("k<b>", f"c{number}", 1) for number in range(3) for row in rows[:10]]
    source.write_text("\n".join([head, *rows, *copies]), encoding="utf-8")
    make_audit(root / "audits" / "zoo", source, mapping)
    test = page("coarse", audit="audits/zoo", collapse_duplicates="1", k="2", q="60")
    assert metrics(test)["Pairs"] == "70"
    assert "too few distinct pairs" in words(test)
    assert test.session_state["params"].q == 4
    assert address(test)["q"] == "4"


def test_scores_that_cannot_be_split_are_told_once(page, audit) -> None:
    alter(audit, "UPDATE scores SET consistency = 0.5")
    test = page("coarse")
    assert not test.exception
    assert len(test.error) == 1
    assert previews.WORDS not in words(test)
    assert words(test).count("nothing to split") == 1


def test_what_cannot_be_found_after_a_while_is_told_and_not_tried_again_by_itself(
    page, audit, monkeypatch, gate
) -> None:
    calls = []

    def too_few(*_args: object) -> None:
        calls.append(1)
        raise AuditError("too few of them")

    monkeypatch.setattr(previews, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(explorer.Explorer, "preview", gate.before(too_few))
    test = page("coarse")
    assert previews.WORDS in words(test)
    gate.opened.set()
    for _ in range(100):
        if test.error:
            break
        time.sleep(0.02)
        test.run()
    assert [error.value for error in test.error] == ["too few of them"]
    assert calls == [1]
    assert previews.WORDS not in words(test)


def test_the_learned_order_is_learned_meanwhile_and_anew_for_each_queue(
    page, audit, monkeypatch, gate
) -> None:
    calls, said, real = [], "Learning from the decisions so far", learner.learn
    monkeypatch.setattr(
        "app.pairs.review_order.learn", gate.before(lambda *args: calls.append(1) or real(*args))
    )
    test = page("review")
    test.segmented_control(key="review_order").set_value("learned").run()
    assert not test.exception
    assert said in words(test)
    audit.decide_rows(np.array([0]), 1, who="bob")  # learning goes on
    test.segmented_control(key="review_order").set_value("filter").run()
    assert not decide_button(test, "keep").disabled  # usable
    test.segmented_control(key="review_order").set_value("learned").run()
    gate.opened.set()
    when_there(test, said)
    assert calls == [1]
    queue = test.session_state["review"]
    audit.decide_rows(queue.rows[1:], 2, who="bob")
    decide_button(test, "keep").click().run()
    when_there(test, said)
    assert calls == [1, 1]
    assert not np.isin(test.session_state["review"].rows, queue.rows).any()
