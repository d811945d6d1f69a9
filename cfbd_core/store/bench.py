"""Results of a benchmark in one DuckDB file: a row for every finished cell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from cfbd_core.errors import AuditError
from cfbd_core.store.database import Database

_TABLE = """
CREATE TABLE cells (
    scenario VARCHAR NOT NULL, analysis VARCHAR NOT NULL, params JSON NOT NULL, result JSON NOT NULL,
    seconds DOUBLE NOT NULL, made TIMESTAMPTZ NOT NULL, PRIMARY KEY (scenario, analysis)
);
CREATE TABLE about (value JSON NOT NULL);
"""


@dataclass(frozen=True)
class Cell:
    """One finished cell: what was analysed under which parameters, what came out, what it cost."""

    scenario: str
    analysis: str
    params: dict[str, Any]
    result: dict[str, Any]
    seconds: float


class BenchResults:
    """The cells kept in the file ``path``; ``about`` says what they were measured on.

    Raises AuditError when the file holds results of something else, or is no such file.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        if not path.exists():
            fresh = path.with_name(path.name + ".new")
            fresh.unlink(missing_ok=True)
            with duckdb.connect(str(fresh)) as connection:
                connection.execute(_TABLE)
                connection.execute("INSERT INTO about VALUES (?)", [json.dumps(about)])
            fresh.rename(path)
        self._database = Database(path)
        with self._database.reading() as connection:
            try:
                found = connection.execute("SELECT value FROM about").fetchall()
            except duckdb.Error as error:
                raise AuditError(f"{path}: holds no results of a benchmark; give another --out") from error
        if json.loads(found[0][0]) != json.loads(json.dumps(about)):
            raise AuditError(
                f"{path}: holds results on other pairs or of another encoder; give a new --out folder"
            )

    def done(self) -> set[tuple[str, str]]:
        """(scenario, analysis) of every finished cell."""
        with self._database.reading() as connection:
            return {(row[0], row[1]) for row in _rows(connection, "SELECT scenario, analysis FROM cells")}

    def put(self, cell: Cell) -> None:
        """Keep a finished cell; one that was there before is replaced."""
        values = [
            cell.scenario,
            cell.analysis,
            json.dumps(cell.params),
            json.dumps(cell.result, allow_nan=False),
        ]
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)",
                [*values, cell.seconds, datetime.now(UTC)],
            )

    def cells(self) -> list[Cell]:
        """Every finished cell."""
        query = "SELECT scenario, analysis, params, result, seconds FROM cells ORDER BY scenario, analysis"
        with self._database.reading() as connection:
            return [
                Cell(scenario, analysis, json.loads(params), json.loads(result), seconds)
                for scenario, analysis, params, result, seconds in _rows(connection, query)
            ]


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return found
