"""Decisions on many pairs at once, with a preview of how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.words import escaped
from cfbd_core.store.columns import DECISIONS

CHOICES = {"remove": "Remove", "keep": "Keep", "unsure": "Unsure", "": "Clear"}


def on_all(positions: np.ndarray, key: str, chosen: Mapping[str, Any], words: str) -> None:
    """Offer to decide on the pairs at ``positions`` (m,) together; ``chosen`` says for the log how they were chosen."""
    with st.popover(
        f"Decide on all {len(positions):,}", icon=":material/done_all:", disabled=not len(positions)
    ):
        if not len(positions):
            return
        held = np.bincount(state.explorer().decisions[positions], minlength=len(DECISIONS))
        st.markdown(f"**{len(positions):,}** pairs: {escaped(words, 100)}")
        told = [f"{held[code]:,} {name or 'undecided'}" for code, name in enumerate(DECISIONS) if held[code]]
        st.caption("Now: " + ", ".join(told))
        st.text_input("Why (kept in the log)", key=f"why_{key}", max_chars=200)
        with st.container(horizontal=True, gap="xsmall"):
            for decision, label in CHOICES.items():
                st.button(
                    label, key=f"all_{decision or 'clear'}_{key}", on_click=_decide,
                    args=[positions, decision, key, dict(chosen), words],
                    type="primary" if decision == "remove" else "secondary",
                )  # fmt: skip


def _decide(positions: np.ndarray, decision: str, key: str, chosen: dict[str, Any], words: str) -> None:
    with state.told():
        note = " ".join(str(st.session_state.get(f"why_{key}") or "").split()) or None
        store(positions, DECISIONS.index(decision), note, chosen)
        st.toast(f"{len(positions):,} pairs: {decision or 'cleared'}", icon=":material/check:")


def store(positions: np.ndarray, code: int, note: str | None, chosen: Mapping[str, Any] | None) -> None:
    """Store one action: the decision ``code`` on the pairs at ``positions`` (m,), and remember it for undo."""
    explorer = state.explorer()
    done = explorer.decide(positions, code, note=note, filter=chosen, params=state.params())
    st.session_state.setdefault("done", []).append((done.id, int(explorer.rows[positions[0]])))


def undoable() -> bool:
    """Whether there is an action of this session to take back."""
    return bool(st.session_state.get("done"))


def undo_last() -> int | None:
    """Take this session's last action back; returns the row of a pair that it touched."""
    action, row = st.session_state["done"].pop()
    state.explorer().undo(action)
    return int(row)
