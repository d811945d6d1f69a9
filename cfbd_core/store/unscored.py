"""Pairs that have no score, and why: nothing but an ingest takes a pair out of an audit.

``set_aside`` keeps the whole pairs whose picture could not be embedded; they are named in ``skipped``, and come back
into ``pairs`` with the first embedding that can read their picture. ``unscored`` names pairs that are embedded but
whose embedding gave no score; they stay in ``pairs``. Both are replaced by the next run of their step.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.store import schema
from cfbd_core.store.entries import UnscoredReason
from cfbd_core.store.meta import MAPPING
from cfbd_core.store.queries import PAIR_COLUMNS, get_meta, pair_count

NOT_YET = "embedded since the last scoring"
_OF_EMBED = "stage = 'embed' AND position IN (SELECT 'pair ' || row FROM set_aside)"


def set_aside(connection: duckdb.DuckDBPyConnection, failures: pa.Table) -> None:
    """Set aside the pairs that could not be embedded (row, reason, detail), and take those back that now could."""
    connection.execute(f"DELETE FROM skipped WHERE {_OF_EMBED}")
    connection.execute(
        f"INSERT INTO pairs ({PAIR_COLUMNS}) SELECT {PAIR_COLUMNS} FROM set_aside ORDER BY row"
    )
    connection.execute("DELETE FROM set_aside")
    connection.register("failures", failures)
    connection.execute(
        f"""
        INSERT INTO set_aside ({PAIR_COLUMNS})
        SELECT {PAIR_COLUMNS} FROM pairs WHERE row IN (SELECT row FROM failures) ORDER BY row
        """
    )
    connection.execute(
        """
        INSERT INTO skipped
        SELECT p.key, 'pair ' || p.row, 'embed', f.reason, f.detail, p.image, p.caption
        FROM set_aside p JOIN failures f ON f.row = p.row ORDER BY p.row
        """
    )
    connection.execute("DELETE FROM pairs WHERE row IN (SELECT row FROM failures)")
    for table in ("scores", "verdicts", "detections", "unscored"):
        connection.execute(f"DELETE FROM {table} WHERE row IN (SELECT row FROM failures)")
    connection.unregister("failures")


def aside(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Row, image, image_offset and image_size of the pairs that are set aside, by row."""
    schema.show_unscored(connection)
    query = "SELECT row, image, image_offset, image_size FROM set_aside ORDER BY row"
    return connection.sql(query).to_arrow_table()


def among_pairs(connection: duckdb.DuckDBPyConnection, failures: pa.Table) -> pa.Table:
    """Return those of ``failures`` (row, reason, detail) that are of the audit's pairs, set aside or not.

    Older versions took pairs out for good; the shards still have them.
    """
    connection.register("failures", failures)
    rows = "SELECT row FROM pairs UNION ALL SELECT row FROM set_aside"
    query = f"SELECT * FROM failures WHERE row IN ({rows}) ORDER BY row"
    table = connection.sql(query).to_arrow_table()
    connection.unregister("failures")
    return table


def to_embed(connection: duckdb.DuckDBPyConnection, start: int, stop: int) -> pa.Table:
    """Row, key, place of the image and caption of the pairs in rows [start, stop), set aside or not, by row."""
    schema.show_unscored(connection)
    columns = "row, key, image, image_offset, image_size, caption"
    parts = (
        f"SELECT {columns} FROM {name} WHERE row >= $start AND row < $stop" for name in ("pairs", "set_aside")
    )
    query = f"{' UNION ALL '.join(parts)} ORDER BY row"
    return connection.sql(query, params={"start": start, "stop": stop}).to_arrow_table()


def most_keys(connection: duckdb.DuckDBPyConnection) -> int:
    """Return pairs in the audit, those that are set aside among them."""
    return pair_count(connection) + len(aside(connection))


def replace_unscored(connection: duckdb.DuckDBPyConnection, unscored: pa.Table) -> None:
    """Put the pairs (row, reason, detail) that a scoring could not score in place of those before."""
    connection.execute("DELETE FROM unscored")
    connection.register("new_unscored", unscored)
    connection.execute("INSERT INTO unscored BY NAME SELECT * FROM new_unscored")
    connection.unregister("new_unscored")


def unscored_rows(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    """Return rows int64 (m,) of the pairs that the last scoring could not score, ascending."""
    schema.show_unscored(connection)
    rows = connection.execute("SELECT row FROM unscored ORDER BY row").fetchnumpy()["row"]
    return np.asarray(rows, np.int64)


def unscored_summary(connection: duckdb.DuckDBPyConnection, examples: int = 3) -> list[UnscoredReason]:
    """Why pairs of a scored audit have no score: for each reason how many, and the first examples."""
    if get_meta(connection, MAPPING) is None:
        return []
    schema.show_unscored(connection)
    rows = connection.execute(
        """
        SELECT coalesce(u.reason, ?) AS reason, count(*)::BIGINT,
               list({'key': p.key, 'position': 'pair ' || p.row, 'detail': u.detail} ORDER BY p.row)[:?]
        FROM pairs p ANTI JOIN scores s ON s.row = p.row LEFT JOIN unscored u ON u.row = p.row
        GROUP BY ALL ORDER BY 2 DESC, 1
        """,
        [NOT_YET, examples],
    ).fetchall()
    return [{"reason": reason, "pairs": pairs, "examples": first} for reason, pairs, first in rows]
