"""The lock around a database file: alone to write, together to read, in the order of coming, whatever is killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store import file_lock
from cfbd_core.store.file_lock import COUNTER, FileLock

LONG = 60.0  # seconds that nobody waits here, however slow the machine is
HOLD = (
    "import sys, time; from pathlib import Path; from cfbd_core.store.file_lock import FileLock\n"
    "with getattr(FileLock(Path(sys.argv[1]), 'x'), sys.argv[2])(60):\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.duckdb.lock"


def lock_of(path: Path) -> FileLock:
    return FileLock(path, str(path))


def held_elsewhere(path: Path, way: str) -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), way], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def take(path: Path, seconds: float = LONG) -> None:
    """Hold it alone for a moment."""
    with lock_of(path).writing(seconds):
        pass


def number_in(path: Path) -> int:
    data = path.read_bytes()[: COUNTER.size] if path.exists() else b""
    return int(COUNTER.unpack(data)[0]) if data else 0


def until(condition) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def add_one(path: Path, times: int) -> None:
    figures = path.with_name("figures")
    for _ in range(times):
        with lock_of(path).writing(LONG):
            first, second = map(int, figures.read_text().split())
            figures.write_text("")
            figures.write_text(f"{first + 1} {second + 1}")


def read_both(path: Path, times: int) -> None:
    for _ in range(times):
        with lock_of(path).reading(LONG) as is_held:
            assert is_held
            first, second = path.with_name("figures").read_text().split()
            assert first == second


def test_processes_and_threads_write_one_after_another_and_readers_see_whole_things(path):
    path.with_name("figures").write_text("0 0")
    fork = multiprocessing.get_context("fork")
    works = [(add_one, 40), (add_one, 40), (read_both, 60)]
    processes = [fork.Process(target=work, args=(path, times)) for work, times in works]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(work, path, times) for work, times in works]:
            done.result()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert path.with_name("figures").read_text() == "160 160"


def test_readers_are_together(path):
    with lock_of(path).reading(LONG), ThreadPoolExecutor(1) as threads:
        threads.submit(read_once, path).result(LONG)


def read_once(path: Path) -> None:
    with lock_of(path).reading(LONG):
        pass


def test_writers_take_turns_in_the_order_in_which_they_came(path):
    order: list[int] = []

    def write(number: int) -> None:
        with lock_of(path).writing(LONG):
            order.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    with lock_of(path).writing(LONG):
        for place, thread in enumerate(threads):
            thread.start()
            until(lambda came=place + 2: number_in(path) == came)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


def test_a_reader_that_comes_later_does_not_overtake_a_writer_that_waits(path):
    order: list[str] = []

    def write() -> None:
        with lock_of(path).writing(LONG):
            order.append("writer")

    def read() -> None:
        with lock_of(path).reading(LONG):
            order.append("reader")

    with lock_of(path).reading(LONG):
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: number_in(path) == 1)
        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.05)
        assert order == []
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


@pytest.mark.parametrize("way", ["reading", "writing"])
def test_what_a_killed_process_held_is_free(path, way):
    process = held_elsewhere(path, way)
    with pytest.raises(AuditError, match="another process has had the audit open for 0 s; close it"):
        take(path, 0.1)
    process.kill()
    process.wait()
    take(path)


def test_a_process_that_was_killed_as_it_waited_lets_nobody_past_those_before_it(path):
    with lock_of(path).writing(LONG):
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(path), "writing"])
        until(lambda: number_in(path) == 2)
        waiting.kill()
        waiting.wait()
        with ThreadPoolExecutor(1) as threads, pytest.raises(AuditError, match="another session of this app"):
            threads.submit(take, path, 0.1).result()
    take(path)


def test_nobody_is_refused_while_those_before_get_done(path):
    """Eight who hold it for 0.2 s each: the last waits for longer than it waits for any one of them."""

    def write(_: int) -> None:
        with lock_of(path).writing(1.0):
            time.sleep(0.2)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))


@pytest.mark.parametrize("content", [b"x", b"\xff" * 8, b"\xff" * 200, COUNTER.pack(file_lock.MOST_NUMBERS)])
def test_a_damaged_counter_begins_anew_and_lets_nobody_past(path, content):
    path.write_bytes(content)
    with (
        lock_of(path).reading(LONG),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(AuditError, match="has had the audit open"),
    ):
        threads.submit(take, path, 0.1).result()
    take(path)
    take(path)
    assert path.read_bytes() == COUNTER.pack(2)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("way", ["reading", "writing"])
def test_a_strangers_file_in_its_place_is_told_and_left_as_it_is(path, kind, way):
    other = path.with_name("other")
    other.write_text("of someone")
    {"link": lambda: path.symlink_to(other), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with (
        pytest.raises(AuditError, match=r"audit\.duckdb\.lock: cannot be locked"),
        getattr(lock_of(path), way)(1),
    ):
        pass
    assert other.read_text() == "of someone"


def test_a_thread_may_read_twice_though_a_writer_waits(path):
    with lock_of(path).reading(LONG):
        writer = threading.Thread(target=take, args=(path,))
        writer.start()
        until(lambda: number_in(path) == 1)
        with lock_of(path).reading(0.1):
            pass
    writer.join()


def test_a_forked_child_keeps_nothing_locked(path):
    """The child of a process that was killed lives on; what the process held is free all the same."""
    script = HOLD.replace("print(", "child = os.fork(); child or time.sleep(600); print(child, ")
    words = [sys.executable, "-c", "import os\n" + script, str(path), "writing"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[0])
    try:
        process.kill()
        process.wait()
        take(path)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_where_it_cannot_be_made_readers_go_without_and_writers_are_refused(path, monkeypatch, number):
    really = os.open

    def no_new_files(place, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return really(place, flags, *rest, **more)

    monkeypatch.setattr(file_lock.os, "open", no_new_files)
    with lock_of(path).reading(1) as is_held:
        assert not is_held
    refusal = OSError if number == errno.ENOSPC else AuditError
    with pytest.raises(refusal, match="No space left|not writable"), lock_of(path).writing(1):
        pass


def test_a_file_system_without_locks_is_told(path, monkeypatch):
    def without(*_: object) -> bytes:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(file_lock.fcntl, "fcntl", without)
    with pytest.raises(AuditError, match="a disk whose file system has locks"), lock_of(path).writing(1):
        pass


def test_a_lock_file_that_is_deleted_while_it_is_held_is_told_before_anything_is_stored(path):
    lock = lock_of(path)
    with lock.writing(LONG) as check_held:
        check_held()
        path.unlink()
        with pytest.raises(
            AuditError, match="lock: was deleted while it kept others away; nothing was stored"
        ):
            check_held()
        with lock_of(path).writing(0.1) as other:  # nobody knows of the first
            other()
        with pytest.raises(AuditError, match="was deleted"):
            check_held()


def test_who_waits_for_a_lock_file_that_is_deleted_takes_the_new_one(path):
    got = []

    def wait(way: str) -> None:
        with getattr(lock_of(path), way)(LONG):
            got.append(path.stat().st_ino)

    with ThreadPoolExecutor(2) as threads:
        with lock_of(path).writing(LONG):
            waiting = [threads.submit(wait, way) for way in ("reading", "writing")]
            time.sleep(0.3)
            path.unlink()
        for one in waiting:
            one.result()
    assert set(got) == {path.stat().st_ino}
