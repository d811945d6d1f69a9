"""Review: one pair at a time, large, with why it is flagged and what is near it; decided by a key."""

from __future__ import annotations

import time
from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app import background, deciding, filters, keys, left, near, pair_view, state, undo, widgets
from app.review_queue import ReviewQueue
from app.words import escaped
from cfbd_core.errors import AuditError
from cfbd_core.preview import Preview
from cfbd_core.review import ControlSample, learn, next_queue
from cfbd_core.store.columns import DECISIONS

QUEUE = 40  # pairs learned about at a time
ORDERS = {"filter": "As filtered", "learned": "Learned from you", "control": "Control sample"}
KEYS = {
    "k": "review_keep_", "x": "review_remove_", "u": "review_unsure_", "z": "review_undo", "n": "review_next",
    "ArrowRight": "review_next", "p": "review_previous", "ArrowLeft": "review_previous", "?": "review_help",
}  # fmt: skip
WHY = {
    "riskiest": "the riskiest that is left",
    "undecidable": "your decisions so far do not tell",
    "least consistent": "its picture and caption agree least",
    "control": "drawn at random, to tell how much is left",
}


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Review",
        "One pair at a time. Decide by key and the next one comes; press **?** for the keys.",
    )
    preview = state.preview()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        order = st.segmented_control(
            "Order", list(ORDERS), format_func=ORDERS.__getitem__, default="filter", required=True,
            key="review_order", persist_state="session",
            help="As filtered: the pairs of the page Suspicious pairs, in its order. Learned from you: the riskiest "
            "that are left, some that teach most, and some of the control sample, once it is drawn. Control sample: "
            "its pairs alone, which were drawn at random and tell how much is left.",
        )  # fmt: skip
        if order == "filter":
            filters.chips()
    queue = _queue(preview)
    if queue is None:
        return
    if not len(queue):
        _nothing(preview)
        return
    keys.press_buttons(KEYS, bound=[KEYS[key] for key in "kxu"])
    _one(queue)


def _nothing(preview: Preview) -> None:
    order = st.session_state.get("review_order", "filter")
    if order == "filter":
        title, text = "Nothing to review", "No pair matches the filter. Take a chip out, or show all."
    elif order == "learned":
        title, text = "Nothing to review", "Every pair is decided."
    elif _control(preview) is None:
        title, text = "No control sample yet", "Draw one below, and its pairs come one by one."
    else:
        title, text = "The control sample is done", "Every pair of it was looked at. Draw more to know more."
    widgets.empty(":material/task_alt:", title, text)
    if _acted():
        keys.press_buttons({"z": "review_undo"})
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[None])
    if order != "filter":
        left.panel(preview, "review")


def _control(preview: Preview) -> ControlSample | None:
    """The control sample; one that cannot be read is told by the panel below."""
    try:
        return preview.explorer.control.get()
    except AuditError:
        return None


def _queue(preview: Preview) -> ReviewQueue | None:
    """The pairs in their order, as a list that stands while they are decided; another filter makes another.

    None while something that it takes is made, which the page says.
    """
    order = st.session_state.get("review_order", "filter")
    explorer = preview.explorer
    control = _control(preview) if order != "filter" else None
    drawn = None if control is None else (control.look, control.drawn)
    made_of = (
        str(explorer.audit.folder),
        explorer.version,
        order,
        filters.chosen(),
        preview.params.id,
        drawn,
    )
    held: ReviewQueue | None = st.session_state.get("review")
    if held is not None and held.of == made_of:
        return held
    reasons: list[str] = []
    if order == "learned":
        learned = _learned(preview, control, made_of)
        if learned is None:
            return None
        positions, reasons, told = learned
    elif order == "control":
        positions = np.empty(0, np.int64) if control is None else control.pending(explorer.decisions)
        reasons, told = [WHY["control"]] * len(positions), ""
    elif filters.ready(preview):
        positions, told = filters.chosen().positions(preview), ""
    else:
        return None
    queue = ReviewQueue.begun(made_of, explorer, positions, reasons, told)
    st.session_state["review"] = queue
    return queue


def _learned(
    preview: Preview, control: ControlSample | None, made_of: tuple[Any, ...]
) -> tuple[np.ndarray, list[str], str] | None:
    """The next pairs by what was decided so far: of when they were asked for, whoever decides meanwhile."""
    explorer = preview.explorer
    asked = st.session_state.get("review_learning")
    if asked is None or asked[0] != made_of:
        asked = st.session_state["review_learning"] = made_of, explorer.last_action

    def make() -> tuple[np.ndarray, list[str], str]:
        decisions = explorer.decisions
        risk = learn(preview.review_pairs, decisions, preview.z.values)
        queue = next_queue(risk, explorer.consistency, decisions, control, count=QUEUE)
        return queue.positions, [WHY[reason] for reason in queue.reasons], risk.told

    found: tuple[np.ndarray, list[str], str] | None = background.made(
        ("learned", *asked, ref(preview)), make, "Learning from the decisions so far"
    )
    if found is not None:
        del st.session_state["review_learning"]
    return found


@st.fragment
def _one(queue: ReviewQueue) -> None:
    """One pair; a key runs this part of the page alone."""
    if st.session_state.get("review") is not queue:
        st.rerun()  # the queue is used up: the page makes the next one
    preview = state.preview()
    explorer = preview.explorer
    position = queue.position(explorer)
    found = explorer.pairs_at(np.array([position])).to_pylist() if position >= 0 else []
    _progress(queue, preview)
    if queue.is_over:
        _buttons(queue, None, "", "")
        st.success(
            "Every pair of this queue is decided. Back shows the last ones again.", icon=":material/task_alt:"
        )
        return
    if not found:
        st.info("This pair is no longer in the audit.", icon=":material/info:")
        _buttons(queue, None, "", "")
        return
    pair = found[0]
    decided = DECISIONS[explorer.decisions[position]]
    _buttons(queue, position, pair["key"], decided)
    st.html(pair_view.large(preview, position, pair, queue.reason))
    if st.session_state.get("review_order", "filter") != "filter":
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


def _buttons(queue: ReviewQueue, position: int | None, key_of: str, decided: str) -> None:
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="review_buttons"):
        for decision, label, key in (
            ("keep", "Keep", "K"),
            ("remove", "Remove", "X"),
            ("unsure", "Unsure", "U"),
        ):
            # A button of this pair alone: a click that comes late must not be taken for one on the next.
            st.button(
                f"{label}  `{key}`", key=f"review_{decision}_{queue.row}", on_click=_decide,
                args=[queue, queue.at, key_of, decision, decided],
                type="primary" if decided == decision else "secondary", disabled=position is None,
            )  # fmt: skip
        st.button("Undo  `Z`", key="review_undo", on_click=_undo, args=[queue], disabled=not _acted())
        st.button("Back  `P`", key="review_previous", on_click=queue.go, args=[-1], type="tertiary")
        st.button("Next  `N`", key="review_next", on_click=queue.go, args=[1], type="tertiary")
        st.button("", key="review_help", icon=":material/help:", on_click=_keys, type="tertiary", help="Keys")


@st.dialog("Keys")
def _keys() -> None:
    st.markdown(
        "| key | what it does |\n|---|---|\n"
        "| **K** | keep this pair |\n| **X** | remove it |\n| **U** | unsure: look again later |\n"
        "| **Z** | undo your last action |\n| **N** or **→** | next, undecided or not |\n| **P** or **←** | back |\n"
        "| **?** | this help |\n\nKeys are dead while you type. A decision is stored at once and brings the next "
        "undecided pair."
    )


def _acted() -> dict[int, int]:
    """What was decided here in this session: the actions of the log, and the row of each one's pair."""
    held: dict[int, int] = st.session_state.setdefault("review_acted", {})
    return held


def _decide(queue: ReviewQueue, at: int, key: str, decision: str, seen: str) -> None:
    """Decide on the pair that was shown, with the decision ``seen``; a second press before the next pair is none."""
    if at != queue.at or queue.is_over:
        return
    with state.told():
        done = deciding.on_one(queue.row, decision, seen)
        undo.remember(done, f"{decision} {escaped(key, 24)}")
        _acted()[done.id] = queue.row
        queue.made += 1
        queue.go_on(state.explorer())
        if queue.is_over and st.session_state.get("review_order", "filter") != "filter":
            st.session_state.pop("review", None)  # what comes next is learned or drawn anew


def _undo(queue: ReviewQueue | None) -> None:
    """Undo the last decision that was made here; what was done elsewhere is undone there, where it is seen."""
    with state.told():
        last = undo.last()
        if last is None or last["action"] not in _acted():
            st.toast(
                "Your last action was on another page; undo it there or in the Log.", icon=":material/info:"
            )
            return
        undo.undo_last()
        row = _acted().pop(last["action"])
        if queue is None:
            st.session_state.pop("review", None)  # nothing was left, now something is
        else:
            queue.go_to(row)


page()
