"""What detectors said of an audit's pairs, beside the verdict: a score and a flag each, and how they came by them.

They hold for the scores that they were made of: whatever replaces those forgets them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.store import schema


class StoredDetection(NamedTuple):
    """One detector's columns over the rows int64 (n,) that it judged: score float32, NaN for none; flagged, bool."""

    name: str
    title: str
    made: datetime
    info: dict[str, Any]
    rows: np.ndarray
    score: np.ndarray
    flagged: np.ndarray


def replace_detection(connection: duckdb.DuckDBPyConnection, detection: StoredDetection) -> None:
    """Store a detection in place of the same detector's last one."""
    forget_detections(connection, detection.name)
    connection.execute(
        "INSERT INTO detectors VALUES (?, ?, ?, ?)",
        [
            detection.name,
            detection.title,
            detection.made.astimezone(UTC),
            json.dumps(detection.info, allow_nan=False),
        ],
    )
    judged = pa.table(
        {
            "row": detection.rows,
            "score": pa.array(detection.score, pa.float32(), mask=~np.isfinite(detection.score)),
            "flagged": detection.flagged,
        }
    )
    connection.register("judged", judged)
    connection.execute(
        "INSERT INTO detections SELECT ?, row, score, flagged FROM judged ORDER BY row", [detection.name]
    )
    connection.unregister("judged")


def forget_detections(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Delete the detections of these detectors; without names all."""
    for table in ("detections", "detectors"):
        if names:
            connection.execute(f"DELETE FROM {table} WHERE detector IN (SELECT unnest(?))", [list(names)])
        else:
            connection.execute(f"DELETE FROM {table}")


def detections(connection: duckdb.DuckDBPyConnection) -> list[StoredDetection]:
    """Return all that are stored, by name; none in a file of before."""
    schema.show_detections(connection)
    rows = connection.execute(
        "SELECT detector, title, epoch_us(made), info FROM detectors ORDER BY detector"
    ).fetchall()
    return [
        StoredDetection(name, title, _moment(made), json.loads(info), *_columns(connection, name))
        for name, title, made, info in rows
    ]


def detection_version(connection: duckdb.DuckDBPyConnection) -> str:
    """A name that changes whenever a detector has judged the pairs, or its judgement went; empty before the first."""
    schema.show_detections(connection)
    rows = connection.execute("SELECT detector, epoch_us(made) FROM detectors ORDER BY detector").fetchall()
    return " ".join(f"{name}@{made}" for name, made in rows)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _columns(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    query = "SELECT row, score, flagged FROM detections WHERE detector = ? ORDER BY row"
    columns = connection.execute(query, [name]).fetchnumpy()
    score = np.ma.filled(np.ma.asarray(columns["score"], np.float32), np.nan)
    return np.asarray(columns["row"], np.int64), score, np.asarray(columns["flagged"], bool)
