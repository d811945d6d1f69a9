"""What the attack lab wrote: copies being written, their ground truth, the way to their audits."""

from __future__ import annotations

import os

import streamlit as st

from app import address, state, words
from app.audits import running
from app.lab import form as lab_form
from app.lab import request as lab
from cfbd_core.attacks import ATTACKS
from cfbd_core.errors import CfbdError
from cfbd_core.jobs.jobs import Job
from cfbd_core.poisoning.copies import SHEET_NAME
from cfbd_core.poisoning.place import MANIFEST

MOST_COPIES = 10  # copies that are listed


def show() -> None:
    """Draw the newest copy and any other that is being written in full, and earlier ones folded away."""
    made = lab.copies()
    for number, job in enumerate(made[:MOST_COPIES]):
        if number == 0 or job.state == "running":
            with st.container(border=True):
                st.markdown(f"**{words.escaped(state.settings().name(job.audit))}**")
                running.latest(job.audit, lab.KIND, _done)
    earlier = [job for job in made[1:MOST_COPIES] if job.state == "done" and os.path.isdir(job.audit)]
    if earlier:
        with st.expander("Earlier copies", icon=":material/history:"):
            for job in earlier:
                with st.container(border=True):
                    st.markdown(f"**{words.escaped(state.settings().name(job.audit))}**")
                    _done(job)


def _done(job: Job) -> None:
    """A finished copy: where it lies, what is in it, and the way to its audit."""
    if job.result is None or not os.path.isfile(job.audit / MANIFEST):
        st.info("This copy is no longer there.", icon=":material/folder_off:")
        return
    st.caption(f":material/check: written to {words.escaped(str(job.audit))}")
    with st.container(horizontal=True, gap="medium"):
        for label, number in lab.counts(job.result).items():
            st.metric(label, f"{number:,}", width="content")
    _audit(job)
    sheet = job.audit / SHEET_NAME
    if os.path.isfile(sheet):
        attack = ATTACKS.get(job.result["params"]["attack"])
        is_news = attack is not None and attack.optimised  # the page could not show its examples before
        with st.expander("Contact sheet: before, after, difference", is_news, icon=":material/grid_on:"):
            st.image(str(sheet), alt="Examples of the copy: before, after, and their difference")


def _audit(job: Job) -> None:
    folder, is_there = lab.audit_of(job.audit)
    label, icon = ("Open its audit", "visibility") if is_there else ("Audit this copy", "policy")
    if not st.button(label, key=f"lab_audit_{job.id}", type="primary", icon=f":material/{icon}:"):
        return
    try:
        if not is_there:
            lab.start_audit(job, folder)
    except CfbdError as error:
        lab_form.problem(error)
        return
    if is_there:
        state.open_audit(folder)
    address.go("views/evaluate.py" if is_there else "views/audits.py")
