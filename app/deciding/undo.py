"""Undo and redo of what this session has done, by way of the log of decisions."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import streamlit as st

from app import state, toasts
from app.deciding import who
from cfbd_core.store.log import Action

MOST_STEPS = 100


@dataclass(frozen=True)
class Step:
    """An action of the log on so many ``pairs``; ``words`` say it on the buttons, as Markdown."""

    action: int
    pairs: int
    words: str


class Steps:
    """What this session has done, in that order. ``lock`` is for one press at a time.

    Streamlit may end a run wherever it is asked for something, and begin a newer one beside it. So whoever acts asks
    for all that it takes first; then, under the lock, it stores and remembers in one go.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._steps: list[Step] = []

    def remember(self, done: Action, words: str, undone: frozenset[int]) -> None:
        """Take in what was just done; what was undone before it, as ``undone`` says, is left behind."""
        counting = self._steps[: self._last_that_counts(undone) + 1]
        self._steps = [*counting, Step(done.id, done.pairs, words)][-MOST_STEPS:]

    def around(self, undone: frozenset[int]) -> tuple[Step | None, Step | None]:
        """Return the last step that counts, and the one after it, which was undone; None where there is none."""
        steps, last = self._steps, self._last_that_counts(undone)
        return (steps[last] if last >= 0 else None), (steps[last + 1] if last + 1 < len(steps) else None)

    def _last_that_counts(self, undone: frozenset[int]) -> int:
        """Its place, or −1."""
        return max((at for at, step in enumerate(self._steps) if step.action not in undone), default=-1)


def steps() -> Steps:
    """Return those of this session."""
    stack: Steps = st.session_state.setdefault("undo", Steps())
    return stack


def buttons() -> None:
    """Undo and redo, each telling what it would turn."""
    undo, redo = _around()
    for step, what, turn in ((undo, "Undo", _undo), (redo, "Redo", _redo)):
        st.button(
            f"{what}: {step.words}" if step else what,
            on_click=turn,
            disabled=step is None or state.is_read_only(),
            icon=f":material/{what.lower()}:",
            key=f"{what.lower()}_button",
        )


def turned(done: Action, pairs: int) -> None:
    """Say where an undo or redo of an action on ``pairs`` pairs did not change all of them."""
    if done.pairs == pairs:
        return
    if done.pairs == 0:
        message = "Someone has decided on this pair since: nothing has changed."
        message = message if pairs == 1 else "Other decisions on these pairs stay: nothing has changed."
    else:
        message = (
            f"{done.pairs:,} of {pairs:,} pairs have changed; by other decisions, the rest stays as it is."
        )
    toasts.add(message, ":material/info:")


def _around() -> tuple[Step | None, Step | None]:
    return steps().around(state.explorer().undone)


def _undo() -> None:
    with steps().lock, toasts.report_errors():
        step = _around()[0]
        if step:
            turned(state.explorer().undo(step.action, who=who.name()), step.pairs)


def _redo() -> None:
    with steps().lock, toasts.report_errors():
        step = _around()[1]
        if step:
            turned(state.explorer().redo(step.action, who=who.name()), step.pairs)
