"""Results of a benchmark in one DuckDB file: a row for every finished cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from cfbd_core.errors import AuditError
from cfbd_core.machine.json_shapes import check, parse
from cfbd_core.store.database import DuckFile

_TABLE = """
CREATE TABLE cells (
    scenario VARCHAR NOT NULL, analysis VARCHAR NOT NULL, params JSON NOT NULL, result JSON NOT NULL,
    seconds DOUBLE NOT NULL, made TIMESTAMPTZ NOT NULL, PRIMARY KEY (scenario, analysis)
);
CREATE TABLE about (value JSON NOT NULL);
"""

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Cell:
    """One finished cell: what was analysed under which parameters, what came out, what it cost.

    ``result`` is the JSON that the analysis gives: its type is the analysis's own.
    """

    scenario: str
    analysis: str
    params: Mapping[str, Any]
    result: Any
    seconds: float


class BenchResults:
    """The cells kept in the file ``path``; ``about``, plain JSON values by name, says what they were measured on.

    Raises AuditError when the file holds results of something else, and says what differs, or is no such file.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        if path.is_file() and not _begins_as_a_database(path):
            raise AuditError(f"{path}: not readable as results of a benchmark; give another --out")
        self._database = DuckFile(path)
        self._database.make(lambda connection: _fill(connection, about))
        with self._database.reading() as connection:
            try:
                rows = connection.execute("SELECT value FROM about").fetchall()
                stored = dict(parse(rows[0][0]))
            except (duckdb.Error, LookupError, ValueError, TypeError) as error:
                raise AuditError(f"{path}: holds no results of a benchmark; give another --out") from error
        differing = [
            name for name in {**about, **stored} if stored.get(name, _UNKNOWN) != about.get(name, _UNKNOWN)
        ]
        if differing:
            differences = (
                f"{name.replace('_', ' ')} ({_short(stored.get(name, _UNKNOWN))} there,"
                f" {_short(about.get(name, _UNKNOWN))} now)"
                for name in differing
            )
            raise AuditError(
                f"{path}: its results differ in {', '.join(differences)}; give a new --out folder"
            )

    def done(self) -> set[tuple[str, str]]:
        """(scenario, analysis) of every finished cell."""
        return {(cell.scenario, cell.analysis) for cell in self.cells()}

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
        """Return every finished cell; one whose row is damaged is not finished, and is measured again."""
        query = "SELECT scenario, analysis, params, result, seconds FROM cells ORDER BY scenario, analysis"
        with self._database.reading() as connection:
            cells = map(_cell, _rows(connection, query))
            return [cell for cell in cells if cell is not None]


def _begins_as_a_database(path: Path) -> bool:
    """Return whether a file is one of DuckDB's, by its first bytes: beside another's file we leave no lock."""
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


def _fill(connection: duckdb.DuckDBPyConnection, about: Mapping[str, object]) -> None:
    connection.execute(_TABLE)
    connection.execute("INSERT INTO about VALUES (?)", [json.dumps(about)])


def _cell(row: tuple[Any, ...]) -> Cell | None:
    scenario, analysis, params, result, seconds = row
    try:
        settings, values = parse(params), parse(result)
        check([scenario, analysis], [str])
        check([settings, values], [dict])
        check(seconds, float)
    except (ValueError, TypeError):
        return None
    return Cell(scenario, analysis, settings, values, seconds)


def _short(value: object) -> str:
    """Return a value as an error's line shows it; of a hash its beginning is enough."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return rows
