"""Short-lived connections to an audit's DuckDB file.

Nobody keeps a connection: every request opens one, does its work and closes it (what is kept to open a file quickly,
:mod:`cfbd_core.store.engines` says), holding a lock of our own meanwhile
(:mod:`cfbd_core.store.file_lock` says why): many may read, or one may write, in the order in which they came, threads
and processes alike. DuckDB's own lock is still met where another tool has the file open; then it is tried again for
ten seconds. So it is, too, by a reader who may not write in the folder: while the lock's file is missing there, the
file is opened again where it changed as it was opened, and from then on DuckDB's lock keeps writers away.

A file may come from a stranger. A connection reads and writes no other file, loads no extension, and
:func:`cfbd_core.store.schema.check_objects` makes sure that what goes by the name of a table is one.

An audit of an older version is brought up to date before it is first written to; what it was stays beside it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError
from cfbd_core.machine.files import is_full_disk
from cfbd_core.store import migrations, schema
from cfbd_core.store.engines import ALONE, engines
from cfbd_core.store.file_lock import FileLock

BUSY_SECONDS = 10.0
LOCK_ENDING = ".lock"
_BUSY_ELSEWHERE = "Could not set lock"  # another tool, or a reader without our lock, has it open
_BUSY_HERE = (
    "different configuration",  # another thread of this process is about to close what it had open to write
    "Unique file handle conflict",
)
Stamp = tuple[int, ...]


class DuckFile:
    """A DuckDB file at ``path``, whatever is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + LOCK_ENDING), str(path))

    def make(self, fill: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
        """Make the file where it is missing; written beside and renamed, so that a kill leaves none.

        What a killed call left is taken away first.
        """
        self._check_path()
        if self.path.exists():
            return
        with self._lock.writing(BUSY_SECONDS):
            if self.path.exists():
                return
            for left in self.path.parent.glob(f"{self.path.name}.new*"):  # its log, too
                left.unlink()
            fresh = self.path.with_name(self.path.name + ".new")
            with self._report_errors(), duckdb.connect(str(fresh)) as connection:
                fill(connection)
            fresh.rename(self.path)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to read."""
        with self._lock.reading(BUSY_SECONDS) as is_locked, self._report_errors():
            connection = self._connect(is_locked)
            try:
                yield connection
            except duckdb.Error:
                engines.forget(self.path)
                raise
            finally:
                self._close(connection)

    @contextmanager
    def writing(self, reads: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to write, in one transaction: an exception leaves the file as it was.

        SQL may read the files in the folder ``reads``, and no others.
        """
        with self._lock.writing(BUSY_SECONDS) as check_held, self._report_errors():
            connection = self._open(read_only=False, reads=reads)
            try:
                self._bring_up_to_date(connection)
                connection.execute("BEGIN")
                try:
                    yield connection
                except BaseException:
                    with suppress(duckdb.Error):  # where the file is damaged, nothing more can be done
                        connection.execute("ROLLBACK")
                    raise
                check_held()
                connection.execute("COMMIT")
            finally:
                self._close(connection)
            self._remember()

    def stamp(self) -> Stamp:
        """Changes whenever the file is written. Raises OSError where it is gone."""
        status = self.path.stat()
        try:  # left by a writer that was killed after its commit
            ahead = self.path.with_name(f"{self.path.name}.wal").stat()
        except OSError:
            return status.st_mtime_ns, status.st_size, status.st_ino
        return status.st_mtime_ns, status.st_size, status.st_ino, ahead.st_mtime_ns, ahead.st_size

    def _check(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise AuditError where the file does not hold what it should."""

    def _remember(self) -> None:
        """Know the file as it now is, after a commit of our own."""

    def _bring_up_to_date(self, connection: duckdb.DuckDBPyConnection) -> None:
        """For a file that has versions."""

    def _connect(self, is_locked: bool) -> duckdb.DuckDBPyConnection:
        """Open to read; without our lock again where a writer was at work meanwhile."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            before = None if is_locked else self._stamp_or_none()
            connection = self._open(read_only=True)
            if is_locked or before == self._stamp_or_none():
                return connection
            self._close(connection)
            if time.monotonic() > deadline:
                raise self._busy()

    def _stamp_or_none(self) -> Stamp | None:
        try:
            return self.stamp()
        except OSError:
            return None

    def _check_path(self) -> None:
        if "?" in str(self.path.absolute()):  # DuckDB would put its log elsewhere
            raise AuditError(
                f"{self.path.parent}: a path with '?' cannot be used; give the folder another name"
            )

    def _open(self, *, read_only: bool, reads: Path | None = None) -> duckdb.DuckDBPyConnection:
        self._check_path()
        if not self.path.is_file():
            raise AuditError(f"{self.path.parent}: no audit here ({self.path.name} is missing)")
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection = self._opened(read_only)
                break
            except duckdb.Error as error:
                is_busy = _BUSY_ELSEWHERE in str(error) or any(words in str(error) for words in _BUSY_HERE)
                if not is_busy:
                    raise
                if time.monotonic() > deadline:
                    raise self._busy() from error
                time.sleep(0.05)
        try:
            if reads is not None:
                folder = str(reads.absolute()).replace("'", "''")
                connection.execute(f"SET allowed_directories = ['{folder}']")
            if not read_only:  # a reader's engine is so from the start
                connection.execute(ALONE)
            self._check(connection)
        except BaseException:
            engines.forget(self.path)
            self._close(connection)
            raise
        return connection

    def _opened(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        if read_only:
            return engines.connect(self.path)
        with engines.lock:
            return duckdb.connect(str(self.path))

    def _close(self, connection: duckdb.DuckDBPyConnection) -> None:
        engines.close(connection)

    @contextmanager
    def _report_errors(self) -> Iterator[None]:
        """Turn what DuckDB says of a file that it cannot use into one line; the caller reports a full disk."""
        try:
            yield
        except duckdb.Error as error:
            if is_full_disk(error):
                raise
            if isinstance(error, duckdb.OutOfMemoryException):
                raise AuditError(
                    f"{self.path}: not enough memory ({_first_line(error)}); close other programs"
                ) from error
            raise self._damaged(error) from error

    def _damaged(self, error: duckdb.Error) -> AuditError:
        return AuditError(
            f"{self.path}: not readable as an audit ({_first_line(error)}); it is damaged or of something else: "
            "put a copy of it in its place, or begin in a new folder"
        )

    def _busy(self) -> AuditError:
        return AuditError(
            f"{self.path}: another process has had the audit open for {BUSY_SECONDS:.0f} s; "
            "close it and try again"
        )


class Database(DuckFile):
    """The file ``audit.duckdb`` at ``path``; see :mod:`cfbd_core.store.schema` for what is in it."""

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make a new file with empty tables; written beside and renamed, so a crash leaves none."""
        made = cls(path)
        made.make(schema.create)
        return made

    def check(self) -> None:
        """Raise AuditError where the file cannot be read as an audit; at no cost while it stays as it was."""
        if _checked.get(self._name) != self.stamp():
            with self.reading():
                pass

    def _check(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Look at what is in a file, once as long as it stays as it is."""
        stamp = self.stamp()
        if _checked.get(self._name) != stamp:
            version = schema.version(connection, self.path.parent)
            schema.check_objects(connection, self.path, version)
            _checked[self._name] = stamp
        schema.show_pairs(connection)

    def _remember(self) -> None:
        _checked[self._name] = self.stamp()

    @property
    def _name(self) -> str:
        return str(self.path.absolute())

    def _bring_up_to_date(self, connection: duckdb.DuckDBPyConnection) -> None:
        version = schema.version(connection, self.path.parent)
        if version == schema.SCHEMA_VERSION:
            return
        connection.execute("CHECKPOINT")  # from here on the file is whole without its log
        self._back_up(self.path.with_name(f"{self.path.name}.v{version}.bak"))
        schema.hide_pairs(connection)
        migrations.migrate(connection, version)
        schema.show_pairs(connection)

    def _back_up(self, backup: Path) -> None:
        """Copy the file, which this process has open and locked.

        By another process: were the file opened and closed in this one, DuckDB's lock would be gone.
        """
        beside = backup.with_name(f"{backup.name}.part")
        try:
            subprocess.run(["cp", "--", self.path, beside], check=True, capture_output=True, text=True)
            beside.replace(backup)
        except (OSError, subprocess.CalledProcessError) as error:
            beside.unlink(missing_ok=True)
            reason = " ".join(str(getattr(error, "stderr", None) or error).split())
            raise AuditError(
                f"{self.path.parent}: this audit is of an older version and must be copied before its update, "
                f"which failed ({reason}); nothing was changed"
            ) from error


_checked: dict[str, Stamp] = {}  # audits whose objects were looked at, and their file's stamp then


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
