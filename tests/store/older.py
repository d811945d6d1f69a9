"""Audits as earlier versions left them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb

Decided = tuple[str, str, str | None, int]  # key, decision, note, minute
DECIDED: tuple[Decided, ...] = (
    ("b", "keep", "looked at", 2), ("a", "remove", None, 1), ("c", "remove", None, 1), ("d", "unsure", "", 2),
)  # fmt: skip


def make_older(path: Path, version: int = 2, decided: tuple[Decided, ...] = ()) -> None:
    """Turn an audit's file into one of ``version`` 1 or 2 that holds these decisions."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE actions; DROP TABLE action_pairs; DROP TABLE decisions")
        connection.execute(
            "CREATE TABLE decisions (key VARCHAR PRIMARY KEY, decision decision NOT NULL, note VARCHAR,"
            " decided_at TIMESTAMPTZ NOT NULL)"
        )
        for key, decision, note, minute in decided:
            moment = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
            connection.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", [key, decision, note, moment])
        if version == 1:
            connection.execute("DROP TABLE training_runs; DROP TABLE training_metrics")
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", [str(version)])
