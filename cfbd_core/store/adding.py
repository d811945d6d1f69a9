"""How the pairs of an ingest come into the audit. Transactions belong to the caller."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.dataset

from cfbd_core.store.queries import pair_count


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
