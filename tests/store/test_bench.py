"""Cells of a benchmark: kept once, found again, never mixed with those of other pairs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from cfbd_core.errors import AuditError
from cfbd_core.store.bench import BenchResults, Cell

ABOUT = {"source": "photos", "pairs": 20}


def cell(scenario: str = "s", analysis: str = "faults", value: float = 0.5) -> Cell:
    return Cell(scenario, analysis, {"attack": "badnets"}, {"auroc": value, "none": None}, 1.5)


def test_cells_come_back_as_they_were(tmp_path: Path) -> None:
    results = BenchResults(tmp_path / "r.duckdb", ABOUT)
    assert (results.done(), results.cells()) == (set(), [])
    results.put(cell())
    results.put(cell("t"))
    again = BenchResults(tmp_path / "r.duckdb", ABOUT)
    assert again.done() == {("s", "faults"), ("t", "faults")}
    assert again.cells() == [cell(), cell("t")]


def test_a_cell_measured_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    results = BenchResults(tmp_path / "r.duckdb", ABOUT)
    results.put(cell())
    results.put(cell(value=0.75))
    assert results.cells() == [cell(value=0.75)]


def test_results_on_other_pairs_are_refused_and_it_is_told_what_differs(tmp_path: Path) -> None:
    BenchResults(tmp_path / "r.duckdb", ABOUT | {"mapping_sha256": "a" * 64})
    with pytest.raises(AuditError) as told:
        BenchResults(tmp_path / "r.duckdb", ABOUT | {"pairs": 21, "mapping_sha256": "b" * 64, "version": 2})
    line = str(told.value)
    assert "pairs (20 there, 21 now), mapping sha256 (aaaaaaaaaaaa… there, bbbbbbbbbbbb… now)" in line
    assert "version (unknown there, 2 now)" in line
    assert "source" not in line
    with pytest.raises(AuditError, match=r"differ in mapping sha256 \(aaaaaaaaaaaa… there, unknown now\);"):
        BenchResults(tmp_path / "r.duckdb", ABOUT)


def test_what_a_killed_call_left_is_no_obstacle(tmp_path: Path) -> None:
    for ending in ("new", "new.wal"):
        (tmp_path / f"r.duckdb.{ending}").write_bytes(b"half")
    assert BenchResults(tmp_path / "r.duckdb", ABOUT).cells() == []
    assert {path.name for path in tmp_path.iterdir()} == {"r.duckdb", "r.duckdb.lock"}


@pytest.mark.parametrize("statement", ["CREATE TABLE other (x INT)", "CREATE TABLE about (value VARCHAR)"])
def test_a_database_of_something_else_is_told(tmp_path: Path, statement: str) -> None:
    with duckdb.connect(str(tmp_path / "r.duckdb")) as connection:
        connection.execute(statement)
    with pytest.raises(AuditError, match="no results of a benchmark"):
        BenchResults(tmp_path / "r.duckdb", ABOUT)


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.duckdb").write_text("no database")
    with pytest.raises(AuditError, match="not readable"):
        BenchResults(tmp_path / "r.duckdb", ABOUT)


def test_values_that_json_has_not_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        BenchResults(tmp_path / "r.duckdb", ABOUT).put(cell(value=float("nan")))
