"""What is left: what the control sample says is still hidden, and the buttons that draw it."""

from __future__ import annotations

import streamlit as st

from app import state
from app.words import escaped
from cfbd_core.errors import AuditError
from cfbd_core.preview import Preview
from cfbd_core.review import WhatIsLeft
from cfbd_core.review.left import DRAWN_FIRST

MORE = 100  # pairs


def panel(preview: Preview, where: str, *, needed: bool = False) -> None:
    """Draw the panel of the page ``where``; with ``needed`` it tells at once how many more reviews it takes."""
    with st.container(border=True, gap="small", key=f"left_{where}"):
        st.markdown("#### What is left")
        try:
            left = preview.what_is_left()
        except AuditError as error:
            st.error(escaped(str(error)), icon=":material/error:")
            _draw_button(where, "Draw a new control sample", anew=True)
            return
        if left is None:
            st.markdown(
                f"A control sample is {DRAWN_FIRST} pairs drawn at random, to be reviewed like any other. From them "
                "alone follows an honest bound on the poisons among the kept pairs and the clean pairs among the "
                "removed."
            )
            _draw_button(where, "Draw a control sample")
            return
        _told(left, where, needed)


def _told(left: WhatIsLeft, where: str, needed: bool) -> None:
    for sentence in left.sentences:
        st.markdown(escaped(sentence))
    if left.moved_sentence:
        st.info(escaped(left.moved_sentence), icon=":material/sync_problem:")
    if st.toggle("How many more reviews?", value=needed, key=f"left_needed_{where}"):
        with st.spinner("Working it out …"):
            st.caption(escaped(left.needed_sentence()))
    with st.container(horizontal=True, gap="small"):
        st.button(
            f"Draw {MORE} more", key=f"left_more_{where}", on_click=_draw_more, icon=":material/add:",
            disabled=not left.undrawn, help="From the same pool; what is drawn already stays.",
        )  # fmt: skip
        if left.moved or not left.undrawn:
            _draw_button(where, "Draw a new control sample", anew=True)


def _draw_button(where: str, label: str, *, anew: bool = False) -> None:
    st.button(
        label, key=f"left_draw_{where}", on_click=_draw, args=[anew], icon=":material/casino:",
        type="secondary" if anew else "primary",
    )  # fmt: skip


def _draw(anew: bool) -> None:
    with state.told():
        state.preview().draw_control(DRAWN_FIRST, anew=anew)


def _draw_more() -> None:
    with state.told():
        state.explorer().control.draw_more(MORE)
