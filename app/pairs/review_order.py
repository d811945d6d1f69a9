"""The order of a review: which pairs it takes and why each is there, made once for what they depend on."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app import widgets
from app.pairs import filters
from app.pairs.review_queue import ReviewQueue
from app.waiting import background
from cfbd_core.errors import AuditError
from cfbd_core.review import ControlSample, learn, next_queue
from cfbd_core.review.queue import Candidates
from cfbd_core.workbench.preview import Preview

QUEUE_PAIRS = 40  # pairs learned about at a time
ORDERS = {"filter": "As filtered", "learned": "Learned from you", "control": "Control sample"}
BEGIN_AT = "review_begin_at"  # the row of the pair that was asked for, in the session
WHY = {
    "riskiest": "the riskiest that is left",
    "undecidable": "your decisions so far do not tell",
    "least consistent": "its picture and caption agree least",
    "control": "drawn at random, to tell how much is left",
}


def choose() -> str:
    """Draw the choice of the order, and return what is chosen."""
    st.session_state["review_order"] = chosen()  # not by a default: a button may have set it
    widgets.choice(
        "Order",
        ORDERS,
        key="review_order",
        persist_state="session",
        help="As filtered: the pairs of the page Suspicious pairs, in its order. Learned from you: the riskiest "
        "that are left, some that teach most, and some of the control sample, once it is drawn. Control sample: "
        "its pairs alone, which were drawn at random and tell how much is left.",
    )
    return chosen()


def chosen() -> str:
    """Return the order that stands."""
    return str(st.session_state.get("review_order", "filter"))


def begin_at(row: int) -> None:
    """Let the review begin at the pair at ``row``, within the filter as it stands."""
    st.session_state["review_order"] = "filter"
    st.session_state[BEGIN_AT] = row


def queue(preview: Preview) -> ReviewQueue | None:
    """Return the pairs in their order, as a list that stands while they are decided; another filter makes another.

    None while something that it takes is made, which the page says.
    """
    order = chosen()
    explorer = preview.pairs
    control = control_sample(preview) if order != "filter" else None
    drawn = None if control is None else (control.look, control.drawn)
    made_of = (
        str(explorer.audit.folder),
        explorer.version,
        order,
        filters.chosen(),
        preview.params.id,
        drawn,
    )
    present: ReviewQueue | None = st.session_state.get("review")
    if present is not None and present.subject == made_of:
        return _at_pair_of_address(present)
    reasons: list[str] = []
    if order == "learned":
        learned = _learned(preview, control, made_of)
        if learned is None:
            return None
        positions, reasons, note = learned
    elif order == "control":
        positions = np.empty(0, np.int64) if control is None else control.pending(explorer.decisions)
        reasons, note = [WHY["control"]] * len(positions), ""
    elif filters.ready(preview):
        positions, note = filters.chosen().positions(preview), ""
    else:
        return None
    begun = ReviewQueue.begun(made_of, explorer, positions, reasons, note)
    st.session_state["review"] = begun
    return _at_pair_of_address(begun)


def _at_pair_of_address(queue: ReviewQueue) -> ReviewQueue:
    """Return the queue at the pair that was asked for, if one was."""
    row = st.session_state.pop(BEGIN_AT, None)
    if row is not None and chosen() == "filter":
        queue.go_to(row)
    return queue


def control_sample(preview: Preview) -> ControlSample | None:
    """Return the control sample; the panel below reports one that cannot be read."""
    try:
        return preview.pairs.control.get()
    except AuditError:
        return None


def _learned(
    preview: Preview, control: ControlSample | None, made_of: tuple[Any, ...]
) -> tuple[np.ndarray, list[str], str] | None:
    """Return the next pairs by what was decided so far: of when they were asked for, whoever decides meanwhile."""
    explorer = preview.pairs
    request = st.session_state.get("review_learning")
    if request is None or request[0] != made_of:
        request = st.session_state["review_learning"] = made_of, explorer.last_action

    def make() -> tuple[np.ndarray, list[str], str]:
        decisions = explorer.decisions
        risk = learn(preview.review_pairs, decisions, preview.z.values)
        next_ones = next_queue(Candidates(risk, explorer.consistency, decisions), control, count=QUEUE_PAIRS)
        return next_ones.positions, [WHY[reason] for reason in next_ones.reasons], risk.sentence

    order: tuple[np.ndarray, list[str], str] | None = background.made(
        ("learned", *request, ref(preview)), make, "Learning from the decisions so far"
    )
    if order is not None:
        del st.session_state["review_learning"]
    return order
