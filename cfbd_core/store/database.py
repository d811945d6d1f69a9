"""Short-lived connections to an audit's DuckDB file.

DuckDB lets one process write while no other has the file open, even to read. So nobody keeps a
connection: every request opens one, does its work and closes it, and a busy file is tried again
for ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError
from cfbd_core.store import schema

BUSY_SECONDS = 10.0


class Database:
    """The file ``audit.duckdb`` at ``path``; see :mod:`cfbd_core.store.schema` for what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make a new file with empty tables; written beside and renamed, so a crash leaves none."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        with duckdb.connect(str(fresh)) as connection:
            schema.create(connection)
        fresh.rename(path)
        return cls(path)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to read."""
        with self._connect(read_only=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open to write, in one transaction: an exception leaves the file as it was."""
        with self._connect(read_only=False) as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self.path.is_file():
            raise AuditError(f"{self.path.parent}: no audit here ({self.path.name} is missing)")
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection = duckdb.connect(str(self.path), read_only=read_only)
                break
            except (duckdb.IOException, duckdb.ConnectionException) as error:
                # Another process holds the file, or another thread of this one has it open the other way.
                if not any(
                    words in str(error) for words in ("Could not set lock", "different configuration")
                ):
                    raise AuditError(
                        f"{self.path}: not readable as an audit: {_first_line(error)}"
                    ) from error
                if time.monotonic() > deadline:
                    raise AuditError(
                        f"{self.path}: another process has had the audit open for {BUSY_SECONDS:.0f} s; "
                        "close it and try again"
                    ) from error
                time.sleep(0.05)
            except duckdb.Error as error:
                raise AuditError(f"{self.path}: not readable as an audit: {_first_line(error)}") from error
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
