"""Tables and views of ``audit.duckdb``, and how older files are brought up to date.

``row`` is the position at which a pair was read; it is also the pair's row in the embedding
shards. Skipped pairs leave a gap. Derived tables (scores, verdicts) are replaced as a whole;
``decisions`` are people's work and are never dropped.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError

SCHEMA_VERSION = 2

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
CREATE TABLE decisions (
    key VARCHAR PRIMARY KEY, decision decision NOT NULL, note VARCHAR, decided_at TIMESTAMPTZ NOT NULL
);
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

# One row a pair, the export's columns first. A decision overrules the verdict; 'unsure' does not.
_VIEW = """
CREATE OR REPLACE VIEW audit_pairs AS
SELECT
    p.key, p.image, p.caption, s.consistency, v.z, v.subset::VARCHAR AS subset,
    v.verdict::VARCHAR AS verdict, coalesce(d.decision::VARCHAR, '') AS decision,
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
    """The schema version of an audit's file; AuditError when it is no audit at all."""
    try:
        found = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
        return int(found[0][0])
    except (duckdb.Error, IndexError, ValueError) as error:
        raise AuditError(
            f"{folder}: audit.duckdb is not an audit of this tool; give another folder"
        ) from error


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all tables and views in an empty database."""
    connection.execute(_TABLES)
    connection.execute(TRAINING)
    connection.execute(_VIEW)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring a file of an older version up to date, in the caller's transaction; readers know both."""
    connection.execute(TRAINING)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", [str(SCHEMA_VERSION)])
