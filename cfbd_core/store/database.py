"""Short-lived connections to an audit's DuckDB file.

DuckDB lets one process write while no other has the file open, even to read; within a process the
file is open to read or to write, not both. So nobody keeps a connection: every request opens one, does
its work and closes it, and a busy file is tried again for ten seconds. Threads write one after another:
their transactions would else conflict where they touch the same rows.

An audit of an older version is brought up to date before it is first written to; what it was stays beside it.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError
from cfbd_core.store import schema

BUSY_SECONDS = 10.0
_BUSY_ELSEWHERE = "Could not set lock"  # another process holds the file
_BUSY_HERE = (
    "different configuration",  # another thread of this process has it open the other way
    "Unique file handle conflict",  # another thread is about to close it
)
_opening = (
    threading.Lock()
)  # DuckDB's first connection to a file is not whole yet where a second gets it meanwhile
_writers: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # of this process, by file


class DuckFile:
    """A DuckDB file at ``path``, whatever is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to read."""
        with self._connect(read_only=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to write, in one transaction: an exception leaves the file as it was."""
        with self._only_writer(), self._connect(read_only=False) as connection:
            self._bring_up_to_date(connection)
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _bring_up_to_date(self, connection: duckdb.DuckDBPyConnection) -> None:
        """For a file that has versions."""

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        writer = _writers[str(self.path.resolve())]
        if not writer.acquire(timeout=BUSY_SECONDS):
            raise self._busy_here()
        try:
            yield
        finally:
            writer.release()

    @contextmanager
    def _connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self.path.is_file():
            raise AuditError(f"{self.path.parent}: no audit here ({self.path.name} is missing)")
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with _opening:
                    connection = duckdb.connect(str(self.path), read_only=read_only)
                break
            except duckdb.Error as error:
                is_elsewhere = _BUSY_ELSEWHERE in str(error)
                if not is_elsewhere and not any(words in str(error) for words in _BUSY_HERE):
                    raise AuditError(
                        f"{self.path}: not readable as an audit: {_first_line(error)}"
                    ) from error
                if time.monotonic() > deadline:
                    raise (self._busy_elsewhere() if is_elsewhere else self._busy_here()) from error
                time.sleep(0.05)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()

    def _busy_elsewhere(self) -> AuditError:
        return AuditError(
            f"{self.path}: another process has had the audit open for {BUSY_SECONDS:.0f} s; "
            "close it and try again"
        )

    def _busy_here(self) -> AuditError:
        return AuditError(
            f"{self.path}: another session of this app has had the audit open for {BUSY_SECONDS:.0f} s; "
            "try again when it is done"
        )


class Database(DuckFile):
    """The file ``audit.duckdb`` at ``path``; see :mod:`cfbd_core.store.schema` for what is in it."""

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make a new file with empty tables; written beside and renamed, so a crash leaves none."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        with duckdb.connect(str(fresh)) as connection:
            schema.create(connection)
        fresh.rename(path)
        return cls(path)

    def _bring_up_to_date(self, connection: duckdb.DuckDBPyConnection) -> None:
        found = schema.version(connection, self.path.parent)
        if found == schema.SCHEMA_VERSION:
            return
        connection.execute("CHECKPOINT")  # from here on the file is whole without its log
        self._back_up(self.path.with_name(f"{self.path.name}.v{found}.bak"))
        connection.execute("BEGIN")
        schema.upgrade(connection)
        connection.execute("COMMIT")

    def _back_up(self, backup: Path) -> None:
        """Copy the file, which this process has open and locked.

        By another process: were the file opened and closed in this one, its lock would be gone.
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


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
