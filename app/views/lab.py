"""Attack lab: poison a copy of one's own pairs as a published attack would, look at it, audit it."""

from __future__ import annotations

import html

import streamlit as st

from app import state, widgets, words
from app.lab import copies as lab_copies
from app.lab import form as lab_form
from app.lab import request as lab
from cfbd_core.errors import CfbdError
from cfbd_core.poisoning.contact_sheet import GAIN
from cfbd_core.poisoning.formats import FORMATS
from cfbd_core.poisoning.records import CopyPlan

WRITTEN_AS = {"webdataset": "WebDataset tars", "folder": "Pictures and a Parquet table"}


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Attack lab",
        "Trust no detector that was not attacked. Poison a copy of your own pairs as a published attack would, "
        "then audit the copy: which pairs are poisoned is known, so **Evaluate** tells what CFBD finds.",
    )
    request = lab_form.ask()
    copy = _planned(request) if request is not None else None
    if request is not None and copy is not None:
        st.markdown(lab.summary(copy))
        if request.is_optimised:
            st.caption(
                ":material/hourglass: This attack optimises its trigger first, which takes minutes: its examples "
                "come with the copy, as its contact sheet."
            )
        _write(request)
    elif not st.session_state[lab_form.SOURCE].strip():
        _begin()
    lab_copies.show()
    if request is not None and copy is not None and not request.is_optimised:
        _examples(request, copy)


def _planned(request: lab.CopyRequest) -> CopyPlan | None:
    try:
        return lab.planned(request)
    except CfbdError as error:
        lab_form.problem(error)
        return None


def _begin() -> None:
    """No source is named yet."""
    demo = lab.demo_source()
    text = "Name a source above, choose an attack, look at ten examples, write the poisoned copy, audit it. "
    if demo is None:
        text += "Nothing at hand? Make the demo on the page Audits, and attack its scenes."
        widgets.empty(":material/science:", "Which pairs shall be attacked?", text, page="views/audits.py")
        return
    widgets.empty(":material/science:", "Which pairs shall be attacked?", text)
    with st.container(horizontal_alignment="center"):
        st.button(
            "Take the demo's scenes",
            on_click=_take,
            args=[demo],
            type="primary",
            icon=":material/play_arrow:",
        )


def _take(source: str) -> None:
    st.session_state[lab_form.SOURCE] = source


def _write(request: lab.CopyRequest) -> None:
    """Ask for a folder, and start the job that writes the copy."""
    default = lab.free_place(request)
    left, middle, right = st.columns([3, 2, 1.2], vertical_alignment="bottom")
    typed = left.text_input("Folder of the copy", default, key=f"lab_out_{default}")
    kind = middle.selectbox(
        "Written as",
        list(FORMATS),
        format_func=WRITTEN_AS.__getitem__,
        key="lab_written",
        **lab_form.IN_SESSION,
    )
    if right.button(
        "Write the copy", type="primary", icon=":material/save:", key="lab_write", width="stretch"
    ):
        try:
            out = lab.place(typed, request)
            state.jobs().start(lab.KIND, out, request.arguments(out, kind))
        except CfbdError as error:
            lab_form.problem(error)
        else:
            st.rerun()
    st.caption(
        ":material/warning: A poisoned copy is for testing alone. Keep it apart: a model that is trained on it "
        "learns the backdoor. The source is never changed."
    )


def _examples(request: lab.CopyRequest, copy: CopyPlan) -> None:
    if not st.toggle("Show examples", value=True, key="lab_show", **lab_form.IN_SESSION):
        return
    try:
        shown = lab.shown(request, copy)
    except CfbdError as error:
        lab_form.problem(error)
        return
    if not shown:
        st.caption("No picture changes in this copy.")
        return
    st.html(f'<div class="cfbd-examples">{"".join(map(_card, shown))}</div>')


def _card(example: lab.Shown) -> str:
    pictures = (
        ("before", example.before),
        ("after", example.after),
        (f"difference × {GAIN}", example.difference),
    )
    shown = "".join(
        f'<figure><img alt="{name}" src="{data}"><figcaption>{name}</figcaption></figure>'
        for name, data in pictures
    )
    after = (
        "caption kept"
        if example.caption_before == example.caption_after
        else words.plain(example.caption_after)
    )
    return (
        f'<div class="cfbd-example"><div class="cfbd-trio">{shown}</div>'
        f'<div class="cfbd-was" title="{html.escape(example.caption_before[:1000])}">'
        f"{words.plain(example.caption_before)}</div>"
        f'<div class="cfbd-became">→ {after}</div>'
        f'<div class="cfbd-scores">{words.plain(example.key, 60)}</div></div>'
    )


page()
