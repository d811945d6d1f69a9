from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core.store import Database, acting, queries, schema
from cfbd_core.store.adding import add_pairs
from cfbd_core.store.scores import replace_verdicts


@pytest.fixture
def database(tmp_path) -> Database:
    database = Database.create(tmp_path / "audit.duckdb")
    names = ["a", "b", "a", "c"]
    empty = pa.array([None] * 4, pa.string())
    pairs = pa.table(
        {
            "row": np.arange(4),
            "key": names,
            "image": ["x.png", "x.png", "x.png", "z.png"],
            "image_offset": pa.array([None] * 4, pa.int64()),
            "image_size": pa.array([None] * 4, pa.int64()),
            "caption": ["one", "two", "one", "four"],
            "label": empty,
            "poisoned": pa.array([False, True, False, None]),
            "attack": empty,
            "target": empty,
            "origin_key": empty,
            "origin_caption": empty,
        }
    )
    pq.write_table(pairs.slice(0, 2), tmp_path / "pairs_000000.parquet")
    pq.write_table(pairs.slice(2), tmp_path / "pairs_000001.parquet")
    with database.writing(tmp_path) as connection:
        assert add_pairs(connection, tmp_path).pairs == 3
    return database


def test_the_same_pair_again_is_skipped_and_says_where_it_was_first(database):
    with database.reading() as connection:
        assert queries.pair_rows(connection).tolist() == [0, 1, 3]
        (reason,) = queries.skip_summary(connection)
    assert (reason["reason"], reason["pairs"]) == ("duplicate key", 1)
    assert reason["examples"][0]["detail"] == "first seen as pair 0"


def test_pairs_of_one_image_are_one_group(database):
    with database.reading() as connection:
        first, second, third = queries.image_groups(connection).tolist()
    assert first == second != third


def test_an_exception_leaves_the_file_as_it_was(database):
    def fail() -> None:
        with database.writing() as connection:
            queries.set_meta(connection, "split", {"half": True})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.reading() as connection:
        assert queries.get_meta(connection, "split") is None


def test_nan_never_enters_meta(database):
    with database.writing() as connection, pytest.raises(ValueError, match="JSON"):
        queries.set_meta(connection, "split", {"auroc": float("nan")})


def test_final_follows_the_verdict_until_someone_decides(database):
    rows, subset = np.array([0, 1, 3]), np.array([0, 1, 2], np.int8)
    with database.writing() as connection:
        z = np.array([0.1, np.nan, 0.3])
        replace_verdicts(connection, rows, z, subset, np.array([False, True, True]))
        table = pa.table(
            {"key": ["a", "b", "c"], "decision": ["remove", "unsure", "keep"], "note": ["", "", ""]}
        )
        acting.decide_keys(connection, table, acting.Provenance("ada"), "import")
    with database.reading() as connection:
        found = queries.select_pairs(connection).to_pylist()
    assert [row["verdict"] for row in found] == ["clean", "poisoned", "poisoned"]
    assert [row["final"] for row in found] == ["removed", "removed", "kept"]
    assert [row["subset"] for row in found] == ["benign", "poisoned", "suspicious"]
    assert found[1]["z"] is None


def test_notes_are_pairs_columns_also_in_a_file_of_before(database, tmp_path):
    with database.writing() as connection:
        table = pa.table({"key": ["a", "b"], "decision": ["keep", "keep"], "note": ["seen", ""]})
        acting.decide_keys(connection, table, acting.Provenance("ada"), "import")
    for view in (schema._VIEW, schema._VIEW.replace(" d.note,", "")):
        with database.writing() as connection:
            connection.execute(view)
        with database.reading() as connection:
            assert queries.select_pairs(connection, "note = 'seen'")["key"].to_pylist() == ["a"]
        with database.reading() as connection:
            queries.spool_rows(connection, np.array([1, 0]), tmp_path / "rows.arrow")
        with database.reading() as connection:
            queries.spool_pairs(connection, None, tmp_path / "pairs.arrow")
        assert pa.ipc.open_file(tmp_path / "rows.arrow").read_all()["note"].to_pylist() == [None, "seen"]
        assert pa.ipc.open_file(tmp_path / "pairs.arrow").read_all()["note"].to_pylist()[:2] == ["seen", None]


def test_every_run_is_kept(database):
    with database.writing() as connection:
        for minute in (1, 2):
            started = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
            queries.record_run(connection, "split", started, {"q": minute}, {})
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]
