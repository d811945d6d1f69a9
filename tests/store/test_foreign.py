"""An audit's file from a stranger: it reads nothing of ours, and what is no table is told."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from cfbd_core import Audit
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.store import Database
from tests.store.older import make_older

READERS = {
    "read_text": "(SELECT content FROM read_text('{}'))",
    "read_csv": "(SELECT column0 FROM read_csv('{}', header = false))",
    "glob": "(SELECT file FROM glob('{}'))",
}
CHANGES = {
    "a view": (
        "ALTER TABLE skipped RENAME TO held; CREATE VIEW skipped AS SELECT * FROM held",
        "skipped is no",
    ),
    "another type": ("ALTER TABLE scores ALTER s_o TYPE VARCHAR", "scores differs in s_o"),
    "a column less": ("ALTER TABLE runs DROP stats", "runs differs in stats"),
    "a column more": ("ALTER TABLE meta ADD more VARCHAR", "meta differs in more"),
    "no table": ("DROP TABLE actions", "actions is no table"),
    "a macro": ("CREATE MACRO list_contains(a, b) AS true", "'list_contains', a macro"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Database.create(tmp_path / "audit.duckdb").path


@pytest.mark.parametrize("reader", READERS)
def test_sql_reads_no_file(path, reader):
    secret = path.with_name("secret.txt")
    secret.write_text("of someone")
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO pairs (row, key, caption) VALUES (0, 'a', 'b')")
    with pytest.raises(ParameterError, match="file system operations are disabled"):
        Audit.open(path.parent).pairs(where=f"caption <> {READERS[reader].format(secret)}")


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_this_tool_makes_it_is_told_in_one_line(path, change):
    Audit.open(path.parent)
    statements, told = CHANGES[change]
    with duckdb.connect(str(path)) as connection:
        connection.execute(statements)
    with pytest.raises(AuditError, match=told) as raised:
        Audit.open(path.parent)
    assert "\n" not in str(raised.value)


def test_a_view_of_another_is_not_what_is_read(path):
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO pairs (row, key, caption) VALUES (0, 'a', 'b')")
        connection.execute("CREATE OR REPLACE VIEW audit_pairs AS SELECT 'other' AS key, 0 AS row")
    assert Audit.open(path.parent).pairs()["key"].to_pylist() == ["a"]


@pytest.mark.parametrize("version", [1, 2])
def test_older_files_are_looked_at_too(path, version):
    make_older(path, version)
    Audit.open(path.parent)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "ALTER TABLE decisions RENAME TO held; CREATE VIEW decisions AS SELECT * FROM held"
        )
    with pytest.raises(AuditError, match="decisions is no table"):
        Audit.open(path.parent)


def test_a_file_that_is_no_database_is_told_in_one_line(path):
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(AuditError, match=r"not readable as an audit \(.*\); it is damaged .*: put a copy"):
        Audit.open(path.parent)
