"""Review: one pair at a time, large, with why it is flagged and what is near it; decided by a key."""

from __future__ import annotations

import streamlit as st

from app import widgets
from app.pairs import chips, left, review_order, review_pair
from app.waiting import previews
from cfbd_core.workbench.preview import Preview


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Review",
        "One pair at a time. Decide by key and the next one comes; press **?** for the keys.",
    )
    preview = previews.shown()
    if preview is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        order = review_order.choose()
        place = st.container()
    queue = review_order.queue(preview)
    if order == "filter":
        with place:
            chips.show(preview)
    if queue is None:
        return
    if len(queue):
        review_pair.show(queue)
    else:
        _nothing(preview)


def _nothing(preview: Preview) -> None:
    order = review_order.chosen()
    if order == "filter":
        title, text = "Nothing to review", "No pair matches the filter. Take a chip out, or show all."
    elif order == "learned":
        title, text = "Nothing to review", "Every pair is decided."
    elif review_order.control_sample(preview) is None:
        title, text = "No control sample yet", "Draw one below, and its pairs come one by one."
    else:
        title, text = "The control sample is done", "Every pair of it was looked at. Draw more to know more."
    widgets.empty(":material/task_alt:", title, text)
    review_pair.undo_button()
    if order != "filter":
        left.panel(preview, "review")


page()
