"""Named queries. Each takes an open connection; transactions belong to the caller."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset

from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.store.detections import forget_detections
from cfbd_core.store.meta import checked, way_out

SUBSETS = ("benign", "poisoned", "suspicious")
VERDICTS = ("clean", "poisoned")
SPOOL_ROWS = 10_000
PAIR_COLUMNS = (
    "row, key, image, image_offset, image_size, caption, label, poisoned, attack, target, "
    "origin_key, origin_caption"
)


def row_of(connection: duckdb.DuckDBPyConnection, key: str) -> int | None:
    """The row of the pair with this key, or None."""
    found = connection.execute("SELECT row FROM pairs WHERE key = ? LIMIT 1", [key]).fetchall()
    return int(found[0][0]) if found else None


def get_meta(connection: duckdb.DuckDBPyConnection, name: str) -> Any:
    """The JSON value stored under ``name``, or None. Raises AuditError where it is damaged."""
    found = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchall()
    try:
        return checked(name, found[0][0]) if found else None
    except ValueError as error:
        reason = " ".join(str(error).split())[:120]
        raise AuditError(
            f"{_file(connection)}: what it says of the {name} is damaged ({reason}); {way_out(name)}"
        ) from error


def has_meta(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a value is stored under ``name``, damaged or not."""
    return bool(connection.execute("SELECT count(*) FROM meta WHERE name = ?", [name]).fetchall()[0][0])


def needed_meta(connection: duckdb.DuckDBPyConnection, name: str) -> Any:
    """The JSON value stored under ``name``. Raises AuditError where there is none, or it is damaged."""
    found = get_meta(connection, name)
    if found is None:
        raise AuditError(f"{_file(connection)}: says nothing of the {name}; {way_out(name)}")
    return found


def derived_meta(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any] | None:
    """The object stored under ``name``, for those who can make it anew: empty where it is damaged."""
    try:
        found: dict[str, Any] | None = get_meta(connection, name)
    except AuditError:
        return {}
    return found


def set_meta(connection: duckdb.DuckDBPyConnection, name: str, value: Any) -> None:
    """Store a JSON value; no NaN or infinity can enter."""
    text = json.dumps(value, allow_nan=False)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, text])


def forget_meta(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Remove values; names that are not there are fine."""
    for name in names:
        connection.execute("DELETE FROM meta WHERE name = ?", [name])


class Added(NamedTuple):
    """What :func:`add_pairs` did: pairs added, and of them those with a new name, with a few of these names."""

    pairs: int
    renamed: int
    examples: list[str]


def add_pairs(
    connection: duckdb.DuckDBPyConnection, parts: Path, shards: Sequence[tuple[int, str]] = ((0, ""),)
) -> Added:
    """Take in the Parquet parts of an ingest; ``shards`` are (first row, name), in order.

    A key that was seen before gets a new name (:func:`cfbd_core.sources.base.repeated_key`), unless it comes with the
    same picture and caption: that is skipped.
    """
    _show_parts(connection, parts)
    _find_repeats(connection, shards)
    connection.execute(
        """
        INSERT INTO skipped
        SELECT key, 'pair ' || row, 'ingest', 'duplicate key', 'first seen as pair ' || same, image, caption
        FROM repeated WHERE row > same ORDER BY row
        """
    )
    _free_names(connection)
    connection.execute(
        """
        INSERT INTO pairs
        SELECT row, coalesce(name, p.key), p.image, image_offset, image_size, p.caption,
            label, poisoned, attack, target, origin_key, origin_caption
        FROM parts p LEFT JOIN repeated USING (row) WHERE same IS NULL OR same = row ORDER BY row
        """
    )
    query = "SELECT count(*), list(name ORDER BY row)[:3] FROM repeated WHERE name IS NOT NULL"
    renamed, examples = connection.execute(query).fetchall()[0]
    connection.execute("DROP TABLE repeated; DROP VIEW parts")
    return Added(pair_count(connection), renamed, examples or [])


def _show_parts(connection: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Let SQL find the Parquet files in ``parts`` as ``parts``."""
    if glob.has_magic(str(parts)):  # DuckDB takes the folder's name for a pattern, and Arrow does not
        connection.register("parts", pyarrow.dataset.dataset(parts, format="parquet"))
        return
    files = f"{parts}/pairs_*.parquet".replace("'", "''")
    connection.execute(f"CREATE TEMP VIEW parts AS SELECT * FROM read_parquet('{files}')")


def _find_repeats(connection: duckdb.DuckDBPyConnection, shards: Sequence[tuple[int, str]]) -> None:
    """Make the table ``repeated``: every pair whose key another has; ``same`` is the first with all else alike.

    ``name`` is null for the first pair of a key, and for copies.
    """
    # Few keys repeat, if any: counting them takes a fraction of what a window over all rows takes.
    connection.execute(
        """
        CREATE TEMP TABLE repeated AS
        SELECT row, key, image, caption, min(row) OVER alike AS same, NULL::VARCHAR AS name
        FROM parts JOIN (SELECT key FROM parts GROUP BY key HAVING count(*) > 1) USING (key)
        WINDOW alike AS (PARTITION BY key, image, image_offset, image_size, caption)
        """
    )
    names = {"first": [row for row, _ in shards], "shard": [shard for _, shard in shards]}
    connection.register("shards", pa.table(names, pa.schema([("first", pa.int64()), ("shard", pa.string())])))
    connection.execute(
        """
        UPDATE repeated SET name = found.name FROM (
            SELECT row, nth, home, shard, CASE WHEN shard = home THEN '' ELSE shard || '/' END || key
                || CASE WHEN nth > 1 THEN '~' || nth ELSE '' END AS name
            FROM (
                SELECT row, key, shards.shard, row_number() OVER (PARTITION BY key, shards.shard ORDER BY row) AS nth,
                    first_value(shards.shard) OVER (PARTITION BY key ORDER BY row) AS home
                FROM repeated ASOF JOIN shards ON row >= shards.first WHERE row = same
            )
        ) found WHERE repeated.row = found.row AND NOT (nth = 1 AND found.shard = home)
        """
    )
    connection.unregister("shards")


def _free_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Lengthen new names that are a pair's key already, or another's new name."""
    taken = """
        SELECT row FROM repeated WHERE name IN (SELECT key FROM parts) OR (
            name IS NOT NULL AND row NOT IN (SELECT min(row) FROM repeated WHERE name IS NOT NULL GROUP BY name)
        )
    """
    if not connection.execute("SELECT count(name) FROM repeated").fetchall()[0][0]:
        return
    while connection.execute(f"SELECT count(*) FROM ({taken})").fetchall()[0][0]:
        connection.execute(f"UPDATE repeated SET name = name || '~' WHERE row IN ({taken})")


def add_skips(connection: duckdb.DuckDBPyConnection, skips: pa.Table) -> None:
    """Append to ``skipped``; columns as in the table."""
    connection.register("new_skips", skips)
    connection.execute("INSERT INTO skipped BY NAME SELECT * FROM new_skips")
    connection.unregister("new_skips")


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


def pair_rows(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Rows of all pairs, ascending, int64 (n,). Raises AuditError where they are damaged."""
    return checked_rows(connection, _column(connection, "SELECT row FROM pairs ORDER BY row", np.int64))


def places_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> pa.Table:
    """Row, key, image, image_offset and image_size of the pairs at ``rows`` int64 (n,), ascending."""
    connection.register("wanted", pa.table({"row": rows}))
    found = connection.sql(
        "SELECT row, key, image, image_offset, image_size FROM pairs SEMI JOIN wanted USING (row) ORDER BY row"
    ).to_arrow_table()
    connection.unregister("wanted")
    return found


def checked_rows(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> np.ndarray:
    """The rows (n,), ascending, that were read from a table. Raises AuditError where pairs cannot be at such rows."""
    source = get_meta(connection, "source")
    most = np.inf if source is None else source["rows"]
    if len(rows) and not (rows[0] >= 0 and rows[-1] < most and (np.diff(rows) > 0).all()):
        raise _damaged_rows(connection)
    return rows


def _damaged_rows(connection: duckdb.DuckDBPyConnection) -> AuditError:
    return AuditError(
        f"{_file(connection)}: the rows of its pairs are damaged; put a copy of the file in its place"
    )


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


def scores(connection: duckdb.DuckDBPyConnection) -> pa.Table:
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
        """
        SELECT row, consistency FROM scores SEMI JOIN pairs USING (row)
        WHERE consistency IS NOT NULL ORDER BY row
        """
    ).to_arrow_table()
    return checked_rows(connection, table["row"].to_numpy()), table["consistency"].to_numpy()


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
    if len(found) != len(rows):  # a row that two pairs have, or none
        raise _damaged_rows(connection)
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
    rows = table["row"].to_numpy()
    checked_rows(connection, np.sort(rows))
    return rows, table["flagged"].to_numpy(), table["probe"].to_numpy()


def select_pairs(
    connection: duckdb.DuckDBPyConnection,
    where: str | None = None,
    order_by: str | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Rows of ``audit_pairs`` by an SQL condition and order; a ParameterError when that does not parse."""
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
    """Write all pairs, or those with ``final`` "kept" or "removed", by row, with their notes, to an Arrow file."""
    chosen = "" if final is None else f"WHERE final = '{final}'"
    _spool(connection.sql(f"SELECT * FROM audit_pairs {chosen} ORDER BY row"), path)


def spool_rows(connection: duckdb.DuckDBPyConnection, rows: np.ndarray, path: Path) -> None:
    """Write the pairs at ``rows`` int64 (m,), in that order, with their notes; rows that are gone are left out."""
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    query = "SELECT audit_pairs.* FROM audit_pairs JOIN wanted USING (row) ORDER BY position"
    _spool(connection.sql(query), path)
    connection.unregister("wanted")


def _spool(found: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Write what a query finds to an Arrow file: by Arrow, for a connection writes no files of its own."""
    reader = found.to_arrow_reader(SPOOL_ROWS)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, reader.schema, options=options) as writer:
        for batch in reader:
            writer.write_batch(batch)


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


def _file(connection: duckdb.DuckDBPyConnection) -> str:
    found = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()
    return str(found[0][0])


def _column(connection: duckdb.DuckDBPyConnection, query: str, dtype: type[np.generic]) -> np.ndarray:
    values = connection.sql(query).to_arrow_table().column(0).to_numpy()
    typed: np.ndarray = values.astype(dtype, copy=False)
    return typed
