"""Training runs in DuckDB: replaced as a whole, found in old audits, in a file of their own without one."""

from __future__ import annotations

import duckdb
import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store import Database, schema, training
from tests.store.older import make_older

REQUEST = {"id": "a", "params": {"defense": "plain"}, "started": "2026-11-25T12:00:00+00:00"}
LINES = [
    {"kind": "step", "step": 1, "epoch": 0, "loss": 2.0, "parts": {"clip": 2.0}, "lr": 0.1, "time": 5.0},
    {"kind": "eval", "step": 1, "epoch": 0, "ca": 0.5, "asr": None, "images": 3, "time": 6.0},
]


@pytest.fixture
def database(tmp_path) -> Database:
    return Database.create(tmp_path / "audit.duckdb")


def test_a_run_is_put_in_place_of_what_was_told_before(database):
    with database.writing() as connection:
        training.put_run(connection, "runs/a", REQUEST, None, LINES[:1])
        training.put_run(connection, "runs/b", REQUEST, None, LINES)
        training.put_run(connection, "runs/a", REQUEST, {"ca": 0.5}, LINES)
    with database.reading() as connection:
        assert training.runs(connection) == [
            {"folder": "runs/a", "asked": REQUEST, "result": {"ca": 0.5}},
            {"folder": "runs/b", "asked": REQUEST, "result": None},
        ]
        table = training.metrics(connection, "runs/a")
    assert table["kind"].to_pylist() == ["step", "eval"]
    assert table["loss"].to_pylist() == [2.0, None]
    assert table["ca"].to_pylist() == [None, 0.5]
    assert table["parts"].to_pylist() == ['{"clip": 2.0}', None]


def test_a_run_without_lines(database):
    with database.writing() as connection:
        training.put_run(connection, "runs/a", REQUEST, None, [])
    with database.reading() as connection:
        assert training.metrics(connection, "runs/a").num_rows == 0
        assert training.metrics(connection, "runs/none").num_rows == 0


def test_an_audit_of_version_1_reads_as_without_runs_and_is_brought_up_to_date_by_the_first(database):
    make_older(database.path, 1)
    with database.reading() as connection:
        assert training.runs(connection) == []
        assert training.metrics(connection, "runs/a").column_names[:2] == ["folder", "kind"]
    with database.writing() as connection:
        training.put_run(connection, "runs/a", REQUEST, None, LINES)
    with database.reading() as connection:
        assert schema.version(connection, database.path.parent) == schema.SCHEMA_VERSION
        assert len(training.runs(connection)) == 1


def test_a_run_without_an_audit_has_a_file_of_its_own(tmp_path):
    path = tmp_path / "metrics.duckdb"
    for result in (None, {"ca": 1.0}):
        with training.writing_run(path) as connection:
            training.put_run(connection, ".", REQUEST, result, LINES)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert training.runs(connection)[0]["result"] == {"ca": 1.0}
        assert training.metrics(connection, ".").num_rows == 2


def test_an_audit_that_is_gone_is_told(tmp_path):
    with pytest.raises(AuditError), Database(tmp_path / "audit.duckdb").writing():
        pass
