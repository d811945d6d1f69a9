"""Audits: open one, make one from a source, follow the job that makes it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import state, widgets, words
from app.audits import new_audit, running, unfinished
from app.settings import MOST_FOLDERS_DEEP
from cfbd_core import Audit
from cfbd_core.audit.report import unscored_lines
from cfbd_core.audit.state import AuditStatus
from cfbd_core.errors import CfbdError
from cfbd_core.jobs.jobs import Job


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Audits",
        "An audit is a folder: the pairs of one source, their embeddings, scores, and your decisions.",
    )
    folders = state.settings().audits()
    making = [job for job in state.jobs().all() if job.kind in ("run", "demo")]
    pending = _newest_unfinished(making)
    if new_audit.is_changing():
        new_audit.form()
    shown = {job.audit for job in pending if _job(job)}
    for folder in folders:
        if folder not in shown:
            _audit(folder)
    if not folders and not pending:
        widgets.empty(
            ":material/folder_off:",
            "No audits yet",
            f"Looked {MOST_FOLDERS_DEEP} folders deep in {new_audit.roots()}. "
            "Start with the demo, or with your own pairs below.",
        )
    new_audit.offer_demo(folders)
    if not new_audit.is_changing():
        new_audit.form()


def _newest_unfinished(jobs: list[Job]) -> list[Job]:
    """Return the newest job of each audit, where it is not done."""
    newest = {job.audit: job for job in reversed(jobs)}
    return [job for job in newest.values() if job.state != "done"]


def _job(job: Job) -> bool:
    """Draw a job that is not done; returns whether that is all there is to say of its audit."""
    with st.container(border=True):
        st.markdown(f"**{words.escaped(state.settings().name(job.audit))}**")
        running.latest(job.audit, job.kind, lambda _: None, unfinished.of_job)
        if job.state == "running":
            return True
        try:
            status = Audit.open(job.audit).state.steps()
        except CfbdError:  # none there yet, or it has a card of its own that says so
            return False
        if status["mapping"] is None:
            _details(job.audit, status)
        return status["mapping"] is None


def _audit(folder: Path) -> None:
    is_open = folder == state.audit_folder()
    with st.container(border=True):
        try:
            status = Audit.open(folder).state.steps()
        except CfbdError as error:
            st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
            st.caption(f":material/error: {words.escaped(str(error))}")
            return
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            with st.container(gap=None, width="content"):
                st.markdown(f"**{words.escaped(state.settings().name(folder))}**")
                st.caption(_line(status))
            if status["mapping"] is None:
                with st.container(horizontal=True, vertical_alignment="center", width="content"):
                    st.badge("half made", color="orange", icon=":material/pause_circle:")
                    unfinished.half_made(folder, status)
            elif is_open:
                st.badge("open", color="blue", icon=":material/visibility:")
            else:
                st.button("Open", key=f"open_{folder}", on_click=state.open_audit, args=[folder])
        _details(folder, status)


def _line(status: AuditStatus) -> str:
    parts = [f"{status['pairs']:,} pairs"]
    if status["embedding"]:
        parts.append(f"encoder {status['embedding']['encoder']}")
    if status["split"]:
        parts.append(f"evidence {status['split']['evidence']['level']}")
    return words.escaped(" · ".join(parts))


def _details(folder: Path, status: AuditStatus) -> None:
    with st.expander("What was read, and what was not"):
        source = status["source"]
        if source is None:
            st.caption("Nothing has been read yet.")
            return
        report = Audit.open(folder).validation_report()
        unread = sum(report["unread"].values())
        st.markdown(
            f"**{report['pairs']:,}** pairs from {words.escaped(source['source'])} "
            f"({source['format']}), **{report['skipped']:,}** skipped"
            + (f", **{unread:,}** things seen and not read" if unread else "")
        )
        if report["reasons"]:
            st.dataframe(
                {
                    "step": [reason["stage"] for reason in report["reasons"]],
                    "reason": [reason["reason"] for reason in report["reasons"]],
                    "pairs": [reason["pairs"] for reason in report["reasons"]],
                    "for example": [
                        "; ".join(f"{e['position']} {e['detail'] or ''}" for e in reason["examples"])
                        for reason in report["reasons"]
                    ],
                },
                hide_index=True,
            )
        for line in unscored_lines(report["unscored"]):
            st.caption(f":material/info: {words.escaped(line)}")
        if report["unread_kinds"]:
            st.dataframe(
                {
                    "not read": [one["kind"] for one in report["unread_kinds"]],
                    "number": [one["count"] for one in report["unread_kinds"]],
                    "for example": ["; ".join(one["examples"]) for one in report["unread_kinds"]],
                    "what to do": [one["advice"] for one in report["unread_kinds"]],
                },
                hide_index=True,
            )
        for note in report["notes"]:
            st.caption(f":material/info: {words.escaped(note)}")
        for warning in status["health"]["warnings"] if status["health"] else ():
            st.caption(f":material/info: {words.escaped(warning)}")


page()
