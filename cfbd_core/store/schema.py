"""Tables and views of ``audit.duckdb``, and how older files are brought up to date.

``row`` is the position at which a pair was read; it is also the pair's row in the embedding
shards. Skipped pairs leave a gap. Derived tables (scores, verdicts) are replaced as a whole.
``actions`` and ``action_pairs`` are people's work, a log that only grows (:mod:`cfbd_core.store.log`);
``decisions`` is what stands by it, kept up in the same transactions.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError

SCHEMA_VERSION = 3

_TABLES = """
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
    row BIGINT NOT NULL, s_o FLOAT, s_g FLOAT, consistency FLOAT, residual FLOAT,
    residual_calibrated FLOAT, intra FLOAT
);
CREATE TABLE verdicts (row BIGINT NOT NULL, z FLOAT, subset subset, verdict verdict);
CREATE TABLE runs (
    id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, started TIMESTAMPTZ NOT NULL,
    finished TIMESTAMPTZ, params JSON, stats JSON
);
"""

# Version 2. A training run is known by its folder, which is told from the audit's own where it lies in it.
TRAINING = """
CREATE TABLE IF NOT EXISTS training_runs (
    folder VARCHAR PRIMARY KEY, asked JSON NOT NULL, result JSON, started TIMESTAMPTZ, recorded TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS training_metrics (
    folder VARCHAR NOT NULL, kind VARCHAR NOT NULL, step BIGINT NOT NULL, epoch BIGINT NOT NULL, loss DOUBLE,
    lr DOUBLE, logit_scale DOUBLE, pairs_per_s DOUBLE, ca DOUBLE, asr DOUBLE, parts JSON, time DOUBLE
);
"""

# Version 3. ``target`` is what an undo or redo turns; ``decision`` is '' where decisions were taken back and NULL
# where they differ from pair to pair; ``pairs`` counts the action's rows in ``action_pairs``. A key has at most one
# row in ``decisions``; an index to say so would make a bulk decision five times slower.
_LOG = """
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

# Decisions of an older file as a log: those that were stored at one moment are one action.
_OLD_ACTIONS = """
SELECT row_number() OVER (ORDER BY decided_at) AS id, decided_at AS time, 'unknown' AS who, 'import' AS kind,
    NULL::BIGINT AS target, CASE WHEN count(DISTINCT decision) = 1 THEN any_value(decision::VARCHAR) END AS decision,
    CASE WHEN count(DISTINCT coalesce(note, '')) = 1 THEN nullif(any_value(note), '') END AS note,
    '{"before_the_log": true}'::JSON AS filter, NULL::JSON AS params, count(*) AS pairs
FROM decisions GROUP BY decided_at
"""
_OLD_PAIRS = """
SELECT a.id AS action, d.key, NULL::decision AS before, d.decision AS after,
    NULL::VARCHAR AS note_before, d.note AS note_after
FROM decisions d JOIN actions a ON a.time = d.decided_at
"""

# One row a pair, the export's columns first. A decision overrules the verdict; 'unsure' does not.
_VIEW = """
CREATE OR REPLACE VIEW audit_pairs AS
SELECT
    p.key, p.image, p.caption, s.consistency, v.z, v.subset::VARCHAR AS subset,
    v.verdict::VARCHAR AS verdict, coalesce(d.decision::VARCHAR, '') AS decision, d.note,
    CASE
        WHEN d.decision = 'keep' THEN 'kept'
        WHEN d.decision = 'remove' OR v.verdict = 'poisoned' THEN 'removed'
        WHEN v.verdict = 'clean' THEN 'kept'
    END AS final,
    s.s_o, s.s_g, s.residual, s.residual_calibrated, s.intra, p.label, p.poisoned, p.attack, p.target,
    p.origin_key, p.origin_caption, p.image_offset, p.image_size, p.row
FROM pairs p
LEFT JOIN scores s ON s.row = p.row
LEFT JOIN verdicts v ON v.row = p.row
LEFT JOIN decisions d ON d.key = p.key
"""


def version(connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """The schema version of an audit's file; AuditError when it is no audit at all, or a newer one."""
    try:
        rows = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
        found = int(rows[0][0])
    except (duckdb.Error, IndexError, ValueError) as error:
        raise AuditError(
            f"{folder}: audit.duckdb is not an audit of this tool; give another folder"
        ) from error
    if found > SCHEMA_VERSION:
        raise AuditError(
            f"{folder}: made by a newer version of CFBD Auditor (schema {found}, this one knows "
            f"{SCHEMA_VERSION}); update it to open this audit"
        )
    return found


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all tables and views in an empty database."""
    connection.execute(_TABLES)
    connection.execute(_LOG)
    connection.execute(TRAINING)
    connection.execute(_VIEW)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring a file of version 1 or 2 up to date, in the caller's transaction."""
    connection.execute(TRAINING)
    connection.execute("ALTER TABLE decisions RENAME TO old_decisions")
    connection.execute(_LOG)
    connection.execute("INSERT INTO decisions SELECT key, decision, note, decided_at FROM old_decisions")
    connection.execute("DROP TABLE old_decisions")
    connection.execute(f"INSERT INTO actions BY NAME {_OLD_ACTIONS}")
    connection.execute(f"INSERT INTO action_pairs BY NAME {_OLD_PAIRS}")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", [str(SCHEMA_VERSION)])


def show_notes(connection: duckdb.DuckDBPyConnection) -> None:
    """Let whoever reads pairs of a file that was made before find their notes."""
    query = "SELECT count(*) FROM duckdb_columns() WHERE table_name = 'audit_pairs' AND column_name = 'note'"
    if not connection.execute(query).fetchall()[0][0]:
        connection.execute(_VIEW.replace("VIEW", "TEMP VIEW", 1))


def show_log(connection: duckdb.DuckDBPyConnection) -> None:
    """Let whoever reads an older file find the log that its decisions will become."""
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'actions'"
    if not connection.execute(query).fetchall()[0][0]:
        connection.execute(f"CREATE TEMP TABLE actions AS {_OLD_ACTIONS}")
        connection.execute(f"CREATE TEMP TABLE action_pairs AS {_OLD_PAIRS}")
