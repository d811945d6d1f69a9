"""Audits as earlier versions left them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb

Decided = tuple[str, str, str | None, int]  # key, decision, note, minute
DECIDED: tuple[Decided, ...] = (
    ("b", "keep", "looked at", 2),
    ("a", "remove", None, 1),
    ("c", "remove", None, 1),
    ("d", "unsure", "", 2),
)


def make_older(path: Path, version: int = 2, decided: tuple[Decided, ...] = ()) -> None:
    """Turn an audit's file into one of ``version`` 1 to 4 that holds these decisions."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE detections; DROP TABLE detectors")
        if version < 4:
            connection.execute("DROP TABLE set_aside; DROP TABLE unscored")
        if version < 3:
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


# --- files as they were written, to the letter ---------------------------------------------------------------------

TABLES_1 = """
CREATE TYPE subset AS ENUM ('benign', 'poisoned', 'suspicious');
CREATE TYPE verdict AS ENUM ('clean', 'poisoned');
CREATE TYPE decision AS ENUM ('keep', 'remove', 'unsure');

CREATE TABLE meta (name VARCHAR PRIMARY KEY, value JSON NOT NULL);
CREATE TABLE pairs (
    row BIGINT NOT NULL, key VARCHAR NOT NULL,
    image VARCHAR, image_offset BIGINT, image_size BIGINT, caption VARCHAR NOT NULL,
    label VARCHAR, poisoned BOOLEAN, attack VARCHAR, target VARCHAR,
    origin_key VARCHAR, origin_caption VARCHAR
);
CREATE TABLE skipped (
    key VARCHAR, position VARCHAR NOT NULL, stage VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, detail VARCHAR, image VARCHAR, caption VARCHAR
);
CREATE TABLE scores (
    row BIGINT NOT NULL, s_o FLOAT, s_g FLOAT, consistency FLOAT, residual FLOAT, intra FLOAT
);
CREATE TABLE verdicts (row BIGINT NOT NULL, z FLOAT, subset subset, verdict verdict);
CREATE TABLE runs (
    id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, started TIMESTAMPTZ NOT NULL,
    finished TIMESTAMPTZ, params JSON, stats JSON
);
"""
DECISIONS_1 = """
CREATE TABLE decisions (
    key VARCHAR PRIMARY KEY, decision decision NOT NULL, note VARCHAR, decided_at TIMESTAMPTZ NOT NULL
);
"""
VIEW_1 = """
CREATE VIEW audit_pairs AS
SELECT
    p.key, p.image, p.caption, s.consistency, v.z, v.subset::VARCHAR AS subset,
    v.verdict::VARCHAR AS verdict, coalesce(d.decision::VARCHAR, '') AS decision,
    CASE
        WHEN d.decision = 'keep' THEN 'kept'
        WHEN d.decision = 'remove' OR v.verdict = 'poisoned' THEN 'removed'
        WHEN v.verdict = 'clean' THEN 'kept'
    END AS final,
    s.s_o, s.s_g, s.residual, s.intra, p.label, p.poisoned, p.attack, p.target,
    p.origin_key, p.origin_caption, p.image_offset, p.image_size, p.row
FROM pairs p
LEFT JOIN scores s ON s.row = p.row
LEFT JOIN verdicts v ON v.row = p.row
LEFT JOIN decisions d ON d.key = p.key;
"""
TRAINING_2 = """
CREATE TABLE training_runs (
    folder VARCHAR PRIMARY KEY, asked JSON NOT NULL, result JSON, started TIMESTAMPTZ, recorded TIMESTAMPTZ NOT NULL
);
CREATE TABLE training_metrics (
    folder VARCHAR NOT NULL, kind VARCHAR NOT NULL, step BIGINT NOT NULL, epoch BIGINT NOT NULL, loss DOUBLE,
    lr DOUBLE, logit_scale DOUBLE, pairs_per_s DOUBLE, ca DOUBLE, asr DOUBLE, parts JSON, time DOUBLE
);
"""
LOG_3 = """
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
PAIRS = """
INSERT INTO pairs (row, key, caption) SELECT i, chr(97 + i::INT), 'caption ' || i FROM range(5) t(i);
INSERT INTO scores (row, s_o, s_g, consistency, residual, intra)
SELECT i, 0.5, 0.25, 0.1 * i, 0.75, 0 FROM range(5) t(i);
INSERT INTO verdicts SELECT i, 0.5, 'suspicious', 'clean' FROM range(5) t(i);
"""
CALIBRATED = "residual FLOAT, residual_calibrated FLOAT, intra FLOAT"
# By the commit that wrote the first of its kind: its version and its tables.
WRITTEN = {
    "807756c": (1, TABLES_1 + DECISIONS_1 + VIEW_1),
    "1b202df": (1, TABLES_1.replace("residual FLOAT, intra FLOAT", CALIBRATED) + DECISIONS_1 + VIEW_1),
    "2914822": (
        2,
        TABLES_1.replace("residual FLOAT, intra FLOAT", CALIBRATED) + DECISIONS_1 + VIEW_1 + TRAINING_2,
    ),
    "1fba369": (3, TABLES_1.replace("residual FLOAT, intra FLOAT", CALIBRATED) + LOG_3 + VIEW_1 + TRAINING_2),
}


def write_older(path: Path, commit: str) -> None:
    """Write a file of five pairs and the decisions ``DECIDED`` as the version of ``commit`` did."""
    version, tables = WRITTEN[commit]
    with duckdb.connect(str(path)) as connection:
        connection.execute(tables)
        connection.execute(PAIRS)
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(version)])
        for key, decision, note, minute in DECIDED:
            moment = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
            connection.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", [key, decision, note, moment])
