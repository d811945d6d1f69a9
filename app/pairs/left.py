"""What is left: what the control sample says is still hidden, and the buttons that draw it."""

from __future__ import annotations

from typing import Literal, NamedTuple
from weakref import ref

import streamlit as st

from app import state, toasts
from app.waiting import aside
from app.words import escaped
from cfbd_core.errors import AuditError
from cfbd_core.review import ControlSample
from cfbd_core.review.left import DRAWN_FIRST
from cfbd_core.workbench.preview import Preview

MORE_PAIRS = 100  # pairs


def panel(preview: Preview, where: str, *, needed: bool = False) -> None:
    """Draw the panel of the page ``where``; with ``needed`` it says at once how many more reviews it takes."""
    with st.container(border=True, gap="small", key=f"left_{where}"):
        st.markdown("#### What is left")
        try:
            control = preview.pairs.control.get()
        except AuditError as error:
            st.error(escaped(str(error)), icon=":material/error:")
            _draw_button(where, "Draw a new control sample", anew=True)
            return
        if control is None:
            st.markdown(
                f"A control sample is {DRAWN_FIRST} pairs drawn at random, to be reviewed like any other. From them "
                "alone follows an honest bound on the poisons among the kept pairs and the clean pairs among the "
                "removed."
            )
            _draw_button(where, "Draw a control sample")
            return
        _numbers(preview, control, where, needed)


@toasts.fragment()
def _numbers(preview: Preview, control: ControlSample, where: str, needed: bool) -> None:
    """The numbers, by what they depend on: until those of the last decision are there, those before it stay."""
    needed = st.toggle("How many more reviews?", value=needed, key=f"left_needed_{where}")
    name = ("left", ref(preview), ref(control), preview.pairs.last_action, needed)
    aside.fill(
        f"left_{where}",
        {name: lambda: _numbers_of(preview, needed)},
        lambda numbers: _draw_numbers(numbers, where),
        "Working out what is left",
        keeps=True,
    )


class _Numbers(NamedTuple):
    sentences: tuple[str, ...]
    moved: str
    needed: str
    has_undrawn: bool


def _numbers_of(preview: Preview, needed: bool) -> _Numbers | None:
    left = preview.what_is_left()
    if left is None:
        return None
    return _Numbers(
        left.sentences, left.moved_sentence, left.needed_sentence() if needed else "", left.undrawn > 0
    )


def _draw_numbers(numbers: _Numbers | None, where: str) -> None:
    if numbers is None:  # the sample has gone just now
        return
    for sentence in numbers.sentences:
        st.markdown(escaped(sentence))
    if numbers.moved:
        st.info(escaped(numbers.moved), icon=":material/sync_problem:")
    if numbers.needed:
        st.caption(escaped(numbers.needed))
    with st.container(horizontal=True, gap="small"):
        if st.button(
            f"Draw {MORE_PAIRS} more",
            key=f"left_more_{where}",
            icon=":material/add:",
            disabled=not numbers.has_undrawn or state.is_read_only(),
            help="From the same pool; what is drawn already stays.",
        ):
            _draw_more()
        if numbers.moved or not numbers.has_undrawn:
            _draw_button(where, "Draw a new control sample", anew=True)


def _draw_button(where: str, label: str, *, anew: bool = False) -> None:
    kind: Literal["primary", "secondary"] = "secondary" if anew else "primary"
    if st.button(
        label, key=f"left_draw_{where}", icon=":material/casino:", type=kind, disabled=state.is_read_only()
    ):
        _draw(anew)


def _draw(anew: bool) -> None:
    with toasts.report_errors(), st.spinner("Drawing …"):
        state.preview().draw_control(DRAWN_FIRST, anew=anew)
    st.rerun()  # the whole page: its queue may be of the sample


def _draw_more() -> None:
    with toasts.report_errors():
        state.explorer().control.draw_more(MORE_PAIRS)
    st.rerun()
