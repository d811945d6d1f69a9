"""Scores and verdicts of pairs. Transactions belong to the caller."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.store.detections import forget_detections
from cfbd_core.store.meta import HEALTH, MAPPING, SPLIT
from cfbd_core.store.queries import checked_rows, forget_meta

SUBSETS = ("benign", "poisoned", "suspicious")
VERDICTS = ("clean", "poisoned")


def read_scores(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Row, s_o, s_g, consistency, residual and intra of all scored pairs, by row."""
    table = connection.sql(
        """
        SELECT row, s_o, s_g, consistency, residual, intra FROM scores SEMI JOIN pairs USING (row)
        WHERE consistency IS NOT NULL ORDER BY row
        """
    ).to_arrow_table()
    checked_rows(connection, table["row"].to_numpy())
    return table


def judged(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows int64 of all scored pairs, whether the verdict flags them, bool, and truth int8 (−1 unknown), each (n,)."""
    table = connection.sql(
        """
        SELECT s.row, coalesce(v.verdict = 'poisoned', false) AS flagged,
            coalesce(p.poisoned::TINYINT, -1)::TINYINT AS truth
        FROM scores s JOIN pairs p ON p.row = s.row LEFT JOIN verdicts v ON v.row = s.row
        WHERE s.consistency IS NOT NULL ORDER BY s.row
        """
    ).to_arrow_table()
    rows, flagged, truth = (table[name].to_numpy() for name in ("row", "flagged", "truth"))
    return rows, flagged, truth


def read_consistency(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Return rows int64 (n,) and consistency float32 (n,) of all scored pairs, by row."""
    table = connection.sql(
        """
        SELECT row, consistency FROM scores SEMI JOIN pairs USING (row)
        WHERE consistency IS NOT NULL ORDER BY row
        """
    ).to_arrow_table()
    return checked_rows(connection, table["row"].to_numpy()), table["consistency"].to_numpy()


def replace_scores(connection: duckdb.DuckDBPyConnection, scores: pa.Table) -> None:
    """Put new scores in place of the old ones; verdicts and detections, which rest on them, go."""
    connection.execute("DELETE FROM scores")
    connection.execute("DELETE FROM verdicts")
    forget_detections(connection)
    connection.register("new_scores", scores)
    connection.execute("INSERT INTO scores BY NAME SELECT * FROM new_scores")
    connection.unregister("new_scores")


def forget_scores(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop scores, verdicts and what is known of them: the embeddings they rest on were made anew."""
    connection.execute("DELETE FROM scores")
    connection.execute("DELETE FROM verdicts")
    forget_detections(connection)
    forget_meta(connection, MAPPING, HEALTH, SPLIT)


def replace_verdicts(
    connection: duckdb.DuckDBPyConnection,
    rows: np.ndarray,
    z: np.ndarray,
    subset: np.ndarray,
    poisoned: np.ndarray,
) -> None:
    """Put a new split in place: rows int64 (n,), z (n,) NaN = null, subset int8 (n,), poisoned bool (n,)."""
    table = pa.table(
        {
            "row": rows,
            "z": pa.array(z.astype(np.float32), mask=np.isnan(z)),
            "subset": pa.DictionaryArray.from_arrays(subset.astype(np.int8), list(SUBSETS)),
            "verdict": pa.DictionaryArray.from_arrays(poisoned.astype(np.int8), list(VERDICTS)),
        }
    )
    connection.execute("DELETE FROM verdicts")
    connection.register("new_verdicts", table)
    connection.execute("INSERT INTO verdicts BY NAME SELECT * FROM new_verdicts")
    connection.unregister("new_verdicts")
