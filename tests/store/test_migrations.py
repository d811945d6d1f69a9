"""From every version that ever was to the present one, version by version."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from cfbd_core.store import Database, migrations, schema
from tests.store.older import DECIDED, WRITTEN, make_older, write_older

OLDER = range(1, schema.SCHEMA_VERSION)
OBJECTS = """
SELECT 'table', table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE NOT internal
UNION ALL SELECT 'view', view_name, sql, '', false FROM duckdb_views() WHERE NOT internal ORDER BY ALL
"""


def objects(path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(OBJECTS).fetchall()


def test_there_is_a_migration_for_every_older_version():
    assert list(migrations.MIGRATIONS) == list(OLDER)


@pytest.mark.parametrize("version", OLDER)
def test_an_older_file_becomes_what_a_new_one_is(tmp_path, version):
    fresh = Database.create(tmp_path / "fresh.duckdb")
    old = Database.create(tmp_path / "audit.duckdb")
    make_older(old.path, version, DECIDED)
    with Database(old.path).writing() as connection:
        assert schema.version(connection, tmp_path) == schema.SCHEMA_VERSION
        kept = connection.execute("SELECT key, decision::VARCHAR FROM decisions ORDER BY key").fetchall()
    assert kept == sorted((key, decision) for key, decision, _, _ in DECIDED)
    assert objects(old.path) == objects(fresh.path)
    assert (tmp_path / f"audit.duckdb.v{version}.bak").exists()


def test_an_update_that_fails_leaves_the_version_before_it(tmp_path, monkeypatch):
    database = Database.create(tmp_path / "audit.duckdb")
    make_older(database.path, 1, DECIDED)

    def fails(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DROP TABLE decisions")
        raise KeyboardInterrupt

    last = max(OLDER)
    monkeypatch.setitem(migrations.MIGRATIONS, last, fails)
    with pytest.raises(KeyboardInterrupt), Database(database.path).writing():
        pass
    monkeypatch.undo()
    with duckdb.connect(str(database.path), read_only=True) as connection:
        assert schema.version(connection, tmp_path) == last
    with Database(database.path).writing() as connection:
        assert connection.execute("SELECT count(*) FROM decisions").fetchall() == [(len(DECIDED),)]


@pytest.mark.parametrize("commit", WRITTEN)
def test_a_file_as_it_was_written_is_read_and_becomes_what_a_new_one_is(tmp_path, commit):
    path = tmp_path / "audit.duckdb"
    write_older(path, commit)
    shown = "SELECT key, residual_calibrated, decision, note FROM audit_pairs ORDER BY key"
    with Database(path).reading() as connection:
        before = connection.execute(shown).fetchall()
        assert connection.execute("SELECT max(residual_calibrated) FROM scores").fetchall() == [(None,)]
    assert [one[2] for one in before] == ["remove", "keep", "remove", "unsure", ""]
    with Database(path).writing() as connection:
        assert connection.execute(shown).fetchall() == before
        connection.execute("UPDATE scores SET residual_calibrated = 0.5")
    with Database(path).reading() as connection:
        assert {one[1] for one in connection.execute(shown).fetchall()} == {0.5}
    assert objects(path) == objects(Database.create(tmp_path / "fresh.duckdb").path)
