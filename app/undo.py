"""Undo and redo of what this session has done, by way of the log of decisions."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import state, who
from cfbd_core.store.log import Action

KEPT = 100


def remember(done: Action, told: str) -> None:
    """Take in what was just done; ``told`` says it on the buttons, as Markdown. What was undone is left behind."""
    steps = st.session_state.get("undo", [])
    done_before = steps[: _last_that_counts(steps) + 1]
    step = {"action": done.id, "pairs": done.pairs, "words": told}
    st.session_state["undo"] = [*done_before, step][-KEPT:]


def buttons() -> None:
    """Undo and redo, each telling what it would turn."""
    undo, redo = _steps()
    for step, what, turn in ((undo, "Undo", _undo), (redo, "Redo", _redo)):
        st.button(
            f"{what}: {step['words']}" if step else what, on_click=turn, disabled=step is None,
            icon=f":material/{what.lower()}:", key=f"{what.lower()}_button",
        )  # fmt: skip


def turned(done: Action, pairs: int) -> None:
    """Tell where an undo or redo of an action on ``pairs`` pairs did not change all of them."""
    if done.pairs == pairs:
        return
    if done.pairs == 0:
        told = "Someone has decided on this pair since: nothing has changed."
        told = told if pairs == 1 else "Other decisions on these pairs stay: nothing has changed."
    else:
        told = f"{done.pairs:,} of {pairs:,} pairs have changed; by other decisions, the rest stays as it is."
    st.toast(told, icon=":material/info:")


def undo_last() -> None:
    """Undo the last step that counts; nothing happens where there is none."""
    step = _steps()[0]
    if step:
        turned(state.explorer().undo(step["action"], who=who.name()), step["pairs"])


def last() -> dict[str, Any] | None:
    """The last step that counts: its ``action`` in the log, its ``words``; None where there is none."""
    return _steps()[0]


def _steps() -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The last step that counts, and the one after it, which was undone; None where there is none."""
    steps = st.session_state.get("undo", [])
    last = _last_that_counts(steps)
    return (steps[last] if last >= 0 else None), (steps[last + 1] if last + 1 < len(steps) else None)


def _last_that_counts(steps: list[dict[str, Any]]) -> int:
    """Its place, or −1."""
    undone = state.explorer().undone if steps else frozenset()
    return max((at for at, step in enumerate(steps) if step["action"] not in undone), default=-1)


def _undo() -> None:
    with state.told(), st.spinner("Undoing …"):
        undo_last()


def _redo() -> None:
    with state.told(), st.spinner("Redoing …"):
        step = _steps()[1]
        if step:
            turned(state.explorer().redo(step["action"], who=who.name()), step["pairs"])
