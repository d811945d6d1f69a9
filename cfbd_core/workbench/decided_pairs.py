"""An audit's pairs by their positions, and what people have decided on them: in memory, kept up with the log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cfbd_core.errors import AuditError
from cfbd_core.store.acting import ACCOUNT, Provenance
from cfbd_core.store.log import Action

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit
    from cfbd_core.audit.log import Mark


class DecidedPairs:
    """The pairs of ``audit`` at ``rows`` int64 (n,), ascending; a pair's place there is called its position.

    ``decisions`` int8 (n,) are places in ``DECISIONS``; another array takes its place when something is decided, so one
    that is being read stays as it is. ``undone`` are the actions of the log that do not count. Safe to use from many
    threads.
    """

    def __init__(self, audit: Audit, rows: np.ndarray) -> None:
        self.audit, self.rows = audit, rows
        self.decisions = np.zeros(len(rows), np.int8)
        self.undone: frozenset[int] = frozenset()
        self._stamp: tuple[int, ...] | None = None
        self._seen: Mark | None = None
        self._deciding = threading.Lock()  # for decisions alone: whoever decides waits for nothing else
        self.refresh_decisions()

    def __len__(self) -> int:
        return len(self.rows)

    def positions_of(self, rows: np.ndarray) -> np.ndarray:
        """Positions (m,) of the pairs at ``rows`` (m,); −1 for a row that is not among them."""
        at = np.minimum(np.searchsorted(self.rows, rows), len(self) - 1)
        positions: np.ndarray = np.where(self.rows[at] == rows, at, -1)
        return positions

    def mask_of(self, positions: np.ndarray) -> np.ndarray:
        """Return which pairs ``positions`` (m,) name, bool (n,); negative ones name none."""
        mask = np.zeros(len(self), bool)
        mask[positions[positions >= 0]] = True
        return mask

    def pairs_at(self, positions: np.ndarray) -> pa.Table:
        """Key, image, caption and scores of the pairs at ``positions`` (m,), in that order."""
        return self.audit.columns.pairs_at(self.rows[positions])

    # --- decisions ---------------------------------------------------------------------------------

    @property
    def last_action(self) -> int:
        """The number of the last action that ``decisions`` contains; 0 before the first."""
        return 0 if self._seen is None else self._seen[0]

    def refresh_decisions(self) -> None:
        """Take in decisions that were made elsewhere; next to free while the audit's file is unchanged."""
        stamp = self.audit.state.stamp()
        with self._deciding:
            if stamp == self._stamp:
                return
            news = self.audit.log.news(self._seen)
            at = self.positions_of(news.rows)
            decisions = np.zeros(len(self), np.int8) if news.is_whole else self.decisions.copy()
            decisions[at[at >= 0]] = news.codes[at >= 0]
            self.decisions, self.undone = decisions, news.undone
            self._seen, self._stamp = news.mark, stamp

    def decide(
        self,
        positions: np.ndarray,
        codes: np.ndarray | int,
        notes: Sequence[str | None] | None = None,
        by: Provenance = ACCOUNT,
    ) -> Action:
        """Store decisions on the pairs at positions (m,) as one action; see :meth:`DecisionLog.decide_rows`."""
        done = self.audit.log.decide_rows(self.rows[positions], codes, notes, by)
        with self._deciding:
            if self._seen is not None and self._seen[0] == done.id - 1 and done.pairs == len(positions):
                decisions = self.decisions.copy()
                decisions[positions] = codes
                self.decisions, self._seen = decisions, done.mark
                return done  # nobody has decided in between: what there is to know is known
        self._refresh_if_possible()
        return done

    def undo(self, action: int, *, who: str | None = None) -> Action:
        """Undo an action; see :meth:`Audit.undo`."""
        done = self.audit.undo(action, who=who)
        self._refresh_if_possible()
        return done

    def redo(self, action: int, *, who: str | None = None) -> Action:
        """Let an action that was undone count again; see :meth:`Audit.redo`."""
        done = self.audit.redo(action, who=who)
        self._refresh_if_possible()
        return done

    def _refresh_if_possible(self) -> None:
        """What is stored is stored: a file that is busy by now is read at the next refresh."""
        with suppress(AuditError):
            self.refresh_decisions()
