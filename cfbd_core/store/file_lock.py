"""A lock between processes and threads: many may read, or one may write, in the order in which they came.

DuckDB's own lock does not protect a file from a second process: DuckDB reads the file's two headers before it holds
the lock and does not read them again, so a commit that comes in between is overwritten. Whoever opens such a file
therefore holds this lock from before it is opened until it is closed. It is kept in a file of its own, since closing
any descriptor of the database file would drop DuckDB's lock, too.

Each writer draws a number, which the file counts, and locks the byte of its number. It waits until no writer with a
smaller number is left, and no reader that came before it. A reader stands beside the last writer that has drawn and
waits for that one and all before it. So nobody overtakes and nobody starves. The bytes are locked by the system (open
file description locks), which lets go of them when a process ends, however it ends; the bytes need not exist.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cfbd_core.errors import AuditError

GATE, READERS, WRITERS = (
    0,
    1 << 40,
    1 << 50,
)  # first bytes: of the counter's guard, of the readers, of the writers
MOST_NUMBERS = 1 << 39
COUNTER = struct.Struct("<Q")
FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.01  # seconds between two looks at those who came before
_FLOCK = struct.Struct("hhqqi4x")  # the system's struct flock: type, whence, start, length, process
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)

_open_files: set[int] = set()
_holding: dict[int, str] = {}  # by open file, the lock that this process holds: for the words of a refusal
_mine = threading.local()  # which locks this thread holds to read: it may open a file twice


class FileLock:
    """The lock in the file at ``path``, which is made where it is missing.

    ``message`` is what a refusal calls the thing that is locked. Raises AuditError where one process or thread has held
    it for ``seconds`` without an end, or where the file system has no locks.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path, self._message = path, message

    @contextmanager
    def reading(self, seconds: float) -> Iterator[bool]:
        """Hold it beside other readers; yields False where it cannot be held.

        That is so in a folder that may not be written to, before anyone has written there: the lock's file is missing
        and cannot be made; or where it may not be read. A thread that holds it to read may take it again.
        """
        depths, name = _depths_of_this_thread(), os.path.realpath(self.path)
        if depths[name]:
            yield True
            return
        while True:
            try:
                file = self._open(to_write=False)
            except OSError as error:
                if error.errno not in (*_NOT_WRITABLE, *_FULL, errno.ENOENT):
                    raise self._unusable(error) from error
                yield False
                return
            with self._keep_open(file), self._usable():
                last = self._join(file, seconds)
                self._wait(file, fcntl.F_RDLCK, [(WRITERS, last + 1)], seconds)
            if self._is_there(file):
                break
            self._release(file)
        with self._released(file):
            depths[name] += 1
            try:
                _holding[file] = name
                yield True
            finally:
                depths[name] -= 1

    @contextmanager
    def writing(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Hold it alone; yields a check that raises AuditError where the lock's file was deleted meanwhile."""
        while True:
            with self._usable():
                file = self._open(to_write=True)
            with self._keep_open(file), self._usable():
                number = self._draw(file, seconds)
                self._wait(file, fcntl.F_WRLCK, [(WRITERS, number), (READERS, number)], seconds)
            if self._is_there(file):
                break
            self._release(file)
        with self._released(file):
            _holding[file] = os.path.realpath(self.path)
            yield lambda: self._check_there(file)

    def _open(self, *, to_write: bool) -> int:
        """Open the lock's file; never through a link, and never a pipe: a folder may come from a stranger."""
        safely = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(self.path, (os.O_RDWR if to_write else os.O_RDONLY) | safely)
        except FileNotFoundError:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | safely, 0o666)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is no regular file")
        _open_files.add(file)
        return file

    @contextmanager
    def _released(self, file: int) -> Iterator[None]:
        try:
            yield
        finally:
            self._release(file)

    @contextmanager
    def _keep_open(self, file: int) -> Iterator[None]:
        """Release the lock if the block fails."""
        try:
            yield
        except BaseException:
            self._release(file)
            raise

    @staticmethod
    def _release(file: int) -> None:
        _holding.pop(file, None)
        _open_files.discard(file)
        try:  # said, not only by closing: a child that was forked meanwhile may still hold it open
            _lock(file, fcntl.F_UNLCK, 0, 0)
        except OSError:  # a file system without locks: locking has reported it
            pass
        finally:
            os.close(file)

    def _is_there(self, file: int) -> bool:
        """Whether the file that was opened is still the lock's: it may have been deleted, and another one made."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path, follow_symlinks=False))
        except OSError:
            return False

    def _check_there(self, file: int) -> None:
        if not self._is_there(file):
            raise AuditError(
                f"{self.path}: was deleted while it kept others away; nothing was stored, do it again"
            )

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Say in one line what is wrong with the lock's file, other than a full disk."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise
            if error.errno in _NOT_WRITABLE:
                raise AuditError(
                    f"{self.path.parent}: not writable ({os.strerror(error.errno)}); "
                    "mend its permissions or copy it"
                ) from error
            raise self._unusable(error) from error

    def _join(self, file: int, seconds: float) -> int:
        """Stand, as a reader, beside the last writer that has drawn a number, which is returned."""
        with self._gate(file, fcntl.F_RDLCK, seconds):
            last = _last(file)
            _lock(file, fcntl.F_RDLCK, READERS + last, 1)
            return last

    def _draw(self, file: int, seconds: float) -> int:
        """Draw a writer's number and lock its byte."""
        with self._gate(file, fcntl.F_WRLCK, seconds):
            number = _last(file) + 1
            if number > MOST_NUMBERS:  # damaged, or used up: begin anew once nobody is there
                self._wait(file, fcntl.F_WRLCK, [(READERS, 0)], seconds)
                os.ftruncate(file, 0)
                number = 1
            os.pwrite(file, COUNTER.pack(number), 0)
            _lock(file, fcntl.F_WRLCK, WRITERS + number, 1)
            return number

    @contextmanager
    def _gate(self, file: int, kind: int, seconds: float) -> Iterator[None]:
        """Keep the counter as it is, to read it with others or to change it alone: for a moment."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                _lock(file, kind, GATE, 1)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._busy(seconds) from None
                time.sleep(FIRST_PAUSE)
        try:
            yield
        finally:
            _lock(file, fcntl.F_UNLCK, GATE, 1)

    def _wait(self, file: int, kind: int, before: list[tuple[int, int]], seconds: float) -> None:
        """Wait for those ``before``, ranges of bytes; the time begins anew whenever one of them is done."""
        pause, standing, deadline = FIRST_PAUSE, None, time.monotonic() + seconds
        while (holder := _who_holds(file, kind, before)) is not None:
            if holder != standing:
                standing, deadline = holder, time.monotonic() + seconds
            elif time.monotonic() > deadline:
                raise self._busy(seconds)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _busy(self, seconds: float) -> AuditError:
        if os.path.realpath(self.path) in list(_holding.values()):
            who, advice = "another session of this app", "try again when it is done"
        else:
            who, advice = "another process", "close it and try again"
        return AuditError(f"{self._message}: {who} has had the audit open for {seconds:.0f} s; {advice}")

    def _unusable(self, error: OSError) -> AuditError:
        return AuditError(
            f"{self.path}: cannot be locked ({error.strerror}); move it away, "
            "or copy the folder to a disk whose file system has locks"
        )


def _depths_of_this_thread() -> defaultdict[str, int]:
    if not hasattr(_mine, "depths"):
        _mine.depths = defaultdict(int)
    depths: defaultdict[str, int] = _mine.depths
    return depths


def _last(file: int) -> int:
    """Return the last number that was drawn; 0 before the first, and what no writer can have where it is damaged."""
    content = os.pread(file, COUNTER.size + 1, 0)
    if not content:
        return 0
    return min(COUNTER.unpack(content)[0], MOST_NUMBERS) if len(content) == COUNTER.size else MOST_NUMBERS


def _lock(file: int, kind: int, start: int, length: int) -> None:
    """Lock or unlock bytes; a ``length`` of 0 means all from ``start``. BlockingIOError where others hold them."""
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _who_holds(file: int, kind: int, ranges: list[tuple[int, int]]) -> int | None:
    """The first byte of a lock in one of the ranges (start, length) that a lock of ``kind`` would wait for, or None."""
    for start, length in ranges:
        request = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
        holder_kind, _, at, _, _ = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, request))
        if holder_kind != fcntl.F_UNLCK:
            return int(at)
    return None


def _forget_after_fork() -> None:
    """Close what the parent holds: a child's copies would keep it locked after the parent was killed."""
    for file in _open_files:
        os.close(file)
    _open_files.clear()
    _holding.clear()
    _mine.__dict__.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
