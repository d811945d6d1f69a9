"""A training run on the page: live while it goes, then its curves, its model and what can be done with it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import state, toasts, words
from app.audits import running
from app.charts import Chart
from app.training import charts as train_charts
from app.training import form as train_form
from app.training import request as train
from app.training import runs as train_runs
from app.training.runs import Run
from cfbd_core.jobs.jobs import Job
from cfbd_core.training.config import CALMER
from cfbd_core.training.place import REQUEST
from cfbd_core.wording import counted, decimal, percentage

LOOK_SECONDS = 1.0  # seconds
NOT_WANTED = "Not measured: no labelled pictures were given"
NOT_YET = "Measured after the first epoch"


def live(audit: Path, run: Run) -> None:
    """Follow a run that is going, until it has ended."""
    with st.container(border=True, key="train_live"):
        headline(run)
        if run.job is None:
            _elsewhere(audit, run.folder)
        else:
            _live(audit, run.folder, run.job.id)


def headline(run: Run) -> None:
    """A run's name, and what it is."""
    with st.container(gap=None):
        st.markdown(f"**{words.escaped(train_runs.short(run.name))}**")
        st.caption(described(run))


@toasts.fragment(run_every=LOOK_SECONDS)
def _live(audit: Path, folder: Path, job_id: str) -> None:
    job = next((job for job in state.jobs().for_audit(audit) if job.id == job_id), None)
    run = train_runs.read(audit, folder, job)
    if job is None or job.state != "running" or run is None:
        st.rerun()
    if job.is_stopping:
        _stopping(job)
    else:
        running.progress(job, _interrupt)
    numbers(run)
    _curves(run, NOT_YET if run.is_measured else NOT_WANTED)


def _stopping(job: Job) -> None:
    now = job.progress
    share = min(1.0, now.done / now.total) if now is not None and now.total else 0.0
    st.progress(share, text="Stopping after this step, which is kept …")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Stop at once", key=f"stop_{job.id}", on_click=_stop, args=[job], icon=":material/stop:")
        st.caption("At once loses what came after the last checkpoint.")


@toasts.fragment(run_every=LOOK_SECONDS)
def _elsewhere(audit: Path, folder: Path) -> None:
    """A run that a terminal has started."""
    run = train_runs.read(audit, folder, None)
    if run is None or run.state != "running":
        st.rerun()
    share = min(1.0, run.done / run.steps) if run.steps else 0.0
    is_over = run.steps is not None and run.done >= run.steps
    step = f"Training: step {run.done:,}" + (f" of {run.steps:,}" if run.steps else "")
    st.progress(share, text="All steps are done; the model is measured or written" if is_over else step)
    st.caption("Started from the command line: it is stopped there, with Ctrl-C.")
    numbers(run)
    _curves(run, NOT_YET if run.is_measured else NOT_WANTED)


def numbers(run: Run) -> None:
    """Where the run is, in numbers; those that are not known keep their place."""
    with st.container(horizontal=True, gap="medium", key=f"train_numbers_{run.name}"):
        total = f" / {run.steps:,}" if run.steps else ""
        for label, value in (
            ("Step", f"{run.done:,}{total}"),
            ("Loss", decimal(run.loss, 3)),
            ("CA", percentage(run.ca)),
            ("ASR", percentage(run.asr)),
            ("Pairs/s", "–" if run.pairs_per_s is None else f"{run.pairs_per_s:,.0f}"),
        ):
            st.metric(label, value, width="content")


def _curves(run: Run, nothing: str) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        _drawn(train_charts.loss(run.curves, run.steps))
    with right:
        _drawn(train_charts.measured(run.curves, run.steps, nothing))


def _drawn(chart: Chart) -> None:
    """A chart that is drawn again every second: without a bar of buttons, and without its file."""
    st.plotly_chart(
        chart.figure,
        key=f"live_{chart.name}",
        config={"displayModeBar": False},
        alt=chart.alt,
        theme="streamlit",
    )


# --- a run that has ended ------------------------------------------------------------------------------


def ended(audit: Path, run: Run, place: str) -> None:
    """Why a run failed or stopped, and how to go on; ``place`` is which of the page's two this is."""
    if run.state == "failed":
        st.error(words.escaped(train.in_words(run.error or "The run failed.")), icon=":material/error:")
    else:
        at = f"at step {run.done:,}" + (f" of {run.steps:,}" if run.steps else "")
        st.warning(f"Stopped {at}. It goes on from there.", icon=":material/pause_circle:")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if CALMER in (run.error or ""):
            st.button(
                "Try again, calmer",
                key=f"calmer_{place}_{run.folder}",
                on_click=train_form.fill_calmer,
                args=[run],
                icon=":material/edit:",
                help="Fills the form with its settings and a third of its learning rate. You start it.",
            )
        else:
            st.button(
                "Resume" if run.state == "stopped" else "Try again",
                key=f"resume_{place}_{run.folder}",
                on_click=_resume,
                args=[audit, run],
                icon=":material/play_arrow:" if run.state == "stopped" else ":material/refresh:",
            )
        if run.job is not None and not (run.folder / REQUEST).exists():
            running.dismissal(run.job, key=f"dismiss_{place}_{run.folder}")
    if run.job is not None:
        with st.expander("The job's log"):
            st.code(run.job.log_tail() or "It is empty.", language=None)


def details(audit: Path, run: Run) -> None:
    """What a run was, and where its model lies."""
    st.caption(described(run))
    if not run.is_here and run.job is None:
        st.caption(
            f"Its folder {words.escaped(str(run.folder))} has gone, or lies outside what this server may read."
        )
        return
    if run.state in ("failed", "stopped"):
        ended(audit, run, "details")
    folder = run.model_folder
    if folder is None:
        st.caption("It has no model yet.")
        return
    st.markdown(
        "The model's folder, for open_clip and for `--encoder` and `--model` of every `cfbd` command:"
    )
    st.code(str(folder), language=None)
    st.code(
        f"import open_clip\n\nname = {f'local-dir:{folder}'!r}\n"
        "model, _, preprocess = open_clip.create_model_and_transforms(name)\n"
        "tokenizer = open_clip.get_tokenizer(name)",
        language="python",
    )
    if run.ca is None:
        st.markdown("CA and ASR were not measured. Later, in a terminal:")
        st.code(train.evaluation(run), language="shell", wrap_lines=True)


def described(run: Run) -> str:
    """Return a run in one line, as Markdown."""
    parts = [run.method]
    if run.subset in train_runs.SETS:
        pairs = "" if run.pairs is None else f", {run.pairs:,} pairs"
        parts.append(f"{train_runs.SETS[run.subset].lower()}{pairs}")
    parts += [f"model {model_name(run)}"] if run.model else []
    parts += [_length(run)] if run.epochs or run.most_steps else []
    return words.escaped(" · ".join(parts))


def _length(run: Run) -> str:
    """Return how long a run is: in epochs, or in steps where these end it before."""
    if run.most_steps is not None:
        return f"{run.steps:,} steps" if run.steps else f"at most {run.most_steps:,} steps"
    return counted(run.epochs or 0, "epoch")


def model_name(run: Run) -> str:
    """Return what a run started from, shortly."""
    return Path(run.model).name if run.model and run.model.startswith("/") else run.model or "–"


def _resume(audit: Path, run: Run) -> None:
    with toasts.report_errors():
        train.resume(run, audit)


def _interrupt(job: Job) -> None:
    with toasts.report_errors():
        job.interrupt()


def _stop(job: Job) -> None:
    with toasts.report_errors():
        job.stop()
