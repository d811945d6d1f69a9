"""How a file of an older version is brought up to date: one function a version, each in a transaction of its own.

A function here is not changed any more once a version was released with it: it turns files that are out there into
those of the next version, whatever later versions look like. What it needs of the tables of its time stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from cfbd_core.store import schema

Migration = Callable[[duckdb.DuckDBPyConnection], None]

_CALIBRATED_1 = (
    "ALTER TABLE scores ADD COLUMN IF NOT EXISTS residual_calibrated FLOAT"  # the first files lack it
)
_TRAINING_2 = """
CREATE TABLE IF NOT EXISTS training_runs (
    folder VARCHAR PRIMARY KEY, asked JSON NOT NULL, result JSON, started TIMESTAMPTZ, recorded TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS training_metrics (
    folder VARCHAR NOT NULL, kind VARCHAR NOT NULL, step BIGINT NOT NULL, epoch BIGINT NOT NULL, loss DOUBLE,
    lr DOUBLE, logit_scale DOUBLE, pairs_per_s DOUBLE, ca DOUBLE, asr DOUBLE, parts JSON, time DOUBLE
);
"""
_LOG_3 = """
CREATE TABLE actions (
    id BIGINT PRIMARY KEY, time TIMESTAMPTZ NOT NULL, who VARCHAR NOT NULL, kind VARCHAR NOT NULL, target BIGINT,
    decision VARCHAR, note VARCHAR, filter JSON, params JSON, pairs BIGINT NOT NULL
);
CREATE TABLE action_pairs (
    action BIGINT NOT NULL, key VARCHAR NOT NULL, before decision, after decision,
    note_before VARCHAR, note_after VARCHAR
);
CREATE TABLE decisions (
    key VARCHAR NOT NULL, decision decision NOT NULL, note VARCHAR, decided_at TIMESTAMPTZ NOT NULL
);
"""
_ACTIONS_3 = """
INSERT INTO actions BY NAME
SELECT row_number() OVER (ORDER BY decided_at) AS id, decided_at AS time, 'unknown' AS who, 'import' AS kind,
    NULL::BIGINT AS target, CASE WHEN count(DISTINCT decision) = 1 THEN any_value(decision::VARCHAR) END AS decision,
    CASE WHEN count(DISTINCT coalesce(note, '')) = 1 THEN nullif(any_value(note), '') END AS note,
    '{"before_the_log": true}'::JSON AS filter, NULL::JSON AS params, count(*) AS pairs
FROM decisions GROUP BY decided_at
"""
_ACTION_PAIRS_3 = """
INSERT INTO action_pairs BY NAME
SELECT a.id AS action, d.key, NULL::decision AS before, d.decision AS after,
    NULL::VARCHAR AS note_before, d.note AS note_after
FROM decisions d JOIN actions a ON a.time = d.decided_at
"""
_UNSCORED_4 = """
CREATE TABLE set_aside (
    row BIGINT NOT NULL, key VARCHAR NOT NULL,
    image VARCHAR, image_offset BIGINT, image_size BIGINT, caption VARCHAR NOT NULL,
    label VARCHAR, poisoned BOOLEAN, attack VARCHAR, target VARCHAR,
    origin_key VARCHAR, origin_caption VARCHAR
);
CREATE TABLE unscored (row BIGINT NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR);
"""
_DETECTIONS_5 = """
CREATE TABLE detectors (
    detector VARCHAR PRIMARY KEY, title VARCHAR NOT NULL, made TIMESTAMPTZ NOT NULL, info JSON NOT NULL
);
CREATE TABLE detections (detector VARCHAR NOT NULL, row BIGINT NOT NULL, score FLOAT, flagged BOOLEAN NOT NULL);
"""


def add_training_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """1 to 2: training runs on the audit's pairs, and the calibrated residual, which came without a version."""
    connection.execute(_CALIBRATED_1)
    connection.execute(_TRAINING_2)


def keep_decisions_as_log(connection: duckdb.DuckDBPyConnection) -> None:
    """2 to 3: decisions are entries of a log; those of one moment are one action."""
    connection.execute("ALTER TABLE decisions RENAME TO old_decisions")
    connection.execute(_LOG_3)
    connection.execute("INSERT INTO decisions SELECT key, decision, note, decided_at FROM old_decisions")
    connection.execute("DROP TABLE old_decisions")
    connection.execute(_ACTIONS_3)
    connection.execute(_ACTION_PAIRS_3)


def set_pairs_aside(connection: duckdb.DuckDBPyConnection) -> None:
    """3 to 4: pairs that are not embedded or not scored stay in the audit."""
    connection.execute(_UNSCORED_4)


def add_detections(connection: duckdb.DuckDBPyConnection) -> None:
    """4 to 5: what other detectors say of the pairs."""
    connection.execute(_DETECTIONS_5)


MIGRATIONS: dict[int, Migration] = {
    1: add_training_runs,
    2: keep_decisions_as_log,
    3: set_pairs_aside,
    4: add_detections,
}  # from that version to the next


def migrate(connection: duckdb.DuckDBPyConnection, version: int) -> None:
    """Bring a file of version ``version`` up to date, version by version; a kill leaves it at a whole one."""
    for number in range(version, schema.SCHEMA_VERSION):
        connection.execute("BEGIN")
        MIGRATIONS[number](connection)
        if number + 1 == schema.SCHEMA_VERSION:
            schema.replace_view(connection)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", [str(number + 1)])
        connection.execute("COMMIT")
