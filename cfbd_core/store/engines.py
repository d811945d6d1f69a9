"""DuckDB engines to read a file with, kept for its next reader.

To make an engine takes twenty milliseconds of a processor, to open a file by it one. So the last few stay, each for
one file, which it has open only while somebody reads: between two readers the file is closed and DuckDB's lock gone.

What keeps a stranger's file from reaching others is set for good as an engine is made: it may open its own file,
and nothing else. One that met an error is not kept. A forked child makes its own: the parent's have threads that it
lacks.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from pathlib import Path

import duckdb

MOST_ENGINES = 4
# Set, not given to `connect`: DuckDB refuses a second connection of a process that asks for other settings.
ALONE = """
SET enable_external_access = false; SET python_enable_replacements = false; SET allow_community_extensions = false;
SET autoload_known_extensions = false; SET autoinstall_known_extensions = false; SET TimeZone = 'UTC';
"""
_BESIDE = ("", ".wal", ".wal.checkpoint", ".wal.recovery")  # endings of what belongs to a file


class Engine:
    """An engine for the file at ``path``, which it opens for its first reader and closes after its last."""

    def __init__(self, path: str) -> None:
        self._file, self._name = _quoted(path), '"' + Path(path).stem.replace('"', '""') + '"'
        self._readers = 0
        self._engine = duckdb.connect()
        own = ", ".join(_quoted(path + ending) for ending in _BESIDE)
        self._engine.execute(f"SET temp_directory = {_quoted(path + '.tmp')}; SET allowed_paths = [{own}]")
        self._engine.execute(ALONE)

    def open(self) -> duckdb.DuckDBPyConnection:
        """Connect one more reader. Raises duckdb.Error, and has nothing open then that was not before."""
        if not self._readers:
            self._engine.execute(f"ATTACH {self._file} AS {self._name} (TYPE duckdb, READ_ONLY)")
        self._readers += 1
        connection = self._engine.cursor()
        try:
            connection.execute(
                f"USE {self._name}; SET python_enable_replacements = false; SET TimeZone = 'UTC'"
            )
        except duckdb.Error:
            self.close(connection)
            raise
        return connection

    def close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a reader go, and the file with the last one."""
        connection.close()
        self._readers -= 1
        if not self._readers:
            self._engine.execute(f"DETACH {self._name}")

    def end(self) -> None:
        """Give the engine's memory and threads back, unless somebody reads: then that happens with the last."""
        if not self._readers:
            self._engine.close()


class Engines:
    """The engines of a process; threads open and close one at a time.

    A connection that a thread gets while another's first one to a file is being made is not whole yet.
    """

    def __init__(self) -> None:
        self._left: list[object] = []
        self.renew()
        os.register_at_fork(after_in_child=self.renew)
        atexit.register(self.end)

    def renew(self) -> None:
        """Begin without engines; a forked child leaves those that it finds as they are: it lacks their threads."""
        self._left.append(vars(self).copy())
        self.lock = threading.RLock()
        self._engines: dict[str, Engine] = {}  # by path, the last used last
        self._open: dict[int, Engine] = {}  # by the id of a reader's connection

    def connect(self, path: Path) -> duckdb.DuckDBPyConnection:
        """Open a file to read it. Raises duckdb.Error."""
        name = str(path.absolute())
        with self.lock:
            earlier = self._engines.pop(name, None)
            engine = earlier or Engine(name)
            try:
                connection = engine.open()
            except duckdb.Error:
                if earlier is None:
                    raise
                engine = Engine(name)  # the kept one may be to blame
                connection = engine.open()
            self._open[id(connection)] = self._engines[name] = engine
            self._let_old_ones_go()
            return connection

    def close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Close a connection, of :meth:`connect` or any other."""
        with self.lock:
            engine = self._open.pop(id(connection), None)
            if engine is None:
                connection.close()
                return
            with suppress(duckdb.Error):  # of an engine that met what it calls fatal; it is not kept
                engine.close(connection)
            if engine not in self._engines.values():
                engine.end()

    def forget(self, path: Path) -> None:
        """Make a new engine for the next reader of a file: this one met an error."""
        with self.lock:
            engine = self._engines.pop(str(path.absolute()), None)
            if engine is not None:
                engine.end()

    def end(self) -> None:
        """Keep no engine any more."""
        with self.lock:
            while self._engines:
                self._engines.popitem()[1].end()

    def _let_old_ones_go(self) -> None:
        while len(self._engines) > MOST_ENGINES:
            self._engines.pop(next(iter(self._engines))).end()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


engines = Engines()
