"""Whole columns, decisions by row, pages and searches."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfbd_core.store import Database, acting, columns, queries
from cfbd_core.store.adding import add_pairs
from cfbd_core.store.scores import replace_scores

CAPTIONS = [
    "100% off",
    "100 percent off",
    "file_name",
    "fileXname",
    "C:\\photos",
    "it's",
    'a "quoted" dog',
    "Une ÉCOLE",
    "A Banana",
    "",
]
ROWS = [0, 1, 2, 4, 5, 7, 8, 9, 11, 30]


@pytest.fixture
def database(tmp_path) -> Database:
    database = Database.create(tmp_path / "audit.duckdb")
    n = len(ROWS)
    pairs = pa.table(
        {
            "row": ROWS,
            "key": [f"Key{row}" for row in ROWS],
            "image": [f"{row}.png" for row in ROWS],
            "caption": CAPTIONS,
            "poisoned": pa.array([True, False, None] * 3 + [True]),
            **{name: pa.nulls(n, pa.int64()) for name in ("image_offset", "image_size")},
            **{
                name: pa.nulls(n, pa.string())
                for name in ("label", "attack", "target", "origin_key", "origin_caption")
            },
        }
    )
    pq.write_table(pairs, tmp_path / "pairs_000000.parquet")
    with database.writing(tmp_path) as connection:
        add_pairs(connection, tmp_path)
    return database


def put_scores(database: Database, rows: list[int], c: list[float | None]) -> None:
    other = {
        name: pa.array(c, pa.float32()) for name in ("s_o", "s_g", "residual", "residual_calibrated", "intra")
    }
    with database.writing() as connection:
        replace_scores(connection, pa.table({"row": rows, "consistency": pa.array(c, pa.float32()), **other}))


def decide(database: Database, rows: list[int], codes: list[int]) -> None:
    with database.writing() as connection:
        acting.decide_rows(
            connection, np.array(rows, np.int64), np.array(codes, np.int8), acting.Provenance("ada")
        )


def decided(database: Database) -> dict[int, int]:
    with database.reading() as connection:
        rows, codes = columns.decided(connection)
    assert (rows.dtype, codes.dtype) == (np.int64, np.int8)
    return dict(zip(rows.tolist(), codes.tolist(), strict=True))


def search(database: Database, text: str) -> list[int]:
    with database.reading() as connection:
        return columns.search_captions(connection, text).tolist()


# --- scores ------------------------------------------------------------------------------------------------


def test_scored_pairs_by_row_with_their_truth(database):
    put_scores(database, [30, 2, 0, 1], [0.25, 0.5, None, 0.125])
    with database.reading() as connection:
        rows, c, truth = columns.scored(connection)
    assert rows.tolist() == [1, 2, 30]
    assert c.tolist() == [0.125, 0.5, 0.25]
    assert truth.tolist() == [0, -1, 1]
    assert (rows.dtype, c.dtype, truth.dtype) == (np.int64, np.float32, np.int8)


def test_scores_that_are_stored_in_another_order_come_by_row(database):
    rows = [*range(500, 30, -1), 30, 2, 0, 1]  # so many that DuckDB goes through them, not through the pairs
    put_scores(database, rows, [row / 512 for row in rows])
    with database.reading() as connection:
        found, c, truth = columns.scored(connection)
    assert found.tolist() == [0, 1, 2, 30]
    assert c.tolist() == [row / 512 for row in (0, 1, 2, 30)]
    assert truth.tolist() == [1, 0, -1, 1]


def test_a_score_of_a_pair_that_is_gone_is_left_out(database):
    put_scores(database, [0, 3], [0.1, 0.2])
    with database.reading() as connection:
        assert columns.scored(connection)[0].tolist() == [0]


def test_without_scores_the_columns_are_empty(database):
    with database.reading() as connection:
        assert [len(column) for column in columns.scored(connection)] == [0, 0, 0]


def test_the_score_version_is_that_of_the_last_scoring(database):
    def version() -> str | None:
        with database.reading() as connection:
            return columns.score_version(connection)

    def record(kind: str, minute: int) -> None:
        with database.writing() as connection:
            queries.record_run(connection, kind, datetime(2026, 1, 1, 0, minute, tzinfo=UTC), {}, {})

    assert version() is None
    record("score", 1)
    first = version()
    record("split", 2)
    assert version() == first is not None
    record("score", 3)
    assert version() not in (first, None)


# --- decisions ---------------------------------------------------------------------------------------------


def test_decisions_are_stored_replaced_and_taken_back(database):
    decide(database, [1, 30, 4], [1, 2, 3])
    assert decided(database) == {1: 1, 4: 3, 30: 2}
    decide(database, [30, 1, 0], [0, 2, 1])
    assert decided(database) == {0: 1, 1: 2, 4: 3}


def test_a_decision_is_the_one_its_code_names(database):
    decide(database, [0, 1, 2], [1, 2, 3])
    with database.reading() as connection:
        found = queries.select_pairs(connection, "row < 3")["decision"].to_pylist()
    assert found == ["keep", "remove", "unsure"]


def test_no_decisions_change_nothing(database):
    decide(database, [1], [2])
    decide(database, [], [])
    assert decided(database) == {1: 2}


def test_taking_back_what_was_never_decided_is_fine(database):
    decide(database, [1, 2], [0, 0])
    assert decided(database) == {}


def test_a_row_that_is_gone_cannot_be_decided_on(database):
    decide(database, [3, 4], [1, 1])
    assert decided(database) == {4: 1}


def test_a_decision_by_key_is_seen_by_row_and_its_note_stays_until_it_is_taken_back(database):
    made = pa.table({"key": ["Key7"], "decision": ["unsure"], "note": ["hm"]})
    with database.writing() as connection:
        acting.decide_keys(connection, made, acting.Provenance("ada"), "import")
    assert decided(database) == {7: 3}
    decide(database, [7], [1])
    with database.reading() as connection:
        assert connection.execute("SELECT key, note FROM decisions").fetchall() == [("Key7", "hm")]
    decide(database, [7], [0])
    assert decided(database) == {}


@settings(max_examples=6)  # each example takes long
@given(st.lists(st.dictionaries(st.sampled_from(ROWS), st.integers(0, 3), min_size=1), max_size=4))
def test_the_last_decision_counts(database, batches):
    decide(database, ROWS, [0] * len(ROWS))
    expected: dict[int, int] = {}
    for batch in batches:
        decide(database, list(batch), list(batch.values()))
        expected |= batch
    assert decided(database) == {row: code for row, code in sorted(expected.items()) if code}


# --- pages -------------------------------------------------------------------------------------------------


def test_a_page_is_in_the_order_asked_for_without_rows_that_are_gone(database):
    put_scores(database, [0, 5], [0.25, 0.5])
    with database.reading() as connection:
        page = columns.pairs_at(connection, np.array([30, 3, 0, 5, 12]))
    assert page["row"].to_pylist() == [30, 0, 5]
    assert page["caption"].to_pylist() == ["", "100% off", "C:\\photos"]
    assert page["s_o"].to_pylist() == [None, 0.25, 0.5]
    assert page["poisoned"].to_pylist() == [True, True, False]


def test_an_empty_page_has_the_same_columns(database):
    with database.reading() as connection:
        empty, one = (columns.pairs_at(connection, np.array(rows, np.int64)) for rows in ([], [4]))
    assert empty.num_rows == 0
    assert empty.schema == one.schema


# --- search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("banana", [11]),
        ("BANANA", [11]),
        ("école", [9]),
        ("100", [0, 1]),
        ("100%", [0]),
        ("0%o", []),
        ("e_n", [2]),
        ("\\", [5]),
        (":\\p", [5]),
        ("\\%", []),
        ("t's", [7]),
        ('"quoted"', [8]),
        ("' OR 1=1 --", []),
        ("key3", [30]),
        ("KEY1", [1, 11]),
        ("of", [0, 1]),
    ],
)
def test_a_search_is_literal_whatever_the_case(database, text, rows):
    assert search(database, text) == rows


def test_an_empty_search_finds_every_pair(database):
    assert search(database, "") == ROWS


@given(text=st.text("%_\\'\"a0 fFeKy1", min_size=1, max_size=4))
def test_a_search_is_pythons_in(database, text):
    keys = [f"Key{row}" for row in ROWS]
    expected = [
        row
        for row, key, caption in zip(ROWS, keys, CAPTIONS, strict=True)
        if text.lower() in key.lower() or text.lower() in caption.lower()
    ]
    assert search(database, text) == expected
