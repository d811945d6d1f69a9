"""Threads and processes on one file: they wait for one another instead of failing, and lose nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store import Database, log, queries
from cfbd_core.store import database as database_module
from cfbd_core.store.database import DuckFile
from cfbd_core.store.engines import Engine
from cfbd_core.store.file_lock import FileLock


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
    opening, most = [], []

    def watch(place, name):
        connect = getattr(place, name)

        def watched(*args, **options):
            opening.append(1)
            most.append(len(opening))
            time.sleep(0.01)
            try:
                return connect(*args, **options)
            finally:
                opening.pop()

        monkeypatch.setattr(place, name, watched)

    watch(Engine, "open")
    watch(database_module.duckdb, "connect")

    def read(_: int) -> None:
        with database.reading() as connection:
            queries.pair_rows(connection)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(read, range(12)))
    assert len(most) >= 12
    assert max(most) == 1


DECIDE = """
import sys
import numpy as np
from pathlib import Path
from cfbd_core.store import Database, acting
database, who = Database(Path(sys.argv[1])), sys.argv[2]
for turn in range(int(sys.argv[3])):
    with database.writing() as connection:
        by = acting.Provenance(who, note=f"{who} {turn}")
        print(acting.decide_rows(connection, np.array([turn % 3]), 1 + turn % 3, by).id)
"""


def test_processes_that_decide_on_one_audit_lose_nothing(database):
    with database.writing() as connection:
        connection.execute("INSERT INTO pairs (row, key, caption) SELECT i, 'k' || i, 'c' FROM range(3) t(i)")
    words = [sys.executable, "-c", DECIDE, str(database.path)]
    pipes = {"stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*words, who, "15"], **pipes) for who in ("ada", "bob", "eve")]
    told = [line for process in processes for line in process.communicate()[0].split()]
    with database.reading() as connection:
        notes = {str(action.id): action.note for action in log.history(connection)}
    assert sorted(map(int, told)) == list(range(1, 46))
    assert sorted(notes.values()) == sorted(
        f"{who} {turn}" for who in ("ada", "bob", "eve") for turn in range(15)
    )


@pytest.mark.parametrize("way", ["reading", "writing"])
def test_the_lock_is_held_from_before_the_file_is_opened_until_it_is_closed(database, monkeypatch, way):
    seen: list[bool] = []

    def is_held() -> bool:
        with ThreadPoolExecutor(1) as threads:
            try:
                threads.submit(lambda: FileLock(lock_path, "x").writing(0.05).__enter__()).result()
            except AuditError:
                return True
            return False

    lock_path = database.path.with_name("audit.duckdb.lock")
    opened, close = DuckFile._opened, DuckFile._close

    def watched_opened(*args):
        seen.append(is_held())
        return opened(*args)

    def watched_close(self, connection):
        close(self, connection)
        seen.append(is_held())

    monkeypatch.setattr(DuckFile, "_opened", watched_opened)
    monkeypatch.setattr(DuckFile, "_close", watched_close)
    with getattr(Database(database.path), way)():
        pass
    assert len(seen) >= 2
    assert all(seen)


def test_a_reader_without_our_lock_opens_again_what_changed_as_it_was_opened(database, monkeypatch):
    stamps = iter([(1,), (2,), (2,), (2,)])
    monkeypatch.setattr(FileLock, "reading", lambda *_: nullcontext(False))
    monkeypatch.setattr(Database, "_stamp_or_none", lambda _: next(stamps))
    opened = []
    connect = Engine.open
    monkeypatch.setattr(Engine, "open", lambda *a: opened.append(1) or connect(*a))
    with database.reading() as connection:
        assert queries.pair_count(connection) == 0
    assert len(opened) == 2


@pytest.mark.parametrize("is_locked_before", [True, False])
def test_an_audit_on_a_read_only_mount_is_read_and_refuses_writers(database, is_locked_before):
    lock = database.path.with_name("audit.duckdb.lock")
    if not is_locked_before:
        lock.unlink()
    script = (
        "import sys; from pathlib import Path; from cfbd_core.store import Database, queries\n"
        "database = Database(Path(sys.argv[1]))\n"
        "with database.reading() as connection: print(queries.pair_count(connection))\n"
        "try:\n    with database.writing(): print('written')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    shell = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1/audit.duckdb"'
    words = ["unshare", "-m", "sh", "-c", shell, "sh", str(database.path.parent), sys.executable, script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mount of our own here: {done.stderr.strip()[:100]}")
    assert done.stdout.startswith("0\nAuditError "), done.stderr
    assert "not writable (Read-only file system)" in done.stdout
    assert lock.exists() == is_locked_before
