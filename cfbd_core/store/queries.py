"""Named queries: pairs, runs, values by name. Each takes an open connection; transactions belong to the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.store.entries import SkipReason
from cfbd_core.store.meta import SOURCE, MetaName, checked, way_out
from cfbd_core.wording import in_one_line

T = TypeVar("T")

SPOOL_ROWS = 10_000
PAIR_COLUMNS = (
    "row, key, image, image_offset, image_size, caption, label, poisoned, attack, target, "
    "origin_key, origin_caption"
)


def row_of(connection: duckdb.DuckDBPyConnection, key: str) -> int | None:
    """Return the row of the pair with this key, or None."""
    rows = connection.execute("SELECT row FROM pairs WHERE key = ? LIMIT 1", [key]).fetchall()
    return int(rows[0][0]) if rows else None


def get_meta(connection: duckdb.DuckDBPyConnection, name: MetaName[T]) -> T | None:
    """Return the JSON value stored under ``name``, or None. Raises AuditError where it is damaged."""
    values = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchall()
    try:
        value: T | None = checked(name, values[0][0]) if values else None
        return value
    except ValueError as error:
        reason = in_one_line(error, 120)
        raise AuditError(
            f"{_file(connection)}: what it says of the {name} is damaged ({reason}); {way_out(name)}"
        ) from error


def has_meta(connection: duckdb.DuckDBPyConnection, name: MetaName[Any]) -> bool:
    """Return whether a value is stored under ``name``, damaged or not."""
    return bool(connection.execute("SELECT count(*) FROM meta WHERE name = ?", [name]).fetchall()[0][0])


def needed_meta(connection: duckdb.DuckDBPyConnection, name: MetaName[T]) -> T:
    """Return the JSON value stored under ``name``. Raises AuditError where there is none, or it is damaged."""
    value = get_meta(connection, name)
    if value is None:
        raise AuditError(f"{_file(connection)}: says nothing of the {name}; {way_out(name)}")
    return value


class Derived(NamedTuple, Generic[T]):
    """A value that can be made anew: None where there is none, or where what ``is_kept`` is damaged."""

    value: T | None
    is_kept: bool


def derived_meta(connection: duckdb.DuckDBPyConnection, name: MetaName[T]) -> Derived[T]:
    """Return the value stored under ``name``, for those who can make it anew where it is damaged."""
    try:
        value = get_meta(connection, name)
    except AuditError:
        return Derived(None, True)
    return Derived(value, value is not None)


def set_meta(connection: duckdb.DuckDBPyConnection, name: MetaName[T], value: T) -> None:
    """Store a JSON value; no NaN or infinity can enter."""
    text = json.dumps(value, allow_nan=False)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, text])


def forget_meta(connection: duckdb.DuckDBPyConnection, *names: MetaName[Any]) -> None:
    """Remove values; names that are not there are fine."""
    for name in names:
        connection.execute("DELETE FROM meta WHERE name = ?", [name])


def pair_count(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of pairs in the audit, skipped ones not counted."""
    return int(connection.execute("SELECT count(*) FROM pairs").fetchall()[0][0])


def skip_summary(connection: duckdb.DuckDBPyConnection, examples: int = 3) -> list[SkipReason]:
    """For each stage and reason: how many, and the first examples."""
    rows = connection.execute(
        """
        SELECT stage, reason, count(*)::BIGINT,
               list({'key': key, 'position': position, 'detail': detail} ORDER BY rowid)[:?]
        FROM skipped GROUP BY ALL ORDER BY 3 DESC, 1, 2
        """,
        [examples],
    ).fetchall()
    return [
        {"stage": stage, "reason": reason, "pairs": pairs, "examples": first}
        for stage, reason, pairs, first in rows
    ]


def pair_rows(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Return rows of all pairs, ascending, int64 (n,). Raises AuditError where they are damaged."""
    return checked_rows(connection, _column(connection, "SELECT row FROM pairs ORDER BY row", np.int64))


def places_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> pa.Table:
    """Row, key, image, image_offset and image_size of the pairs at ``rows`` int64 (n,), ascending."""
    connection.register("wanted", pa.table({"row": rows}))
    places = connection.sql(
        "SELECT row, key, image, image_offset, image_size FROM pairs SEMI JOIN wanted USING (row) ORDER BY row"
    ).to_arrow_table()
    connection.unregister("wanted")
    return places


def checked_rows(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> np.ndarray:
    """The rows (n,), ascending, that were read from a table. Raises AuditError where pairs cannot be at such rows."""
    source = get_meta(connection, SOURCE)
    most = np.inf if source is None else source["rows"]
    if len(rows) and not (rows[0] >= 0 and rows[-1] < most and (np.diff(rows) > 0).all()):
        raise _damaged_rows(connection)
    return rows


def _damaged_rows(connection: duckdb.DuckDBPyConnection) -> AuditError:
    return AuditError(
        f"{_file(connection)}: the rows of its pairs are damaged; put a copy of the file in its place"
    )


def image_groups(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Return a number for each pair, by row, int64 (n,): pairs of one image file share it."""
    return _column(
        connection,
        """
        SELECT dense_rank() OVER (ORDER BY image, image_offset, if(image IS NULL, row, 0)) FROM pairs
        ORDER BY row
        """,
        np.int64,
    )


def keys_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str]:
    """Return keys of the given rows, in their order."""
    return _texts_of(connection, "key", rows)


def captions_of(connection: duckdb.DuckDBPyConnection, rows: np.ndarray) -> list[str]:
    """Captions of the given rows, in their order."""
    return _texts_of(connection, "caption", rows)


def _texts_of(connection: duckdb.DuckDBPyConnection, column: str, rows: np.ndarray) -> list[str]:
    connection.register("wanted", pa.table({"row": rows, "position": np.arange(len(rows))}))
    texts = connection.execute(
        f"SELECT {column} FROM pairs JOIN wanted USING (row) ORDER BY position"
    ).fetchall()
    connection.unregister("wanted")
    if len(texts) != len(rows):  # a row that two pairs have, or none
        raise _damaged_rows(connection)
    return [text for (text,) in texts]


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
    """Return rows of ``audit_pairs`` by an SQL condition and order; a ParameterError when that does not parse."""
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


def _spool(relation: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Write what a query finds to an Arrow file: by Arrow, for a connection writes no files of its own."""
    reader = relation.to_arrow_reader(SPOOL_ROWS)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, reader.schema, options=options) as writer:
        for batch in reader:
            writer.write_batch(batch)


def record_run(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    started: datetime,
    params: Mapping[str, object],
    stats: Mapping[str, object],
) -> None:
    """Write a finished job into ``runs``."""
    run_id = f"{kind}-{started:%Y%m%dT%H%M%S.%f}"
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)",
        [run_id, kind, started, datetime.now(UTC), json.dumps(params), json.dumps(stats)],
    )


def _file(connection: duckdb.DuckDBPyConnection) -> str:
    paths = connection.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchall()
    return str(paths[0][0])


def _column(connection: duckdb.DuckDBPyConnection, query: str, dtype: type[np.generic]) -> np.ndarray:
    values = connection.sql(query).to_arrow_table().column(0).to_numpy()
    typed: np.ndarray = values.astype(dtype, copy=False)
    return typed
