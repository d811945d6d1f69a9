"""What can be done about an audit that is not finished: go on, ask for something else, be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import state, toasts, words
from app.audits import new_audit, running
from cfbd_core.audit.state import AuditStatus
from cfbd_core.cli.command import parser
from cfbd_core.config import SplitParams
from cfbd_core.demo.audit import SOURCE_NAME
from cfbd_core.jobs.discard import discard, what_it_holds
from cfbd_core.jobs.jobs import Job

FIRST = SplitParams()  # what the sliders begin at


def half_made(folder: Path, status: AuditStatus) -> None:
    """Buttons of an audit that no job has failed on: the command line or a job long forgotten began it."""
    source = status["source"]
    if source is None:
        st.button(
            "Choose a source",
            key=f"change_{folder}",
            on_click=new_audit.change,
            args=[folder, "", {}],
            icon=":material/edit:",
        )
        return
    options = {**source["options"], **_fitting(status["pairs"])}
    st.button(
        "Go on",
        key=f"go_on_{folder}",
        on_click=_go_on,
        args=[folder, source["source"], options],
        icon=":material/play_arrow:",
        help="Embeds, scores and splits what is missing.",
    )
    st.button(
        "Change options",
        key=f"change_{folder}",
        on_click=new_audit.change,
        args=[folder, source["source"], options],
        icon=":material/edit:",
    )


def of_job(job: Job) -> None:
    """Buttons beside that which starts a failed or stopped job again."""
    request = _request_of(job)
    if request is not None:
        source = request["source"]
        st.button(
            "Change options",
            key=f"change_{job.id}",
            on_click=new_audit.change,
            args=[job.audit, source, request],
            icon=":material/edit:",
        )
    made = frozenset({SOURCE_NAME}) if job.kind == "demo" else frozenset()
    if not job.made_audit or what_it_holds(job.audit, made) is not None:
        running.dismissal(job)
        return
    with st.popover("Dismiss", type="tertiary"):
        name = words.escaped(state.settings().name(job.audit))
        st.markdown(f"**{name}** holds no results yet. Its source stays as it is.")
        st.button(
            "Delete its folder",
            key=f"discard_{job.id}",
            on_click=_discard,
            args=[job, made],
            type="primary",
            icon=":material/delete:",
        )
        running.dismissal(job, "Keep the folder, forget the job")


def _request_of(job: Job) -> dict[str, Any] | None:
    """Return what a run was asked for, by the names of the command's options."""
    if job.kind != "run":
        return None
    try:
        return vars(parser().parse_args(job.arguments))
    except SystemExit:  # of another version
        return None


def _fitting(pairs: int) -> dict[str, int]:
    """Return a q and a K that so many pairs are enough for."""
    q = FIRST.q if FIRST.q <= pairs else max(1, pairs // 10)
    return {"q": q, "k": min(FIRST.k, max(1, pairs))}


def _go_on(folder: Path, source: str, options: dict[str, Any]) -> None:
    with toasts.report_errors():
        state.jobs().start("run", folder, new_audit.command(folder, source, options))


def _discard(job: Job, made: frozenset[str]) -> None:
    with toasts.report_errors():
        discard(job.audit, made)
        state.jobs().forget(job)
        if st.session_state.get("audit") == str(job.audit):
            state.close_audit()
