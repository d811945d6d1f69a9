"""Whole columns for the app's memory, and the few rows that a page shows."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.store.queries import checked_rows
from cfbd_core.store.scores import read_scores

DECISIONS = ("", "keep", "remove", "unsure")
KEEP, REMOVE = DECISIONS.index("keep"), DECISIONS.index("remove")
PAGE_COLUMNS = (
    "row, key, image, image_offset, image_size, caption, label, poisoned, attack, target, "
    "s_o, s_g, residual, residual_calibrated, intra"
)


def removed(flagged: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Which pairs an export leaves out, bool (n,): those ``flagged`` (n,), overruled by ``decisions`` int8 (n,)."""
    left_out: np.ndarray = (flagged & (decisions != KEEP)) | (decisions == REMOVE)
    return left_out


def score_version(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return a name that changes whenever the scores do; None before the first scoring."""
    rows = connection.execute("SELECT max(id) FROM runs WHERE kind = 'score'").fetchall()
    return None if rows[0][0] is None else str(rows[0][0])


def scored(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows int64, consistency float32 and truth int8 (1 poisoned, 0 clean, −1 unknown), each (n,), by row."""
    columns = connection.execute(
        """
        SELECT s.row, s.consistency, coalesce(p.poisoned::TINYINT, -1)::TINYINT AS truth
        FROM scores s JOIN pairs p ON p.row = s.row WHERE s.consistency IS NOT NULL
        """
    ).fetchnumpy()
    rows, consistency, truth = (np.asarray(columns[name]) for name in ("row", "consistency", "truth"))
    if (np.diff(rows) < 0).any():  # sorting here is much cheaper than ORDER BY
        order = np.argsort(rows, kind="stable")
        rows, consistency, truth = rows[order], consistency[order], truth[order]
    return checked_rows(connection, rows), consistency, truth


def unscored(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Return rows int64 (m,), ascending, of the pairs that have no score."""
    columns = connection.execute(
        "SELECT row FROM pairs WHERE row NOT IN (SELECT row FROM scores WHERE consistency IS NOT NULL)"
    ).fetchnumpy()
    return np.sort(np.asarray(columns["row"], np.int64))


def without_picture(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Return rows int64 (m,), ascending, of the pairs that are ready embeddings alone."""
    columns = connection.execute("SELECT row FROM pairs WHERE image IS NULL").fetchnumpy()
    return np.sort(np.asarray(columns["row"], np.int64))


def is_known_clean(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether it is known of every pair that it is not poisoned."""
    answer = connection.execute("SELECT bool_and(poisoned IS NOT DISTINCT FROM false) FROM pairs").fetchall()
    return bool(answer[0][0])


def other_scores(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """s_o, s_g, residual and m of all scored pairs, float32 (n, 4), by row; NaN where there is none."""
    table = read_scores(connection)
    return np.column_stack([table[name].to_numpy() for name in ("s_o", "s_g", "residual", "intra")])


def decided(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Return rows int64 (m,) that people decided on, and what: int8 (m,), the place in ``DECISIONS``."""
    columns = connection.execute(
        """
        SELECT p.row, list_position($names, d.decision::VARCHAR)::TINYINT - 1 AS code
        FROM decisions d JOIN pairs p ON p.key = d.key ORDER BY p.row
        """,
        {"names": list(DECISIONS)},
    ).fetchnumpy()
    return np.asarray(columns["row"], np.int64), np.asarray(columns["code"], np.int8)


def notes_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str | None]:
    """Return what people noted with their decisions on ``rows`` (m,), in that order; None where nothing."""
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    notes = connection.execute(
        """
        SELECT d.note FROM wanted LEFT JOIN pairs p ON p.row = wanted.row LEFT JOIN decisions d ON d.key = p.key
        ORDER BY position
        """
    ).fetchall()
    connection.unregister("wanted")
    return [note for (note,) in notes]


def pairs_at(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> pa.Table:
    """Return what a page shows of the pairs at ``rows`` (m,), in that order; rows that are gone are left out."""
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    low, high = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
    pairs = connection.sql(
        f"""
        SELECT {PAGE_COLUMNS} FROM wanted JOIN pairs USING (row) LEFT JOIN scores USING (row)
        WHERE row BETWEEN ? AND ? ORDER BY position
        """,
        params=[low, high],
    ).to_arrow_table()
    connection.unregister("wanted")
    return pairs


def search_captions(connection: duckdb.DuckDBPyConnection, text: str) -> np.ndarray:
    """Return rows int64 (m,), ascending, whose caption or key contains ``text``, in upper or lower case."""
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    columns = connection.execute(
        "SELECT row FROM pairs WHERE caption ILIKE $pattern ESCAPE '\\' OR key ILIKE $pattern ESCAPE '\\'",
        {"pattern": pattern},
    ).fetchnumpy()
    return np.sort(np.asarray(columns["row"], np.int64))
