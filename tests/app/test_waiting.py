"""What takes seconds is made in the background: its page says so meanwhile, and can be used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from cfbd_core import explorer
from cfbd_core import preview as preview_module
from cfbd_core.explorer import Explorer
from cfbd_core.review import learner
from tests.app.conftest import decide_button, words


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
    (group, *_) = Explorer(audit).preview(audit.applied_params()).groups.groups
    monkeypatch.setattr(preview_module, "group_pairs", gate.before(preview_module.group_pairs))
    test = page("pairs", group=group.id, show="all")
    for name in ("pairs", "review", "groups"):
        test.switch_page(f"views/{name}.py").run()
        assert not test.exception
        assert "Grouping the flagged pairs" in words(test)
    test.switch_page("views/pairs.py").run()
    assert test.text_input(key="text").value == ""  # usable
    gate.opened.set()
    when_there(test, "Grouping the flagged pairs")
    assert f"**{len(group)}** pairs match" in words(test)
    test.switch_page("views/review.py").run()
    assert len(test.session_state["review"]) == len(group)


@pytest.mark.parametrize(
    ("query", "name", "said"),
    [
        ({"like": "caption:k<b>:tada:0005"}, "likeness", "Looking for the nearest pairs"),
        ({"text": "banana"}, "search", "Searching the captions"),
    ],
)
def test_searches_are_made_meanwhile(page, audit, monkeypatch, gate, query, name, said) -> None:
    monkeypatch.setattr(Explorer, name, gate.before(getattr(Explorer, name)))
    test = page("pairs", show="all", **query)
    assert not test.exception
    assert said in words(test)
    gate.opened.set()
    when_there(test, said)
    assert "pairs match" in words(test)


def test_duplicates_are_looked_for_meanwhile(page, audit, monkeypatch, gate) -> None:
    monkeypatch.setattr(explorer, "exact_duplicates", gate.before(explorer.exact_duplicates))
    test = page("duplicates")
    assert not test.exception
    assert "Looking for duplicates" in words(test)
    gate.opened.set()
    when_there(test, "Looking for duplicates")
    assert test.toggle(key="collapse").value is False


def test_the_learned_order_is_learned_meanwhile_and_anew_for_each_queue(
    page, audit, monkeypatch, gate
) -> None:
    calls, said, real = [], "Learning from the decisions so far", learner.learn
    monkeypatch.setattr("app.review_order.learn", gate.before(lambda *args: calls.append(1) or real(*args)))
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
