"""People's decisions as a log that only grows: who, when, what, why, under which parameters.

An action is one row of ``actions``; ``action_pairs`` says of every pair that it touched what was before and what
is since. Nothing in them is ever changed or deleted: an undo, and a redo, is an action of its own. What stands for a
pair is what the latest action that touched it said, of those that are not undone. So actions can be undone in any
order, and where a later one touched a pair, too, the later one stays. The table ``decisions`` holds what stands and
is kept up in the same transactions; the last row of a key in ``action_pairs`` says the same.

Each function takes an open connection; transactions belong to the caller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cfbd_core.errors import DecidedMeanwhile, ParameterError
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.schema import show_log

Kind = Literal["decide", "import", "undo", "redo"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = "id, epoch_us(time), who, kind, target, decision, note, filter, params, pairs"  # no pytz for a time
_UNDONE = """
SELECT target FROM actions WHERE target IS NOT NULL GROUP BY target HAVING arg_max(kind, id) = 'undo'
"""


@dataclass(frozen=True)
class Action:
    """One action of the log.

    ``decision`` is '' where decisions were taken back, None where they differ from pair to pair and for an undo or
    redo, whose ``target`` is the action that it turns. ``filter`` tells how many pairs were chosen at once,
    ``params`` the split's settings at that time; ``pairs`` is how many the action touched: of an undo or redo, how
    many it changed. ``undone``: it does not count at present.
    """

    id: int
    time: datetime
    who: str
    kind: Kind
    target: int | None
    decision: str | None
    note: str | None
    filter: dict[str, Any] | None
    params: dict[str, Any] | None
    pairs: int
    undone: bool = False

    @property
    def mark(self) -> tuple[int, int]:
        """What :func:`mark` tells while this is the last action."""
        return self.id, (self.time - _EPOCH) // timedelta(microseconds=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the time in ISO 8601, UTC."""
        return asdict(self) | {"time": self.time.isoformat()}


@dataclass(frozen=True)
class By:
    """Who acts, why, by which filter, under which parameters."""

    who: str
    note: str | None = None
    filter: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None


# --- to act --------------------------------------------------------------------------------------------


def decide_rows(
    connection: duckdb.DuckDBPyConnection,
    rows: np.ndarray,
    codes: np.ndarray | int,
    by: By,
    notes: Sequence[str | None] | None = None,
    seen: int | None = None,
) -> Action:
    """Decide on the pairs at ``rows`` int64 (m,): codes int8 (m,), or one for all, as in ``DECISIONS``.

    Code 0 takes a decision back. ``notes`` (m,) go with them, else the note of ``by``; without either a decision
    that gives way to another keeps its own. Rows that are gone are left out; of a row given twice the last counts.
    ``seen`` is the code that whoever decides has seen on all of them: raises DecidedMeanwhile where another one stands
    that is not the one asked for, either; then nothing was stored.
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
    found = _decide(connection, "decide", by, keep_notes=notes is None and by.note is None, seen=seen)
    connection.execute("DROP TABLE made")
    return found


def decide_keys(connection: duckdb.DuckDBPyConnection, decisions: pa.Table, by: By, kind: Kind) -> Action:
    """Decide by key: columns key, decision ('' takes one back) and note; of a key given twice the last counts.

    Raises ParameterError where a key is not in the audit; then nothing was stored.
    """
    last = pa.array(range(decisions.num_rows), pa.int64())
    decisions = decisions.append_column("position", last)
    connection.register("asked", decisions)
    unknown = connection.execute(
        "SELECT key FROM asked WHERE key NOT IN (SELECT key FROM pairs) ORDER BY key"
    ).fetchall()
    if unknown:
        connection.unregister("asked")
        raise ParameterError(
            f"key {unknown[0][0]!r} is not in the audit ({len(unknown)} such keys); nothing was stored"
        )
    connection.execute(
        """
        CREATE TEMP TABLE made AS
        SELECT key, arg_max(decision, position) AS decision, arg_max_null(note, position) AS note
        FROM asked GROUP BY key
        """
    )
    connection.unregister("asked")
    notes = pc.unique(decisions["note"]).to_pylist()
    note = by.note or (notes[0] or None if len(notes) == 1 else None)
    found = _decide(connection, kind, replace(by, note=note), keep_notes=False)
    connection.execute("DROP TABLE made")
    return found


def undo(connection: duckdb.DuckDBPyConnection, action: int, by: By) -> Action:
    """Undo an action; the undo of an undo is a redo. Pairs that a later action touched stay as they are.

    Raises ParameterError where there is no such action, or it is undone already.
    """
    return _turn(connection, action, by, undone=True)


def redo(connection: duckdb.DuckDBPyConnection, action: int, by: By) -> Action:
    """Let an action that was undone count again, see :func:`undo`.

    Raises ParameterError where there is no such action, or it is not undone.
    """
    return _turn(connection, action, by, undone=False)


def _decide(
    connection: duckdb.DuckDBPyConnection, kind: Kind, by: By, *, keep_notes: bool, seen: int | None = None
) -> Action:
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
    if seen is not None:
        _refuse_unseen(connection, DECISIONS[seen])
    kinds = connection.execute("SELECT DISTINCT coalesce(after::VARCHAR, '') FROM touched").fetchall()
    return _append(connection, kind, now, by, decision=kinds[0][0] if len(kinds) == 1 else None)


def _refuse_unseen(connection: duckdb.DuckDBPyConnection, seen: str) -> None:
    """Raise DecidedMeanwhile where a pair of ``touched`` was neither as it was seen nor as it is to be."""
    found = connection.execute(
        """
        SELECT key, coalesce(before::VARCHAR, '') AS stands FROM touched
        WHERE stands <> $seen AND before IS DISTINCT FROM after LIMIT 1
        """,
        {"seen": seen},
    ).fetchall()
    if not found:
        return
    (key, stands), *_ = found
    query = "SELECT who FROM actions WHERE id = (SELECT max(action) FROM action_pairs WHERE key = ?)"
    ((who,),) = connection.execute(query, [key]).fetchall()
    raise DecidedMeanwhile(f"decided meanwhile: {stands or 'taken back'}, by {who}; press again to overrule")


def _turn(connection: duckdb.DuckDBPyConnection, number: int, by: By, *, undone: bool) -> Action:
    found = get(connection, number)
    if found.target is not None:
        undone = undone != (found.kind == "undo")
        found = get(connection, found.target)
    if found.undone == undone:
        told = "is undone already" if undone else "is not undone; there is nothing to redo"
        raise ParameterError(f"action {found.id} {told}")
    off = (undone_actions(connection) - {found.id}) | ({found.id} if undone else set())
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
        {"action": found.id, "off": sorted(off)},
    )
    return _append(connection, "undo" if undone else "redo", datetime.now(UTC), by, target=found.id)


def _append(
    connection: duckdb.DuckDBPyConnection,
    kind: Kind,
    now: datetime,
    by: By,
    target: int | None = None,
    decision: str | None = None,
) -> Action:
    """Write the table ``touched`` as one action, and what now stands; drop it."""
    number = mark(connection)[0] + 1
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
    return get(connection, number)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), allow_nan=False, ensure_ascii=False)


# --- to read -------------------------------------------------------------------------------------------


def get(connection: duckdb.DuckDBPyConnection, action: int) -> Action:
    """One action; ParameterError where there is none of this number."""
    found = history(connection, 1, action + 1)
    if not found or found[0].id != action:
        raise ParameterError(f"there is no action {action}; `cfbd log` lists those that there are")
    return found[0]


def history(
    connection: duckdb.DuckDBPyConnection, limit: int | None = None, before: int | None = None
) -> list[Action]:
    """The log, newest first: at most ``limit`` actions, of those with a number below ``before``."""
    show_log(connection)
    found = connection.execute(
        f"SELECT {_FIELDS} FROM actions WHERE $before IS NULL OR id < $before ORDER BY id DESC"
        + ("" if limit is None else f" LIMIT {int(limit)}"),
        {"before": before},
    ).fetchall()
    undone = undone_actions(connection)
    return [_action(row, row[0] in undone) for row in found]


def examples(
    connection: duckdb.DuckDBPyConnection, actions: Sequence[int], most: int = 3
) -> dict[int, list[str]]:
    """The first keys, at most ``most``, that each of these actions touched; none for one that touched no pair."""
    show_log(connection)
    found = connection.execute(
        f"SELECT action, min(key, {int(most)}) FROM action_pairs WHERE list_contains($actions, action) "
        "AND action BETWEEN $low AND $high GROUP BY action",
        {"actions": list(actions), "low": min(actions, default=0), "high": max(actions, default=-1)},
    ).fetchall()
    return dict(found)


def undone_actions(connection: duckdb.DuckDBPyConnection) -> frozenset[int]:
    """The actions that do not count at present."""
    show_log(connection)
    return frozenset(row[0] for row in connection.execute(_UNDONE).fetchall())


def mark(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """How far the log goes: the last action's number and its time in microseconds; (0, 0) while it is empty."""
    show_log(connection)
    found = connection.execute("SELECT id, epoch_us(time) FROM actions ORDER BY id DESC LIMIT 1").fetchall()
    return (int(found[0][0]), int(found[0][1])) if found else (0, 0)


def has(connection: duckdb.DuckDBPyConnection, seen: tuple[int, int]) -> bool:
    """Whether the log goes on from ``seen``, a :func:`mark` of before; not so where a copy was put in its place."""
    query = "SELECT count(*) FROM actions WHERE id = ? AND epoch_us(time) = ?"
    return seen == (0, 0) or bool(connection.execute(query, list(seen)).fetchall()[0][0])


def decided_since(connection: duckdb.DuckDBPyConnection, action: int) -> tuple[np.ndarray, np.ndarray]:
    """What changed after ``action``: rows int64 (m,) and codes int8 (m,), 0 where a decision was taken back."""
    if mark(connection)[0] == action:
        return np.zeros(0, np.int64), np.zeros(0, np.int8)
    found = connection.execute(
        """
        SELECT p.row, coalesce(list_position($names, l.after::VARCHAR), 1)::TINYINT - 1 AS code
        FROM (
            SELECT key, arg_max_null(after, action) AS after FROM action_pairs WHERE action > $action GROUP BY key
        ) l JOIN pairs p ON p.key = l.key
        """,
        {"names": list(DECISIONS), "action": action},
    ).fetchnumpy()
    return np.asarray(found["row"], np.int64), np.asarray(found["code"], np.int8)


def touched_between(connection: duckdb.DuckDBPyConnection, since: int, action: int) -> int:
    """How many pairs of ``action`` were touched by others after the action ``since`` and before it."""
    found = connection.execute(
        """
        SELECT count(DISTINCT key) FROM action_pairs
        WHERE action > $since AND action < $action
            AND key IN (SELECT key FROM action_pairs WHERE action = $action)
        """,
        {"since": since, "action": action},
    ).fetchall()
    return int(found[0][0])


def deciders(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Whose decisions stand, and how many of each kind; who has most comes first."""
    show_log(connection)
    found = connection.execute(
        f"""
        SELECT a.who, d.decision::VARCHAR, count(*), sum(count(*)) OVER (PARTITION BY a.who) AS every
        FROM (
            SELECT p.key, max(p.action) AS action FROM action_pairs p JOIN actions a ON a.id = p.action
            WHERE a.target IS NULL AND p.action NOT IN ({_UNDONE}) GROUP BY p.key
        ) l JOIN actions a ON a.id = l.action JOIN decisions d ON d.key = l.key JOIN pairs p ON p.key = l.key
        GROUP BY a.who, d.decision ORDER BY every DESC, a.who
        """
    ).fetchall()
    people: dict[str, dict[str, int]] = {}
    for who, decision, count, _ in found:
        people.setdefault(who, {name: 0 for name in DECISIONS if name})[decision] = count
    return people


def pairs_of_log(connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
    """Every pair of every action, oldest first: action, key, before, after, note_before, note_after."""
    show_log(connection)
    return connection.sql(
        """
        SELECT action, key, coalesce(before::VARCHAR, '') AS before, coalesce(after::VARCHAR, '') AS after,
            note_before, note_after
        FROM action_pairs ORDER BY action, key
        """
    ).to_arrow_reader(10_000)


def _action(row: tuple[Any, ...], undone: bool) -> Action:
    number, microseconds, who, kind, target, decision, note, chosen, params, pairs = row
    return Action(
        id=number,
        time=_EPOCH + timedelta(microseconds=microseconds),
        who=who,
        kind=kind,
        target=target,
        decision=decision,
        note=note,
        filter=None if chosen is None else json.loads(chosen),
        params=None if params is None else json.loads(params),
        pairs=pairs,
        undone=undone,
    )
