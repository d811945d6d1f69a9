"""One pair of a review: large, with what is near it, and the keys that decide on it and bring the next."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app import deciding, keys, left, near, pair_view, review_order, state, undo, who
from app.review_queue import ReviewQueue
from cfbd_core.explorer import Explorer
from cfbd_core.preview import Preview
from cfbd_core.store.columns import DECISIONS

KEYS = {
    "k": "review_keep_", "x": "review_remove_", "u": "review_unsure_", "z": "review_undo", "n": "review_next",
    "ArrowRight": "review_next", "p": "review_previous", "ArrowLeft": "review_previous", "?": "review_help",
    "w": "review_note_",
}  # fmt: skip


def show(queue: ReviewQueue) -> None:
    """Draw the pair where the queue stands, and let keys press its buttons."""
    keys.press_buttons(KEYS, bound=[KEYS[key] for key in "kxu"])
    _one(queue)


def undo_button() -> None:
    """Offer to undo what was decided here where no pair is left to show."""
    if _acted():
        keys.press_buttons({"z": "review_undo"})
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[None])


@st.fragment
def _one(queue: ReviewQueue) -> None:
    """One pair; a key runs this part of the page alone."""
    if queue.is_over and review_order.chosen() != "filter":
        st.session_state.pop("review", None)  # what comes next is learned or drawn anew
    if st.session_state.get("review") is not queue:
        st.rerun()  # the queue is used up: the page makes the next one
    preview = state.preview()
    explorer = preview.explorer
    position = queue.position(explorer)
    found = explorer.pairs_at(np.array([position])).to_pylist() if position >= 0 else []
    _progress(queue, preview)
    if queue.is_over:
        _buttons(queue, None)
        st.success(
            "Every pair of this queue is decided. Back shows the last ones again.", icon=":material/task_alt:"
        )
        return
    if not found:
        st.info("This pair is no longer in the audit.", icon=":material/info:")
        _buttons(queue, None)
        return
    pair = found[0]
    _buttons(queue, _Shown.of(explorer, position, pair["key"]))
    st.html(pair_view.large(preview, position, pair, queue.reason))
    if review_order.chosen() != "filter":
        left.panel(preview, "review")
    near.panel(preview, position, pair["key"], queue.following(explorer))


def _progress(queue: ReviewQueue, preview: Preview) -> None:
    done, total = queue.decided(preview.explorer), len(queue)
    minutes = (time.monotonic() - queue.began) / 60
    pace = f" · {queue.made / minutes:.0f} a minute" if queue.made >= 3 and minutes > 0 else ""
    told = f" · {queue.told}" if queue.told else ""
    st.progress(
        done / total,
        text=f"pair {queue.at + 1:,} of {total:,} · {done:,} decided, {total - done:,} left{pace}{told}",
    )


@dataclass(frozen=True)
class _Shown:
    """What a person sees of the pair that they decide on: its key, what stands for it, and the note with that."""

    key: str
    decided: str
    note: str

    @classmethod
    def of(cls, explorer: Explorer, position: int, key: str) -> _Shown:
        decided = DECISIONS[explorer.decisions[position]]
        notes = explorer.audit.notes_of(explorer.rows[[position]]) if decided else [None]
        return cls(key, decided, notes[0] or "")


def _buttons(queue: ReviewQueue, shown: _Shown | None) -> None:
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="review_buttons"):
        for decision, label, key in (
            ("keep", "Keep", "K"),
            ("remove", "Remove", "X"),
            ("unsure", "Unsure", "U"),
        ):
            # A button of this pair alone: a click that comes late must not be taken for one on the next.
            st.button(
                f"{label}  `{key}`", key=f"review_{decision}_{queue.row}", on_click=_decide,
                args=[queue, queue.at, shown, decision],
                type="primary" if shown and shown.decided == decision else "secondary", disabled=shown is None,
            )  # fmt: skip
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[queue], disabled=not _acted())
        st.button("Back  `P`", key="review_previous", on_click=queue.go, args=[-1], type="tertiary")
        st.button("Next  `N`", key="review_next", on_click=queue.go, args=[1], type="tertiary")
        st.button("", key="review_help", icon=":material/help:", on_click=_keys, type="tertiary", help="Keys")
        if shown is not None:
            st.text_input(
                "Note", shown.note, key=_note_of(queue.row, shown), max_chars=200, width=260,
                label_visibility="collapsed", placeholder="Note  (W)", icon=":material/edit_note:",
            )  # fmt: skip


def _note_of(row: int, shown: _Shown) -> str:
    """The key of the field for a pair's note: of this pair and the note that it began with, else that of a colleague
    would not be seen, and what stands there would be taken for a change of it.
    """
    return f"review_note_{row}_{zlib.crc32(shown.note.encode()):08x}"


@st.dialog("Keys")
def _keys() -> None:
    st.markdown(
        "| key | what it does |\n|---|---|\n"
        "| **K** | keep this pair |\n| **X** | remove it |\n| **U** | unsure: look again later |\n"
        "| **Z** | undo your last action |\n| **N** or **→** | next, undecided or not |\n| **P** or **←** | back |\n"
        "| **W** | write a note, which goes with your decision; **Enter** ends it |\n| **?** | this help |\n\n"
        "Keys are dead while you type. A decision is stored at once and brings the next undecided pair."
    )


def _acted() -> dict[int, int]:
    """What was decided here in this session: the actions of the log, and the row of each one's pair."""
    held: dict[int, int] = st.session_state.setdefault("review_acted", {})
    return held


def _decide(queue: ReviewQueue, at: int, shown: _Shown, decision: str) -> None:
    """Decide on the pair as it was shown, with the note that was written; a second press before the next pair is none.

    After the store nothing is asked of Streamlit, which might end the run there.
    """
    acted, explorer = _acted(), state.explorer()
    note: str | None = " ".join(str(st.session_state.get(_note_of(queue.row, shown)) or "").split())
    if note == shown.note:
        note = None  # as it was seen: what someone else has noted meanwhile stays
    with undo.steps().lock, state.told():
        if at != queue.at or queue.is_over:
            return
        done = deciding.on_one(queue.row, shown.key, decision, shown.decided, note)
        acted[done.id] = queue.row
        queue.made += 1
        queue.go_on(explorer)


def _undo(queue: ReviewQueue | None) -> None:
    """Undo the last decision that was made here; what was done elsewhere is undone there, where it is seen."""
    acted, explorer, by, steps = _acted(), state.explorer(), who.name(), undo.steps()
    with steps.lock, state.told():
        last, _ = steps.around(explorer.undone)
        if last is None or last.action not in acted:
            st.toast(
                "Your last action was on another page; undo it there or in the Log.", icon=":material/info:"
            )
            return
        if queue is None:
            st.session_state.pop("review", None)  # nothing was left, and something will be
        done = explorer.undo(last.action, who=by)
        row = acted.pop(last.action)
        if queue is not None:
            queue.go_to(row)
        undo.turned(done, last.pairs)
