"""Threads of one process on one file: they wait for one another instead of failing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store import Database, queries
from cfbd_core.store import database as database_module


@pytest.fixture
def database(tmp_path) -> Database:
    return Database.create(tmp_path / "audit.duckdb")


def held_open(database: Database, way: str, release: threading.Event) -> threading.Thread:
    """Open the file in another thread, to read or to write, until ``release``; returns once it is open."""
    opened = threading.Event()

    def hold() -> None:
        with getattr(database, way)():
            opened.set()
            release.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert opened.wait(20)
    return thread


@pytest.mark.parametrize(
    ("first", "second"), [("reading", "writing"), ("writing", "reading"), ("writing",) * 2]
)
def test_opening_waits_while_another_thread_has_it_open_the_other_way(database, first, second):
    release = threading.Event()
    holder = held_open(database, first, release)
    threading.Timer(0.2, release.set).start()
    start = time.monotonic()
    with getattr(Database(database.path), second)() as connection:
        assert time.monotonic() - start > 0.1
        assert queries.pair_count(connection) == 0
    holder.join()


def test_two_threads_read_at_once(database):
    release = threading.Event()
    holder = held_open(database, "reading", release)
    with database.reading() as connection:
        assert holder.is_alive()
        assert queries.pair_count(connection) == 0
    release.set()
    holder.join()


@pytest.mark.parametrize(
    ("first", "second"), [("reading", "writing"), ("writing", "reading"), ("writing",) * 2]
)
def test_waiting_ends_with_a_line_for_the_user(database, monkeypatch, first, second):
    monkeypatch.setattr("cfbd_core.store.database.BUSY_SECONDS", 0.2)
    release = threading.Event()
    holder = held_open(database, first, release)
    with pytest.raises(AuditError, match="another session of this app has had"), getattr(database, second)():
        pass
    release.set()
    holder.join()


def test_a_writer_that_fails_lets_the_next_one_in(database, monkeypatch):
    monkeypatch.setattr("cfbd_core.store.database.BUSY_SECONDS", 0.2)
    with pytest.raises(RuntimeError), database.writing():
        raise RuntimeError
    with database.writing() as connection:
        queries.set_meta(connection, "split", 1)


def test_threads_that_open_and_close_at_will_meet_no_error(database):
    def read(_: int) -> None:
        with database.reading() as connection:
            queries.pair_count(connection)

    def add_one(_: int) -> None:
        with Database(database.path).writing() as connection:
            queries.set_meta(connection, "count", (queries.get_meta(connection, "count") or 0) + 1)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, turn) for turn in range(20) for work in (read, add_one)]:
            done.result()
    with database.reading() as connection:
        assert queries.get_meta(connection, "count") == 20


def test_threads_open_the_file_one_after_another(database, monkeypatch):
    """A connection that a thread gets while another's first one is being made lacks DuckDB's own functions at times."""
    opening, most, connect = [], [], database_module.duckdb.connect

    def watched(*args, **options):
        opening.append(1)
        most.append(len(opening))
        time.sleep(0.01)
        try:
            return connect(*args, **options)
        finally:
            opening.pop()

    monkeypatch.setattr(database_module.duckdb, "connect", watched)

    def read(_: int) -> None:
        with database.reading() as connection:
            queries.pair_rows(connection)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(read, range(12)))
    assert max(most) == 1
