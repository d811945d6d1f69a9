"""What is kept is made once, whoever asks, and nobody waits for what another asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cfbd_core.machine.cache import Cache, once

WAIT = 20  # seconds, at most, for threads that need not wait for each other


def test_the_last_values_are_kept_and_older_ones_made_again() -> None:
    kept: Cache[str, object] = Cache(2)
    first, second = kept.get("a", object), kept.get("b", object)
    assert kept.get("a", object) is first
    kept.get("c", object)  # the one that was asked for longest ago goes
    assert kept.get("a", object) is first
    assert kept.get("b", object) is not second


def test_the_same_thing_asked_for_at_once_is_made_once() -> None:
    kept: Cache[str, object] = Cache(2)
    begun, go, calls = threading.Event(), threading.Event(), []

    def make() -> object:
        calls.append(1)
        begun.set()
        assert go.wait(WAIT)
        return object()

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(kept.get, "a", make) for _ in range(4)]
        assert begun.wait(WAIT)
        go.set()
        assert len({id(one.result()) for one in asked}) == len(calls) == 1


def test_other_things_need_not_wait() -> None:
    kept: Cache[str, str] = Cache(2)
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(WAIT)
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(kept.get, "a", slow)
        assert begun.wait(WAIT)
        assert kept.get("b", lambda: "quick") == "quick"
        go.set()
        assert waiting.result() == "slow"


def test_what_fails_is_told_to_all_who_wait_and_tried_again() -> None:
    kept: Cache[str, int] = Cache(2)
    begun, go = threading.Event(), threading.Event()

    def fails() -> int:
        begun.set()
        assert go.wait(WAIT)
        raise ValueError("no")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(kept.get, "a", fails)
        assert begun.wait(WAIT)
        second = threads.submit(kept.get, "a", fails)
        go.set()
        for one in (first, second):
            with pytest.raises(ValueError, match="no"):
                one.result()
    assert kept.get("a", lambda: 7) == 7


class Thing:
    def __init__(self) -> None:
        self.calls = 0
        self.begun, self.go = threading.Event(), threading.Event()

    @once
    def slow(self) -> int:
        """What it is."""
        self.calls += 1
        self.begun.set()
        assert self.go.wait(WAIT)
        return 7


def test_a_property_is_made_once_for_all_threads() -> None:
    thing = Thing()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(lambda: thing.slow) for _ in range(4)]
        assert thing.begun.wait(WAIT)
        thing.go.set()
        assert [one.result() for one in asked] == [7] * 4
    assert thing.calls == 1
    assert thing.slow == 7


def test_a_property_of_one_object_need_not_wait_for_that_of_another() -> None:
    slow, quick = Thing(), Thing()
    quick.go.set()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: slow.slow)
        assert slow.begun.wait(WAIT)
        assert quick.slow == 7
        slow.go.set()
        assert waiting.result() == 7
