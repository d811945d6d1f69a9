"""Named queries. Each takes an open connection; transactions belong to the caller."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.errors import ParameterError
from cfbd_core.store import schema

SUBSETS = ("benign", "poisoned", "suspicious")
VERDICTS = ("clean", "poisoned")
_PAIR_COLUMNS = (
    "row, key, image, image_offset, image_size, caption, label, poisoned, attack, target, "
    "origin_key, origin_caption"
)


def row_of(connection: duckdb.DuckDBPyConnection, key: str) -> int | None:
    """The row of the pair with this key, or None."""
    found = connection.execute("SELECT row FROM pairs WHERE key = ? LIMIT 1", [key]).fetchall()
    return int(found[0][0]) if found else None


def get_meta(connection: duckdb.DuckDBPyConnection, name: str) -> Any:
    """The JSON value stored under ``name``, or None."""
    found = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchall()
    return json.loads(found[0][0]) if found else None


def set_meta(connection: duckdb.DuckDBPyConnection, name: str, value: Any) -> None:
    """Store a JSON value; no NaN or infinity can enter."""
    text = json.dumps(value, allow_nan=False)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, text])


def forget_meta(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Remove values; names that are not there are fine."""
    for name in names:
        connection.execute("DELETE FROM meta WHERE name = ?", [name])


def add_pairs(connection: duckdb.DuckDBPyConnection, parts: Path) -> int:
    """Take in the Parquet parts of an ingest; a key seen before is skipped. Returns the pairs added."""
    files = str(parts / "pairs_*.parquet")
    # Few keys repeat, if any: counting them takes a fraction of what a window over all rows takes.
    connection.execute(
        """
        CREATE TEMP TABLE late AS
        SELECT row, first FROM read_parquet(?) JOIN (
            SELECT key, min(row) AS first FROM read_parquet(?) GROUP BY key HAVING count(*) > 1
        ) USING (key) WHERE row > first
        """,
        [files, files],
    )
    connection.execute(
        """
        INSERT INTO skipped
        SELECT key, 'pair ' || row, 'ingest', 'duplicate key', 'first seen as pair ' || first, image, caption
        FROM read_parquet(?) JOIN late USING (row) ORDER BY row
        """,
        [files],
    )
    connection.execute(
        f"""
        INSERT INTO pairs SELECT {_PAIR_COLUMNS} FROM read_parquet(?)
        WHERE row NOT IN (SELECT row FROM late) ORDER BY row
        """,
        [files],
    )
    connection.execute("DROP TABLE late")
    return pair_count(connection)


def add_skips(connection: duckdb.DuckDBPyConnection, skips: pa.Table) -> None:
    """Append to ``skipped``; columns as in the table."""
    connection.register("new_skips", skips)
    connection.execute("INSERT INTO skipped BY NAME SELECT * FROM new_skips")
    connection.unregister("new_skips")


def drop_pairs(connection: duckdb.DuckDBPyConnection, failures: pa.Table, stage: str) -> None:
    """Move pairs that cannot be embedded or scored (row, reason, detail) to ``skipped``."""
    connection.register("failures", failures)
    connection.execute(
        """
        INSERT INTO skipped
        SELECT p.key, 'pair ' || p.row, ?, f.reason, f.detail, p.image, p.caption
        FROM pairs p JOIN failures f ON f.row = p.row ORDER BY p.row
        """,
        [stage],
    )
    connection.execute("DELETE FROM pairs WHERE row IN (SELECT row FROM failures)")
    connection.unregister("failures")


def pair_count(connection: duckdb.DuckDBPyConnection) -> int:
    """Pairs in the audit, skipped ones not counted."""
    return int(connection.execute("SELECT count(*) FROM pairs").fetchall()[0][0])


def skip_summary(connection: duckdb.DuckDBPyConnection, examples: int = 3) -> list[dict[str, Any]]:
    """For each stage and reason: how many, and the first examples."""
    found = connection.execute(
        """
        SELECT stage, reason, count(*)::BIGINT,
               list({'key': key, 'position': position, 'detail': detail} ORDER BY rowid)[:?]
        FROM skipped GROUP BY ALL ORDER BY 3 DESC, 1, 2
        """,
        [examples],
    ).fetchall()
    return [dict(zip(("stage", "reason", "pairs", "examples"), row, strict=True)) for row in found]


def to_embed(connection: duckdb.DuckDBPyConnection, start: int, stop: int) -> pa.Table:
    """Row, key, image locator and caption of the pairs in rows [start, stop), by row."""
    query = (
        "SELECT row, key, image, image_offset, image_size, caption FROM pairs "
        "WHERE row >= ? AND row < ? ORDER BY row"
    )
    return connection.sql(query, params=[start, stop]).to_arrow_table()


def pair_rows(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Rows of all pairs, ascending, int64 (n,)."""
    return _column(connection, "SELECT row FROM pairs ORDER BY row", np.int64)


def image_groups(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """A number for each pair, by row, int64 (n,): pairs of one image file share it."""
    return _column(
        connection,
        """
        SELECT dense_rank() OVER (ORDER BY image, image_offset, if(image IS NULL, row, 0)) FROM pairs
        ORDER BY row
        """,
        np.int64,
    )


def replace_scores(connection: duckdb.DuckDBPyConnection, scores: pa.Table) -> None:
    """Put new scores in place of the old ones; verdicts, which rest on them, go."""
    connection.execute("DELETE FROM scores")
    connection.execute("DELETE FROM verdicts")
    connection.register("new_scores", scores)
    connection.execute("INSERT INTO scores BY NAME SELECT * FROM new_scores")
    connection.unregister("new_scores")


def forget_scores(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop scores, verdicts and what is known of them: the embeddings they rest on were made anew."""
    connection.execute("DELETE FROM scores")
    connection.execute("DELETE FROM verdicts")
    forget_meta(connection, "mapping", "health", "split")


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


def consistency(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 (n,) and consistency float32 (n,) of all scored pairs, by row."""
    table = connection.sql(
        "SELECT row, consistency FROM scores WHERE consistency IS NOT NULL ORDER BY row"
    ).to_arrow_table()
    return table["row"].to_numpy(), table["consistency"].to_numpy()


def keys_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str]:
    """Keys of the given rows, in their order."""
    return _texts_of(connection, "key", rows)


def captions_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str]:
    """Captions of the given rows, in their order."""
    return _texts_of(connection, "caption", rows)


def _texts_of(connection: duckdb.DuckDBPyConnection, column: str, rows: np.ndarray) -> list[str]:
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    found = connection.execute(
        f"SELECT {column} FROM pairs JOIN wanted USING (row) ORDER BY position"
    ).fetchall()
    connection.unregister("wanted")
    return [text for (text,) in found]


def outcome(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Truth, scores and verdict of every pair, by row: poisoned, consistency, z, subset, verdict, decision, final."""
    return connection.sql(
        "SELECT poisoned, consistency, z, subset, verdict, decision, final FROM audit_pairs ORDER BY row"
    ).to_arrow_table()


def map_candidates(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pairs, by subset and consistency: row int64, flagged bool, in D_p bool, each (n,)."""
    table = connection.sql(
        """
        SELECT row, coalesce(verdict = 'poisoned', false) OR decision = 'remove' AS flagged,
               coalesce(subset = 'poisoned', false) AS probe
        FROM audit_pairs ORDER BY subset, consistency, row
        """
    ).to_arrow_table()
    return table["row"].to_numpy(), table["flagged"].to_numpy(), table["probe"].to_numpy()


def select_pairs(
    connection: duckdb.DuckDBPyConnection,
    where: str | None = None,
    order_by: str | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Rows of ``audit_pairs`` by an SQL condition and order; a ParameterError when that does not parse."""
    schema.show_notes(connection)
    query = "SELECT * FROM audit_pairs"
    query += f" WHERE {where}" if where else ""
    query += f" ORDER BY {order_by}" if order_by else " ORDER BY row"
    query += f" LIMIT {int(limit)}" if limit is not None else ""
    try:
        return connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(f"pairs: where={where!r}, order_by={order_by!r}: {reason}") from error


def spool_pairs(connection: duckdb.DuckDBPyConnection, final: str | None, path: Path) -> None:
    """Write all pairs, or those with ``final`` "kept" or "removed", by row, with their notes, to a Parquet file."""
    schema.show_notes(connection)
    chosen = "" if final is None else f"WHERE final = '{final}'"
    connection.execute(
        f"COPY (SELECT * FROM audit_pairs {chosen} ORDER BY row) TO '{_quoted(path)}' (FORMAT parquet)"
    )


def spool_rows(connection: duckdb.DuckDBPyConnection, rows: np.ndarray, path: Path) -> None:
    """Write the pairs at ``rows`` int64 (m,), in that order, with their notes; rows that are gone are left out."""
    schema.show_notes(connection)
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    connection.execute(
        f"""
        COPY (SELECT audit_pairs.* FROM audit_pairs JOIN wanted USING (row) ORDER BY position)
        TO '{_quoted(path)}' (FORMAT parquet)
        """
    )
    connection.unregister("wanted")


def record_run(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    started: datetime,
    params: dict[str, Any],
    stats: dict[str, Any],
) -> None:
    """Write a finished job into ``runs``."""
    run_id = f"{kind}-{started:%Y%m%dT%H%M%S.%f}"
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)",
        [run_id, kind, started, datetime.now(UTC), json.dumps(params), json.dumps(stats)],
    )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _column(connection: duckdb.DuckDBPyConnection, query: str, dtype: type[np.generic]) -> np.ndarray:
    values = connection.sql(query).to_arrow_table().column(0).to_numpy()
    typed: np.ndarray = values.astype(dtype, copy=False)
    return typed
