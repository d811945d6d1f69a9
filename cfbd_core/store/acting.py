"""To act on the log of decisions (:mod:`cfbd_core.store.log`): decide, undo, redo, each one action.

Each function takes an open connection; transactions belong to the caller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import DecidedMeanwhile, ParameterError
from cfbd_core.store import log
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.log import Action, Kind


@dataclass(frozen=True)
class Provenance:
    """Where a decision comes from: who decides, why, on what choice of pairs, and having seen what.

    ``who`` is a person's name, None while it is not known; ``note`` says why. ``filter`` says how many pairs were
    chosen at once, in plain JSON values, such as a filter's :func:`cfbd_core.workbench.filter_query.to_query`;
    ``params`` are the settings of the split under which the person saw them. ``seen`` is the code (a place in
    ``DECISIONS``) that the person has seen on all of them, None where that does not matter.
    """

    who: str | None = None
    note: str | None = None
    filter: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    seen: int | None = None


ACCOUNT = Provenance()  # of whoever runs this process, on what the audit holds


def decide_rows(
    connection: duckdb.DuckDBPyConnection,
    rows: np.ndarray,
    codes: np.ndarray | int,
    by: Provenance,
    notes: Sequence[str | None] | None = None,
) -> Action:
    """Decide on the pairs at ``rows`` int64 (m,): codes int8 (m,), or one for all, as in ``DECISIONS``.

    Code 0 takes a decision back. ``notes`` (m,) go with them, else the note of ``by``; without either a decision
    that gives way to another keeps its own. Rows that are gone are left out; of a row given twice the last counts.
    Raises DecidedMeanwhile where on one of them neither the decision stands that was seen (``by.seen``) nor the one
    asked for; then nothing was stored.
    """
    codes = np.broadcast_to(codes, len(rows))
    rows, from_end = np.unique(rows[::-1], return_index=True)
    last = len(codes) - 1 - from_end
    codes = codes[last]
    given = [by.note] * len(rows) if notes is None else [notes[at] for at in last]
    names = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), list(DECISIONS))
    connection.register(
        "asked", pa.table({"row": rows, "decision": names, "note": pa.array(given, pa.string())})
    )
    low, high = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    connection.execute(
        """
        CREATE TEMP TABLE made AS
        SELECT p.key, a.decision::VARCHAR AS decision, a.note FROM pairs p JOIN asked a ON a.row = p.row
        WHERE p.row BETWEEN ? AND ?
        """,
        [low, high],
    )
    connection.unregister("asked")
    action = _decide(connection, "decide", by, keep_notes=notes is None and by.note is None)
    connection.execute("DROP TABLE made")
    return action


def decide_keys(
    connection: duckdb.DuckDBPyConnection, decisions: pa.Table, by: Provenance, kind: Kind
) -> Action:
    """Decide by key: columns key, decision ('' takes one back) and note ('' is none); of a key given twice the last
    counts. A pair that is set aside may be decided: it may come back.

    Raises ParameterError where a key is not in the audit; then nothing was stored.
    """
    last = pa.array(range(decisions.num_rows), pa.int64())
    decisions = decisions.append_column("position", last)
    connection.register("asked", decisions)
    unknown = connection.execute(
        """
        SELECT key FROM asked
        WHERE key NOT IN (SELECT key FROM pairs UNION ALL SELECT key FROM set_aside) ORDER BY key
        """
    ).fetchall()
    if unknown:
        connection.unregister("asked")
        raise ParameterError(
            f"key {unknown[0][0]!r} is not in the audit ({len(unknown)} such keys); nothing was stored"
        )
    connection.execute(
        """
        CREATE TEMP TABLE made AS
        SELECT key, arg_max(decision, position) AS decision, nullif(arg_max_null(note, position), '') AS note
        FROM asked GROUP BY key
        """
    )
    connection.unregister("asked")
    notes = pc.unique(decisions["note"]).to_pylist()
    note = by.note or (notes[0] or None if len(notes) == 1 else None)
    action = _decide(connection, kind, replace(by, note=note), keep_notes=False)
    connection.execute("DROP TABLE made")
    return action


def undo(connection: duckdb.DuckDBPyConnection, action: int, by: Provenance) -> Action:
    """Undo an action; the undo of an undo is a redo. Pairs that a later action touched stay as they are.

    Raises ParameterError where there is no such action, or it is undone already.
    """
    return _turn(connection, action, by, undone=True)


def redo(connection: duckdb.DuckDBPyConnection, action: int, by: Provenance) -> Action:
    """Let an action that was undone count again, see :func:`undo`.

    Raises ParameterError where there is no such action, or it is not undone.
    """
    return _turn(connection, action, by, undone=False)


def _decide(connection: duckdb.DuckDBPyConnection, kind: Kind, by: Provenance, *, keep_notes: bool) -> Action:
    """Decide as the table ``made`` says: key, decision, note."""
    now = datetime.now(UTC)
    connection.execute(
        """
        CREATE TEMP TABLE touched AS
        SELECT m.key, d.decision AS before, nullif(m.decision, '')::decision AS after, d.note AS note_before,
            CASE WHEN m.decision <> '' THEN if($keep_notes, d.note, m.note) END AS note_after,
            $now::TIMESTAMPTZ AS decided_at
        FROM made m LEFT JOIN decisions d ON d.key = m.key
        """,
        {"keep_notes": keep_notes, "now": now},
    )
    if by.seen is not None:
        _refuse_unseen(connection, DECISIONS[by.seen])
    kinds = connection.execute("SELECT DISTINCT coalesce(after::VARCHAR, '') FROM touched").fetchall()
    return _append(connection, kind, now, by, decision=kinds[0][0] if len(kinds) == 1 else None)


def _refuse_unseen(connection: duckdb.DuckDBPyConnection, seen: str) -> None:
    """Raise DecidedMeanwhile where a pair of ``touched`` was neither as it was seen nor as it is to be."""
    changes = connection.execute(
        """
        SELECT key, coalesce(before::VARCHAR, '') AS stands FROM touched
        WHERE stands <> $seen AND before IS DISTINCT FROM after LIMIT 1
        """,
        {"seen": seen},
    ).fetchall()
    if not changes:
        return
    (key, stands), *_ = changes
    query = "SELECT who FROM actions WHERE id = (SELECT max(action) FROM action_pairs WHERE key = ?)"
    ((who,),) = connection.execute(query, [key]).fetchall()
    raise DecidedMeanwhile(f"decided meanwhile: {stands or 'taken back'}, by {who}; press again to overrule")


def _turn(connection: duckdb.DuckDBPyConnection, number: int, by: Provenance, *, undone: bool) -> Action:
    target = log.get(connection, number)
    if target.target is not None:
        undone = undone != (target.kind == "undo")
        target = log.get(connection, target.target)
    if target.undone == undone:
        state = "is undone already" if undone else "is not undone; there is nothing to redo"
        raise ParameterError(f"action {target.id} {state}")
    off = (log.undone_actions(connection) - {target.id}) | ({target.id} if undone else set())
    connection.execute(
        """
        CREATE TEMP TABLE touched AS
        WITH mine AS (SELECT key FROM action_pairs WHERE action = $action),
        latest AS (
            SELECT key, max(action) AS action FROM action_pairs SEMI JOIN mine USING (key)
            WHERE action IN (SELECT id FROM actions WHERE target IS NULL AND NOT list_contains($off, id))
            GROUP BY key
        ),
        stands AS (
            SELECT p.key, p.after, p.note_after, a.time
            FROM latest JOIN action_pairs p USING (key, action) JOIN actions a ON a.id = p.action
        )
        SELECT m.key, d.decision AS before, s.after, d.note AS note_before, s.note_after, s.time AS decided_at
        FROM mine m LEFT JOIN stands s USING (key) LEFT JOIN decisions d ON d.key = m.key
        WHERE d.decision IS DISTINCT FROM s.after OR d.note IS DISTINCT FROM s.note_after
        """,
        {"action": target.id, "off": sorted(off)},
    )
    return _append(connection, "undo" if undone else "redo", datetime.now(UTC), by, target=target.id)


def _append(
    connection: duckdb.DuckDBPyConnection,
    kind: Kind,
    now: datetime,
    by: Provenance,
    target: int | None = None,
    decision: str | None = None,
) -> Action:
    """Write the table ``touched`` as one action, and what now stands; drop it."""
    number = log.mark(connection)[0] + 1
    connection.execute(
        """
        INSERT INTO action_pairs BY NAME
        SELECT ? AS action, key, before, after, note_before, note_after FROM touched
        """,
        [number],
    )
    connection.execute(
        "DELETE FROM decisions WHERE key IN (SELECT key FROM touched WHERE before IS NOT NULL)"
    )
    connection.execute(
        """
        INSERT INTO decisions BY NAME
        SELECT key, after AS decision, note_after AS note, decided_at FROM touched WHERE after IS NOT NULL
        """
    )
    pairs = int(connection.execute("SELECT count(*) FROM touched").fetchall()[0][0])
    connection.execute("DROP TABLE touched")
    texts = [None if value is None else _json(value) for value in (by.filter, by.params)]
    connection.execute(
        "INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [number, now, by.who, kind, target, decision, by.note, *texts, pairs],
    )
    return log.get(connection, number)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
