"""Engines that are kept between readers: they see what was written since, and no other file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store import Database, queries
from cfbd_core.store import engines as module
from cfbd_core.store.engines import MOST_ENGINES, Engines


@pytest.fixture
def own(monkeypatch) -> Engines:
    """Engines of this test alone."""
    made = Engines()
    monkeypatch.setattr("cfbd_core.store.database.engines", made)
    return made


@pytest.fixture
def database(own, tmp_path) -> Database:
    return Database.create(tmp_path / "audit.duckdb")


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The files for which an engine was made."""
    paths: list[str] = []
    init = module.Engine.__init__
    monkeypatch.setattr(module.Engine, "__init__", lambda self, path: paths.append(path) or init(self, path))
    return paths


def count(database: Database) -> int:
    with database.reading() as connection:
        return queries.get_meta(connection, "count") or 0


def put(database: Database, value: int) -> None:
    with database.writing() as connection:
        queries.set_meta(connection, "count", value)


def test_one_engine_reads_what_was_written_between(database, made):
    for value in range(1, 5):
        put(database, value)
        assert count(Database(database.path)) == value
    assert made == [str(database.path)]


def test_a_file_that_took_another_s_place_is_read(database, made, tmp_path):
    put(database, 1)
    assert count(database) == 1
    other = (
        Database.create(tmp_path / "other" / "audit.duckdb") if (tmp_path / "other").mkdir() is None else None
    )
    put(other, 2)
    os.replace(other.path, database.path)
    assert count(database) == 2


def test_between_readers_the_file_is_not_open(database):
    assert count(database) == 0
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert str(database.path) not in held
    with duckdb.connect(str(database.path)) as connection:  # DuckDB's own lock is free
        assert queries.pair_count(connection) == 0


@pytest.mark.parametrize("again", [False, True])
def test_a_reader_reaches_no_other_file_and_cannot_write(database, tmp_path, again):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    if again:
        assert count(database) == 0
    for statement in (
        f"SELECT * FROM read_text('{secret}')",
        f"COPY pairs TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'new.duckdb'}' AS n",
        "SET enable_external_access = true",
        f"SET allowed_directories = ['{tmp_path}']",
        "INSERT INTO meta VALUES ('a', '1')",
        "SELECT * FROM statement",  # a variable of this function
    ):
        with pytest.raises(AuditError), database.reading() as connection:
            connection.execute(statement)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audit.duckdb",
        "audit.duckdb.lock",
        "secret.csv",
    ]


def test_what_one_reader_makes_for_itself_another_does_not_see(database):
    with database.reading() as connection:
        connection.execute("CREATE TEMP TABLE mine AS SELECT 1 AS a")
        with Database(database.path).reading() as other, pytest.raises(duckdb.CatalogException):
            other.execute("SELECT * FROM mine")
    with pytest.raises(AuditError, match="mine"), database.reading() as connection:
        connection.execute("SELECT * FROM mine")


def test_an_engine_that_met_an_error_is_not_used_again(database, made):
    with pytest.raises(AuditError, match="nothing_here"), database.reading() as connection:
        connection.execute("SELECT * FROM nothing_here")
    assert count(database) == 0
    assert len(made) == 2


def test_the_last_few_are_kept(own, made, tmp_path):
    databases = [Database.create(tmp_path / f"{number}.duckdb") for number in range(MOST_ENGINES + 2)]
    for database in databases:
        assert count(database) == 0
    assert count(databases[-1]) == count(databases[2]) == 0
    assert len(made) == len(databases)
    assert count(databases[0]) == 0
    assert len(made) == len(databases) + 1


def test_an_engine_that_is_let_go_still_serves_who_reads(own, tmp_path):
    databases = [Database.create(tmp_path / f"{number}.duckdb") for number in range(MOST_ENGINES + 1)]
    with databases[0].reading() as connection:
        for database in databases[1:]:
            assert count(database) == 0
        assert queries.pair_count(connection) == 0
    put(databases[0], 3)
    assert count(databases[0]) == 3


def test_threads_share_an_engine(database, made):
    put(database, 7)
    together = threading.Barrier(4, timeout=60)

    def read(_: int) -> int:
        with Database(database.path).reading() as connection:
            together.wait()
            return queries.get_meta(connection, "count")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, range(4))) == [7] * 4
    assert len(made) == 1


def test_a_forked_child_makes_its_own(database):
    put(database, 5)
    assert count(database) == 5
    child = os.fork()
    if child == 0:
        os._exit(count(database) if count(database) == 5 else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert count(database) == 5


def test_a_name_with_signs_of_sql_is_a_name(own, tmp_path):
    folder = tmp_path / 'it\'s a "folder" {x}; --'
    folder.mkdir()
    assert count(Database.create(folder / "audit.duckdb")) == 0


def test_a_process_ends_without_a_word(database):
    script = (
        "import sys; from pathlib import Path; from cfbd_core.store import Database\n"
        "with Database(Path(sys.argv[1])).reading() as connection: pass\n"
    )
    words = [sys.executable, "-c", script, str(database.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
