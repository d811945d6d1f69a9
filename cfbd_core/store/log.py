"""People's decisions as a log that only grows: who, when, what, why, under which parameters.

An action is one row of ``actions``; ``action_pairs`` says of every pair that it touched what was before and what
is since. Nothing in them is ever changed or deleted: an undo, and a redo, is an action of its own. What stands for a
pair is what the latest action that touched it said, of those that are not undone. So actions can be undone in any
order, and where a later one touched a pair, too, the later one stays. The table ``decisions`` holds what stands and
is kept up in the same transactions; the last row of a key in ``action_pairs`` says the same.

Here the log is read; :mod:`cfbd_core.store.acting` writes it. Each function takes an open connection; transactions
belong to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.config import SplitSettings
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.machine.json_shapes import check, parse
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.schema import show_log

Kind = Literal["decide", "import", "undo", "redo"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = "id, epoch_us(time), who, kind, target, decision, note, filter, params, pairs"  # no pytz for a time
_UNDONE = """
SELECT target FROM actions WHERE target IS NOT NULL GROUP BY target HAVING arg_max(kind, id) = 'undo'
"""


class ActionEntry(TypedDict):
    """An :class:`Action` as JSON; the time in ISO 8601, UTC."""

    id: int
    time: str
    who: str
    kind: Kind
    target: int | None
    decision: str | None
    note: str | None
    filter: dict[str, Any] | None
    params: SplitSettings | None
    pairs: int
    undone: bool


@dataclass(frozen=True)
class Action:
    """One action of the log.

    ``decision`` is '' where decisions were taken back, None where they differ from pair to pair and for an undo or
    redo, whose ``target`` is the action that it turns. ``filter`` says how many pairs were chosen at once,
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
    params: SplitSettings | None
    pairs: int
    undone: bool = False

    @property
    def mark(self) -> tuple[int, int]:
        """What :func:`mark` returns while this is the last action."""
        return self.id, (self.time - _EPOCH) // timedelta(microseconds=1)

    def to_dict(self) -> ActionEntry:
        """Plain JSON values."""
        return {
            "id": self.id,
            "time": self.time.isoformat(),
            "who": self.who,
            "kind": self.kind,
            "target": self.target,
            "decision": self.decision,
            "note": self.note,
            "filter": self.filter,
            "params": self.params,
            "pairs": self.pairs,
            "undone": self.undone,
        }


def get(connection: duckdb.DuckDBPyConnection, action: int) -> Action:
    """Return one action; ParameterError where there is none of this number."""
    actions = history(connection, 1, action + 1)
    if not actions or actions[0].id != action:
        raise ParameterError(f"there is no action {action}; `cfbd log` lists those that there are")
    return actions[0]


def history(
    connection: duckdb.DuckDBPyConnection, limit: int | None = None, before: int | None = None
) -> list[Action]:
    """Return the log, newest first: at most ``limit`` actions, of those with a number below ``before``."""
    show_log(connection)
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM actions WHERE $before IS NULL OR id < $before ORDER BY id DESC"
        + ("" if limit is None else f" LIMIT {int(limit)}"),
        {"before": before},
    ).fetchall()
    undone = undone_actions(connection)
    return [_action(row, row[0] in undone) for row in rows]


def examples(
    connection: duckdb.DuckDBPyConnection, actions: Sequence[int], most: int = 3
) -> dict[int, list[str]]:
    """The first keys, at most ``most``, that each of these actions touched; none for one that touched no pair."""
    show_log(connection)
    rows_of_keys = connection.execute(
        f"SELECT action, min(key, {int(most)}) FROM action_pairs WHERE list_contains($actions, action) "
        "AND action BETWEEN $low AND $high GROUP BY action",
        {"actions": list(actions), "low": min(actions, default=0), "high": max(actions, default=-1)},
    ).fetchall()
    return dict(rows_of_keys)


def undone_actions(connection: duckdb.DuckDBPyConnection) -> frozenset[int]:
    """Return the actions that do not count at present."""
    show_log(connection)
    return frozenset(row[0] for row in connection.execute(_UNDONE).fetchall())


def mark(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Return how far the log goes: the last action's number and its time in microseconds; (0, 0) while it is empty."""
    show_log(connection)
    rows = connection.execute("SELECT id, epoch_us(time) FROM actions ORDER BY id DESC LIMIT 1").fetchall()
    return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)


def changed(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When people decided last or the pairs were scored last; None before both."""
    show_log(connection)
    rows = connection.execute(
        """
        SELECT epoch_us(greatest(
            (SELECT max(time) FROM actions), (SELECT max(finished) FROM runs WHERE kind = 'score')
        ))
        """
    ).fetchall()
    return None if rows[0][0] is None else _EPOCH + timedelta(microseconds=rows[0][0])


def has(connection: duckdb.DuckDBPyConnection, seen: tuple[int, int]) -> bool:
    """Whether the log goes on from ``seen``, a :func:`mark` of before; not so where a copy was put in its place."""
    query = "SELECT count(*) FROM actions WHERE id = ? AND epoch_us(time) = ?"
    return seen == (0, 0) or bool(connection.execute(query, list(seen)).fetchall()[0][0])


def decided_since(connection: duckdb.DuckDBPyConnection, action: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what changed after ``action``: rows int64 (m,) and codes int8 (m,), 0 where a decision was taken back."""
    if mark(connection)[0] == action:
        return np.zeros(0, np.int64), np.zeros(0, np.int8)
    columns = connection.execute(
        """
        SELECT p.row, coalesce(list_position($names, l.after::VARCHAR), 1)::TINYINT - 1 AS code
        FROM (
            SELECT key, arg_max_null(after, action) AS after FROM action_pairs WHERE action > $action GROUP BY key
        ) l JOIN pairs p ON p.key = l.key
        """,
        {"names": list(DECISIONS), "action": action},
    ).fetchnumpy()
    return np.asarray(columns["row"], np.int64), np.asarray(columns["code"], np.int8)


def touched_between(connection: duckdb.DuckDBPyConnection, since: int, action: int) -> int:
    """Return how many pairs of ``action`` were touched by others after the action ``since`` and before it."""
    rows = connection.execute(
        """
        SELECT count(DISTINCT key) FROM action_pairs
        WHERE action > $since AND action < $action
            AND key IN (SELECT key FROM action_pairs WHERE action = $action)
        """,
        {"since": since, "action": action},
    ).fetchall()
    return int(rows[0][0])


def deciders(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Whose decisions stand, and how many of each kind; who has most comes first."""
    show_log(connection)
    rows = connection.execute(
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
    for who, decision, count, _ in rows:
        people.setdefault(who, {name: 0 for name in DECISIONS if name})[decision] = count
    return people


def pairs_of_log(connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
    """Return every pair of every action, oldest first: action, key, before, after, note_before, note_after."""
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
    try:
        return Action(
            id=number,
            time=_EPOCH + timedelta(microseconds=microseconds),
            who=who,
            kind=kind,
            target=target,
            decision=decision,
            note=note,
            filter=_object(chosen),
            params=_object(params),
            pairs=pairs,
            undone=undone,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise AuditError(
            f"action {number} of the log is damaged ({error}); put a copy of audit.duckdb in its place"
        ) from error


def _object(text: str | None) -> Any:
    if text is None:
        return None
    value = parse(text)
    check(value, dict)
    return dict(value)
