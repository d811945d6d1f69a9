"""Tables and views of ``audit.duckdb`` (:mod:`cfbd_core.store.migrations`: how older files get them), and their check.

``row`` is the position at which a pair was read; it is also the pair's row in the embedding
shards. Skipped pairs leave a gap, as do those that are set aside.
Derived tables (scores, verdicts) are replaced as a whole.
``actions`` and ``action_pairs`` are people's work, a log that only grows (:mod:`cfbd_core.store.log`);
``decisions`` is what stands by it, kept up in the same transactions.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import duckdb

from cfbd_core.errors import AuditError

SCHEMA_VERSION = 5

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

# Version 2. A training run is known by its folder, which is relative to the audit's own where it lies in it.
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
LOG = """
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

# Version 4. ``set_aside`` holds whole pairs, so that nothing of them is lost (:mod:`cfbd_core.store.unscored`).
UNSCORED = """
CREATE TABLE set_aside (
    row BIGINT NOT NULL, key VARCHAR NOT NULL,
    image VARCHAR, image_offset BIGINT, image_size BIGINT, caption VARCHAR NOT NULL,
    label VARCHAR, poisoned BOOLEAN, attack VARCHAR, target VARCHAR,
    origin_key VARCHAR, origin_caption VARCHAR
);
CREATE TABLE unscored (row BIGINT NOT NULL, reason VARCHAR NOT NULL, detail VARCHAR);
"""

# Version 5. What other detectors say of the pairs (:mod:`cfbd_core.store.detections`); derived, as verdicts are.
DETECTIONS = """
CREATE TABLE detectors (
    detector VARCHAR PRIMARY KEY, title VARCHAR NOT NULL, made TIMESTAMPTZ NOT NULL, info JSON NOT NULL
);
CREATE TABLE detections (detector VARCHAR NOT NULL, row BIGINT NOT NULL, score FLOAT, flagged BOOLEAN NOT NULL);
"""

SINCE = {
    "training_runs": 2,
    "training_metrics": 2,
    "actions": 3,
    "action_pairs": 3,
    "set_aside": 4,
    "unscored": 4,
    "detectors": 5,
    "detections": 5,
}  # versions; all others: the first

# Decisions of an older file as a log: those that were stored at one moment are one action.
OLD_ACTIONS = """
SELECT row_number() OVER (ORDER BY decided_at) AS id, decided_at AS time, 'unknown' AS who, 'import' AS kind,
    NULL::BIGINT AS target, CASE WHEN count(DISTINCT decision) = 1 THEN any_value(decision::VARCHAR) END AS decision,
    CASE WHEN count(DISTINCT coalesce(note, '')) = 1 THEN nullif(any_value(note), '') END AS note,
    '{"before_the_log": true}'::JSON AS filter, NULL::JSON AS params, count(*) AS pairs
FROM decisions GROUP BY decided_at
"""
OLD_PAIRS = """
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
    """Return the schema version of an audit's file; AuditError when it is no audit at all, or a newer one."""
    try:
        rows = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
        number = int(rows[0][0])
    except (duckdb.Error, IndexError, ValueError) as error:
        raise _no_audit(folder) from error
    if number < 1:
        raise _no_audit(folder)
    if number > SCHEMA_VERSION:
        raise AuditError(
            f"{folder}: made by a newer version of CFBD Auditor (schema {number}, this one knows "
            f"{SCHEMA_VERSION}); update it to open this audit"
        )
    return number


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all tables and views in an empty database."""
    connection.execute(_TABLES)
    connection.execute(LOG)
    connection.execute(TRAINING)
    connection.execute(UNSCORED)
    connection.execute(DETECTIONS)
    replace_view(connection)
    connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])


def replace_view(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the present view ``audit_pairs`` in place of an older one."""
    connection.execute(_VIEW)


def check_objects(connection: duckdb.DuckDBPyConnection, path: Path, file_version: int) -> None:
    """Raise AuditError unless the tables of a file of version ``file_version`` are tables, with their columns.

    Files come from strangers: a view in the stead of a table shows what its maker likes, a macro takes the place of
    one of DuckDB's own functions, a trigger acts where we store.
    """
    wanted, stored = _columns_by_table(), _stored_columns(connection)
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    for (view,) in views:
        if view in wanted:
            raise _foreign(path, f"{view} is no table")
    own = "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
    others = "SELECT trigger_name FROM duckdb_triggers() UNION ALL " + own
    foreign = connection.execute(others).fetchall()
    if foreign:
        raise _foreign(path, f"it holds {foreign[0][0]!r}, a macro or trigger")
    for table, columns in wanted.items():
        if SINCE.get(table, 1) > file_version:
            continue
        differing = dict(stored.get(table, {}).items() ^ columns.items())
        if (
            file_version < SCHEMA_VERSION
        ):  # an older file lacks columns, but holds nothing else in those it has
            differing = {
                name: kind for name, kind in stored.get(table, {}).items() if columns.get(name, kind) != kind
            }
        if differing or table not in stored:
            fault = "is no table" if table not in stored else f"differs in {', '.join(sorted(differing))}"
            raise _foreign(path, f"{table} {fault}")


def show_pairs(connection: duckdb.DuckDBPyConnection) -> None:
    """Let this connection's ``audit_pairs`` be the present one, whatever the file's says.

    The very first files had no calibrated residual; theirs is empty.
    """
    view = _VIEW.replace("VIEW", "TEMP VIEW", 1)
    try:
        connection.execute(view)
    except duckdb.BinderException:
        (file,) = connection.execute("SELECT current_database()").fetchall()[0]
        table = f'"{file}".main.scores'
        connection.execute(
            f"CREATE TEMP VIEW scores AS SELECT *, NULL::FLOAT AS residual_calibrated FROM {table}"
        )
        connection.execute(view)


def hide_pairs(connection: duckdb.DuckDBPyConnection) -> None:
    """Take away what :func:`show_pairs` made, before the file's own tables change."""
    connection.execute("DROP VIEW temp.audit_pairs; DROP VIEW IF EXISTS temp.scores")


def show_unscored(connection: duckdb.DuckDBPyConnection) -> None:
    """Let whoever reads a file that was made before find that no pair is set aside or known to have no score."""
    values = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
    if int(values[0][0]) < SINCE["unscored"]:
        connection.execute(UNSCORED.replace("CREATE TABLE", "CREATE TEMP TABLE IF NOT EXISTS"))


def show_detections(connection: duckdb.DuckDBPyConnection) -> None:
    """Let whoever reads a file that was made before find that no detector has judged its pairs."""
    values = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
    if int(values[0][0]) < SINCE["detections"]:
        connection.execute(DETECTIONS.replace("CREATE TABLE", "CREATE TEMP TABLE IF NOT EXISTS"))


def show_log(connection: duckdb.DuckDBPyConnection) -> None:
    """Let whoever reads an older file find the log that its decisions will become."""
    query = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'actions'"
    if not connection.execute(query).fetchall()[0][0]:
        connection.execute(f"CREATE TEMP TABLE actions AS {OLD_ACTIONS}")
        connection.execute(f"CREATE TEMP TABLE action_pairs AS {OLD_PAIRS}")


@cache
def _columns_by_table() -> dict[str, dict[str, str]]:
    """Return the columns that every table has in a file made now, and their types."""
    with duckdb.connect() as connection:
        create(connection)
        return _stored_columns(connection)


def _stored_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Return columns and their types by table; views are left out."""
    rows = connection.execute(
        """
        SELECT table_name, column_name, data_type || if(is_generated, ' generated', '')
        FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (table_oid, database_oid)
        WHERE schema_name = 'main' AND database_name = current_database() AND NOT internal
        """
    ).fetchall()
    stored: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        stored.setdefault(table, {})[column] = kind
    return stored


def _no_audit(folder: Path) -> AuditError:
    return AuditError(f"{folder}: audit.duckdb is not an audit of this tool; give another folder")


def _foreign(path: Path, reason: str) -> AuditError:
    return AuditError(
        f"{path}: changed by something else than this tool ({reason}); "
        "put a copy of it in its place, or begin in a new folder"
    )
