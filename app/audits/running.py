"""Running jobs on the page: live progress, stop, errors. The job itself knows nothing of the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app import state, toasts, words
from cfbd_core.jobs.jobs import Job, JobProgress
from cfbd_core.wording import duration

LOOK_SECONDS = 1.0  # seconds
STAGES = {
    "ingest": "Reading pairs",
    "embed": "Computing embeddings",
    "score": "Scoring",
    "train F": "Training F",
    "draw": "Drawing scenes",
    "export": "Writing",
    "report": "Writing the report",
    "map": "Making the map",
    "detect": "Detectors at work",
    "measuring: classes": "Measuring: names of the classes",
    "measuring CA": "Measuring CA",
    "measuring ASR": "Measuring ASR",
    "trigger": "Optimising the trigger",
    "copy": "Writing the copy",
    "train": "Training",
    "pictures hashed": "Hashing pictures",
}

FIELDS = {
    "q": "q",
    "k": "K",
    "format": "Format",
    "captions": "Captions of a record",
    "image-col": "Image column",
    "caption-col": "Caption column",
    "label-col": "Label column",
    "image-root": "Folder of the images",
    "encoder": "Encoder",
}


def latest(
    audit: Path,
    kind: str | None,
    done: Callable[[Job], None],
    ways_out: Callable[[Job], None] | None = None,
) -> None:
    """Show the newest job of this kind on ``audit``: live while it runs, then what came of it.

    ``ways_out`` draws what a failed one offers besides starting it again; by default it can be dismissed.
    """
    jobs = state.jobs().for_audit(audit, kind)
    if not jobs:
        return
    if jobs[0].state == "running":
        _live(audit, jobs[0].id)
    elif jobs[0].state == "done":
        done(jobs[0])
    else:
        failed(jobs[0], ways_out or dismissal)


def is_running(audit: Path, kind: str) -> bool:
    """Return whether a job of this kind runs on ``audit``."""
    return any(job.state == "running" for job in state.jobs().for_audit(audit, kind))


@toasts.fragment(run_every=LOOK_SECONDS)
def _live(audit: Path, job_id: str) -> None:
    job = next((job for job in state.jobs().for_audit(audit) if job.id == job_id), None)
    if job is None or job.state != "running":
        st.rerun()
    progress(job)


def progress(job: Job, stop: Callable[[Job], None] | None = None) -> None:
    """How far a running job is, and the button that stops it, by ``stop`` where that takes another way."""
    now = job.progress
    if now is None:
        st.progress(0.0, text=f"Starting {job.kind} …")
    else:
        share = min(1.0, now.done / now.total) if now.total else 0.0
        st.progress(share, text=how_far(now))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Stop", key=f"stop_{job.id}", on_click=stop or _stop, args=[job], icon=":material/stop:")
        st.caption("It runs on its own: you may close this page. Stopped, it can go on later.")


def how_far(now: JobProgress) -> str:
    """Return how far a stage is, in words; what comes after it is not counted in the time that is left."""
    total = f" of {now.total:,}" if now.total else ""
    text = f"{STAGES.get(now.stage, now.stage)}: {now.done:,}{total} · {now.rate:,.0f}/s"
    if now.total and now.done >= now.total:
        return f"{text} · done; the next step begins"
    if now.seconds_left is None:
        return text
    what = " of training" if now.stage == "train" else ""
    return f"{text} · {duration(now.seconds_left)}{what} left"


def failed(job: Job, ways_out: Callable[[Job], None]) -> None:
    """What went wrong, and how to go on."""
    if job.state == "stopped":
        st.warning(words.escaped(job.error or "The job was stopped."), icon=":material/pause_circle:")
    else:
        st.error(words.escaped(_in_words(job.error or "The job failed.")), icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Go on" if job.state == "stopped" else "Try again",
            key=f"again_{job.id}",
            on_click=_again,
            args=[job],
            icon=":material/refresh:",
        )
        ways_out(job)
    with st.expander("The job's log"):
        st.code(job.log_tail(), language=None)


def dismissal(job: Job, label: str = "Dismiss", key: str | None = None) -> None:
    """The button that forgets a failed job."""
    st.button(
        label,
        key=key or f"dismiss_{job.id}",
        on_click=state.jobs().forget,
        args=[job],
        type="tertiary",
        help="Forgets the job. What it has made stays where it is.",
    )


def _in_words(error: str) -> str:
    """Return a command's error, with the fields' names in place of its options."""
    named = re.sub(r"--([a-z-]+)", lambda match: FIELDS.get(match[1], match[0]), error)
    return named.replace(" (--audit DIR)", "")


def _stop(job: Job) -> None:
    with toasts.report_errors():
        job.stop()


def _again(job: Job) -> None:
    with toasts.report_errors():
        state.jobs().start(job.kind, job.audit, job.arguments)
