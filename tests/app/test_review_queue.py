"""Where one stands in a review: next undecided pairs and counts, whoever decides, undoes or scores anew meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pairs.review_queue import ReviewQueue
from cfbd_core import Audit
from cfbd_core.workbench.explorer import Explorer


class Pairs:
    """What a queue asks of the decided pairs; counts how many rows it has looked up."""

    def __init__(self, rows: np.ndarray, decisions: np.ndarray) -> None:
        self.rows, self.decisions, self.looked_up = rows, decisions, 0

    def positions_of(self, rows: np.ndarray) -> np.ndarray:
        self.looked_up += len(rows)
        places = {row: at for at, row in enumerate(self.rows.tolist())}
        return np.array([places.get(row, -1) for row in rows.tolist()], np.int64)

    def mask_of(self, positions: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self.rows), bool)
        mask[positions[positions >= 0]] = True
        return mask


@given(st.data())
def test_next_and_count_are_literal(data) -> None:
    n = data.draw(st.integers(1, 40))
    codes = data.draw(st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=n, max_size=n))
    there = data.draw(st.lists(st.sampled_from([True, True, True, False]), min_size=n, max_size=n))
    there[data.draw(st.integers(0, n - 1))] = True  # an audit has a pair
    order = data.draw(st.permutations(range(n)))
    at = data.draw(st.integers(0, n - 1))
    rows = np.flatnonzero(there)
    pairs = Pairs(rows, np.array(codes, np.int8)[rows])
    queue = ReviewQueue("x", np.array(order[: data.draw(st.integers(1, n))]), at=0)
    queue.at = at % len(queue)
    open_ones = [place for place, row in enumerate(queue.rows) if there[row] and not codes[row]]
    later = [place for place in open_ones if place > queue.at]
    earlier = [place for place in open_ones if place < queue.at]
    before = queue.at
    assert queue.decided(pairs) == sum(1 for row in queue.rows if there[row] and codes[row])
    queue.go_on(pairs)
    assert queue.is_over == (not later and not earlier)
    assert queue.at == (later or earlier or [before])[0]
    positions = np.array(order[: len(queue)]) % len(rows)
    begun = ReviewQueue.begun("x", pairs, np.unique(positions))
    assert begun.at == next((place for place, row in enumerate(begun.rows) if not codes[row]), 0)


def test_rows_are_looked_up_once_however_many_keys_are_pressed() -> None:
    n = 5000
    pairs = Pairs(np.arange(n), np.zeros(n, np.int8))
    queue = ReviewQueue.begun("x", pairs, np.arange(n)[::-1])
    for _ in range(20):
        decisions = pairs.decisions.copy()
        decisions[queue.position(pairs)] = 1
        pairs.decisions = decisions
        queue.go_on(pairs)
    assert (queue.at, queue.decided(pairs)) == (20, 20)
    assert pairs.looked_up == 0
    pairs.rows = pairs.rows.copy()  # scored anew
    for _ in range(20):
        queue.go_on(pairs)
    assert pairs.looked_up == n


def test_long_runs_of_decided_pairs_are_passed_over() -> None:
    n = 5000
    decisions = np.ones(n, np.int8)
    decisions[[7, 4321]] = 0
    queue = ReviewQueue.begun("x", Pairs(np.arange(n), decisions), np.arange(n))
    assert queue.at == 7
    queue.go_on(Pairs(np.arange(n), decisions))
    assert queue.at == 4321


def test_decisions_of_another_session_and_their_undo_count(own: Audit) -> None:
    mine, other = Explorer(own), Explorer(Audit.open(own.folder))
    queue = ReviewQueue("x", mine.rows[:6])
    done = other.decide(np.array([1, 2, 50]), 1)
    mine.refresh_decisions()
    assert queue.decided(mine) == 2
    queue.go_on(mine)
    assert queue.at == 3
    other.undo(done.id)
    mine.refresh_decisions()
    assert queue.decided(mine) == 0
    queue.go(-3)
    queue.go_on(mine)
    assert queue.at == 1


def test_pairs_that_moved_or_went_are_found_where_they_are_now() -> None:
    before, after = (
        Pairs(np.arange(10), np.zeros(10, np.int8)),
        Pairs(np.arange(5, 20), np.zeros(15, np.int8)),
    )
    queue = ReviewQueue("x", np.array([3, 7, 9]))
    assert queue.position(before) == 3
    after.decisions[2] = 1
    assert queue.position(after) == -1
    assert queue.decided(after) == 1
    queue.go_on(after)
    assert queue.row == 9
    assert queue.position(after) == 4


@pytest.mark.parametrize(("row", "at"), [(9, 2), (4, 1)])
def test_going_to_a_row(row, at) -> None:
    queue = ReviewQueue("x", np.array([3, 7, 9]), at=1, is_over=True)
    queue.go_to(row)
    assert (queue.at, queue.is_over) == (at, False)


def test_back_from_the_end_shows_the_last_pair_and_what_was_undone_comes_in_where_one_stands() -> None:
    pairs = Pairs(np.arange(6), np.zeros(6, np.int8))
    queue = ReviewQueue.begun("x", pairs, np.array([2, 4]), ["a", "b"])
    pairs.decisions[[2, 4]] = 1
    queue.go_on(pairs)
    assert queue.is_over
    queue.at = 1
    queue.go(-1)
    assert (queue.at, queue.is_over) == (1, False)
    queue.go_to(5)
    assert (queue.rows.tolist(), list(queue.reasons)) == ([2, 5, 4], ["a", "", "b"])
    assert (queue.row, queue.position(pairs), queue.decided(pairs)) == (5, 5, 2)
