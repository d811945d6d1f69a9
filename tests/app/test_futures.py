"""Works by name: begun once, the last ones kept, what nobody wants any more not begun."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.waiting.futures import Futures


class Worker:
    """One thread that is busy until ``go`` is set."""

    def __init__(self) -> None:
        self.go, self.made = threading.Event(), []
        self.pool = ThreadPoolExecutor(1)

    def make(self, name: str):
        def made() -> str:
            assert self.go.wait(30)
            self.made.append(name)
            return name.upper()

        return made


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.go.set()
    made.pool.shutdown()


def test_a_work_is_begun_once_and_made_again_only_when_it_is_forgotten(worker) -> None:
    held = Futures(4)
    first = held.ask("a", worker.make("a"), worker.pool)
    assert held.ask("a", worker.make("a"), worker.pool) is first
    worker.go.set()
    assert first.result(30) == "A"
    held.forget("a")
    held.forget("a")
    assert held.get("a") is None
    assert held.ask("a", worker.make("a"), worker.pool).result(30) == "A"
    assert worker.made == ["a", "a"]


def test_what_nobody_wants_is_not_begun_and_what_has_begun_stays(worker) -> None:
    held = Futures(4)
    works = {name: held.ask(name, worker.make(name), worker.pool) for name in "abc"}
    while not works["a"].running():
        pass
    held.drop_unbegun({"c"})
    assert [name for name in "abc" if held.get(name) is not None] == ["a", "c"]
    assert works["b"].cancelled()
    worker.go.set()
    assert works["c"].result(30) == "C"
    assert worker.made == ["a", "c"]


def test_the_last_that_were_asked_for_are_kept(worker) -> None:
    held = Futures(2)
    for name in "aba":
        held.ask(name, worker.make(name), worker.pool)
    held.ask("c", worker.make("c"), worker.pool)
    assert [name for name in "abc" if held.get(name) is not None] == ["a", "c"]


def test_many_threads_that_ask_at_once_begin_it_once(worker) -> None:
    held, together = Futures(4), threading.Barrier(8)

    def ask() -> object:
        together.wait(30)
        return held.ask("a", worker.make("a"), worker.pool)

    with ThreadPoolExecutor(8) as askers:
        found = [one.result(30) for one in [askers.submit(ask) for _ in range(8)]]
    worker.go.set()
    assert len(set(map(id, found))) == 1
