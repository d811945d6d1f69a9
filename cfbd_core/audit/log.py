"""People's decisions on an audit: made, undone and redone, listed, exported."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from cfbd_core.audit import log_export
from cfbd_core.audit.files import AuditFiles
from cfbd_core.audit.log_export import WrittenLog
from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.store import acting, columns, log, queries
from cfbd_core.store.acting import ACCOUNT, Provenance
from cfbd_core.store.log import Action
from cfbd_core.store.meta import SPLIT
from cfbd_core.wording import in_one_line

Mark = tuple[int, int]
MOST_NAME_LETTERS = 100


@dataclass(frozen=True, eq=False)
class DecisionNews:
    """What was decided since ``mark`` was another: rows int64 (m,), codes int8 (m,), 0 for taken back.

    ``is_whole``: it lists all that stands, not what changed. ``undone`` are the actions that do not count now.
    """

    mark: Mark
    undone: frozenset[int]
    rows: np.ndarray
    codes: np.ndarray
    is_whole: bool


@dataclass(frozen=True)
class DecisionLog:
    """The decisions on the pairs of an audit, kept as a log (:mod:`cfbd_core.store.log`).

    A :class:`Provenance` without ``who`` is of the account that this process runs under, one without ``params`` of
    the split that the audit holds.
    """

    files: AuditFiles

    def decide(self, decisions: pa.Table, by: Provenance = ACCOUNT, *, source: str | None = None) -> Action:
        """Store decisions by key (key, decision keep|remove|unsure|'', and if wanted note) as one action.

        ``source`` names the file that they were read from: an import. Raises ParameterError (no such decision, a
        key that is not in the audit); then nothing was stored.
        """
        values = set(decisions["decision"].to_pylist()) - set(columns.DECISIONS)
        if values:
            raise ParameterError(f"decision {values.pop()!r}: give keep, remove, unsure or nothing")
        if "note" not in decisions.column_names:
            decisions = decisions.append_column("note", pa.nulls(decisions.num_rows, pa.string()))
        if source is not None:
            by = replace(by, filter={"file": source})
        kind: log.Kind = "decide" if source is None else "import"
        with self._writing() as connection:
            return acting.decide_keys(connection, decisions, _filled(by, connection), kind)

    def decide_rows(
        self,
        rows: np.ndarray,
        codes: np.ndarray | int,
        notes: Sequence[str | None] | None = None,
        by: Provenance = ACCOUNT,
    ) -> Action:
        """Store decisions on the pairs at ``rows`` (m,) as one action: codes int8 (m,), or one for all.

        Code 0 takes one back. Without ``notes`` (m,) or the one of ``by`` for all, a decision that gives way to
        another keeps its note. Raises DecidedMeanwhile where someone has decided otherwise since the person has seen
        them (``by.seen``); then nothing was stored.
        """
        with self._writing() as connection:
            return acting.decide_rows(connection, rows, codes, _filled(by, connection), notes)

    def undo(self, action: int | None = None, by: Provenance = ACCOUNT) -> Action:
        """Undo an action, or the last that counts; its ``pairs`` are those that changed.

        Pairs that a later action touched stay as they are. Raises ParameterError: no such action, undone already.
        """
        with self._writing() as connection:
            chosen = _last(connection, undone=False) if action is None else action
            return acting.undo(connection, chosen, _named(by))

    def redo(self, action: int | None = None, by: Provenance = ACCOUNT) -> Action:
        """Let an action count again that was undone, or that which was undone last; see :meth:`undo`."""
        with self._writing() as connection:
            chosen = _last(connection, undone=True) if action is None else action
            return acting.redo(connection, chosen, _named(by))

    def history(self, limit: int | None = None, before: int | None = None) -> list[Action]:
        """Return the log, newest first: at most ``limit`` actions, of those with a number below ``before``."""
        with self.files.database.reading() as connection:
            return log.history(connection, limit, before)

    def action(self, number: int) -> Action:
        """Return one action; ParameterError where there is none of this number."""
        with self.files.database.reading() as connection:
            return log.get(connection, number)

    def deciders(self) -> dict[str, dict[str, int]]:
        """Whose decisions stand, and how many of each kind; who has most comes first."""
        with self.files.database.reading() as connection:
            return log.deciders(connection)

    def examples(self, actions: Sequence[int]) -> dict[int, list[str]]:
        """Return the first few keys that each of these actions touched."""
        with self.files.database.reading() as connection:
            return log.examples(connection, actions)

    def touched_between(self, since: int, action: int) -> int:
        """Return how many pairs of an action were touched by others after the action ``since`` and before it."""
        with self.files.database.reading() as connection:
            return log.touched_between(connection, since, action)

    def changed(self) -> datetime | None:
        """When a decision or a scoring last changed what comes of a split; None before both."""
        with self.files.database.reading() as connection:
            return log.changed(connection)

    def news(self, seen: Mark | None) -> DecisionNews:
        """Return what was decided since ``seen``, the mark of earlier news; all that stands where that is None."""
        with self.files.database.reading() as connection:
            mark, undone = log.mark(connection), log.undone_actions(connection)
            if seen is not None and log.has(connection, seen):
                return DecisionNews(mark, undone, *log.decided_since(connection, seen[0]), is_whole=False)
            return DecisionNews(mark, undone, *columns.decided(connection), is_whole=True)

    def export(self, out: str | Path, *, pairs: bool = False, spreadsheet_safe: bool = False) -> WrittenLog:
        """Write the log to ``out``, oldest first: .json, or .csv with a line an action.

        With ``pairs`` the CSV has a line for every pair that an action touched. Returns what was written.
        Raises ParameterError where ``out`` cannot be written or holds something else.
        """
        protected = [self.files.folder, *self.files.source_places()]
        with report_in_one_line(self.files.folder):
            if pairs:
                with self.files.database.reading() as connection:
                    batches = log.pairs_of_log(connection)
                    return log_export.write_pairs(batches, Path(out), protected, spreadsheet_safe)
            return log_export.write(self.history(), Path(out), self.files.folder, protected, spreadsheet_safe)

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with report_in_one_line(self.files.folder), self.files.database.writing() as connection:
            yield connection


def _filled(by: Provenance, connection: duckdb.DuckDBPyConnection) -> Provenance:
    """Add a name; and, where the person saw no sliders, the settings of the split that the audit holds."""
    if by.params is None:
        split = queries.get_meta(connection, SPLIT)
        by = replace(by, params=None if split is None else split["settings"])
    return _named(by)


def _named(by: Provenance) -> Provenance:
    return replace(by, who=_name(by.who))


def _name(who: str | None) -> str:
    """Return a person's name as the log holds it: one line, not too long."""
    if who is None:
        try:
            who = getpass.getuser()
        except (OSError, KeyError):  # a container's account may have no name
            who = "unknown"
    name = in_one_line(who, MOST_NAME_LETTERS)
    if not name:
        raise ParameterError("who decides: give a name that is not empty")
    return name


def _last(connection: duckdb.DuckDBPyConnection, *, undone: bool) -> int:
    """Return the last action that counts; or the one that was undone last."""
    actions = log.history(connection)
    off = log.undone_actions(connection)
    if undone:
        number = next((one.target for one in actions if one.kind == "undo" and one.target in off), None)
    else:
        number = next((one.id for one in actions if one.target is None and not one.undone), None)
    if number is None:
        raise ParameterError("the log has no action to " + ("redo" if undone else "undo"))
    return number
