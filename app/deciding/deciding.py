"""Decisions on many pairs at once, with a preview of how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app import state, toasts
from app.deciding import undo, who
from app.words import escaped
from cfbd_core.errors import AuditError
from cfbd_core.store.acting import Provenance
from cfbd_core.store.columns import DECISIONS
from cfbd_core.store.log import Action

CHOICES = {"remove": "Remove all", "keep": "Keep all", "unsure": "All unsure", "": "Clear all"}


def on_all(positions: np.ndarray, key: str, chosen: Mapping[str, Any], words: str) -> None:
    """Offer to decide on the pairs at ``positions`` (m,) together; ``chosen`` says for the log how they were chosen."""
    is_dead = not len(positions) or state.is_read_only()
    with st.popover(
        f"Decide on all {len(positions):,}",
        icon=":material/done_all:",
        disabled=is_dead,
        key=f"bulk_{key}",
        on_change="rerun",
    ):
        if is_dead:
            return
        explorer = state.explorer()
        rows = explorer.rows[positions]  # a new scoring may move positions before a button is pressed
        numbers = np.bincount(explorer.decisions[positions], minlength=len(DECISIONS))
        st.markdown(f"**{len(positions):,}** pairs: {escaped(words, 100)}")
        names = [name or "undecided" for name in DECISIONS]
        counts = [f"{count:,} {name}" for count, name in zip(numbers, names, strict=True) if count]
        st.caption("Now: " + ", ".join(counts))
        st.text_input("Why (kept in the log)", key=f"why_{key}", max_chars=200)
        with st.container(horizontal=True, gap="xsmall"):
            for decision, label in CHOICES.items():
                st.button(
                    label,
                    key=f"all_{decision or 'clear'}_{key}",
                    on_click=_decide,
                    args=[rows, decision, key, dict(chosen), explorer.last_action],
                    type="primary" if decision == "remove" else "secondary",
                )


def _decide(rows: np.ndarray, decision: str, key: str, chosen: dict[str, Any], since: int) -> None:
    """Decide on all; what others did after the action ``since`` was not in the preview, and the toast says so."""
    with toasts.report_errors():
        note = " ".join(str(st.session_state.get(f"why_{key}") or "").split()) or None
        words = f"{decision or 'clear'} {len(rows):,} pairs"
        by = _provenance(note, filter=chosen)
        done = store(rows, DECISIONS.index(decision), words, by)
        st.session_state[f"why_{key}"] = ""  # it was of this action
        st.session_state[f"bulk_{key}"] = False  # else it would stay over Undo, and over what has changed
        toasts.add(
            f"{len(rows):,} pairs: {decision or 'cleared'}{_overruled(done, since)}", ":material/check:"
        )


def _overruled(done: Action, since: int) -> str:
    """Return how many of an action's pairs others had decided on after the action ``since``; empty for none."""
    if done.id == since + 1:
        return ""
    count = state.explorer().audit.log.touched_between(since, done.id)
    return f"; on {count:,} of them someone had decided meanwhile (the Log has it)" if count else ""


def on_one(row: int, key: str, decision: str, seen: str, note: str | None = None) -> Action:
    """Store a decision on the pair at ``row``, on which the person has seen the decision ``seen``; see :func:`store`.

    Raises DecidedMeanwhile where someone has decided otherwise since: the page shows that now, and the same press again
    overrules it.
    """
    words = f"{decision or 'clear'} {escaped(key, 24)}"
    by = _provenance(note, seen=DECISIONS.index(seen))
    return store(np.array([row]), DECISIONS.index(decision), words, by)


def store(rows: np.ndarray, code: int, words: str, by: Provenance) -> Action:
    """Store one action, the decision ``code`` on the pairs at ``rows`` (m,), and remember it as ``words`` for undo.

    Without a note in ``by`` a decision's note stays as it is, an empty one takes it out.
    Both in one go: after the store nothing is asked of Streamlit, which might end the run there. Raises AuditError
    where a pair is no longer in the audit, DecidedMeanwhile as :meth:`Audit.decide_rows` does.
    """
    explorer, steps = state.explorer(), undo.steps()
    positions = explorer.positions_of(rows)
    if (positions < 0).any():
        what = "this pair is" if len(rows) == 1 else "some of these pairs are"
        raise AuditError(f"{what} no longer in the audit; open the page again")
    notes = [None] * len(rows) if by.note == "" else None
    with steps.lock:
        done = explorer.decide(positions, code, notes, replace(by, note=by.note or None))
        steps.remember(done, words, explorer.undone)
    return done


def _provenance(
    note: str | None, filter: Mapping[str, Any] | None = None, seen: int | None = None
) -> Provenance:
    """Return who decides in this session, why, and having seen what."""
    return Provenance(who.name(), note, filter, state.params().to_dict(), seen)
