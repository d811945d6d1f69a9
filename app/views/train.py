"""Train: a model on what the audit left, its accuracy and the backdoor's success, run beside run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import state, widgets
from app.training import form as train_form
from app.training import live as train_live
from app.training import request as train
from app.training import runs as train_runs
from app.training import table as train_table
from app.training.runs import Run
from cfbd_core import Audit
from cfbd_core.errors import CfbdError


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Train",
        "The proof of an audit is a model trained on what it left: its accuracy (CA) is kept, and the backdoor's "
        "attack success rate (ASR) is gone.",
    )
    audit = state.audit_folder()
    if audit is None:
        widgets.no_audit()
        return
    if Audit.open(audit).state.source() is None:
        widgets.empty(
            ":material/hourglass_empty:",
            "No pairs yet",
            "This audit has read no source yet. The page Audits shows its job or goes on with it.",
            page="views/audits.py",
        )
        return
    runs = train_runs.runs_of(audit)
    going = [run for run in runs if run.state == "running"]
    for run in going:
        train_live.live(audit, run)
    if not any(run.job is not None for run in going):
        _newest_unfinished(audit, runs)
        _new(audit, runs)
    train_table.show(audit, runs)


def _newest_unfinished(audit: Path, runs: Sequence[Run]) -> None:
    """The newest run, where it failed or was stopped: the next step is asked for here."""
    if runs and runs[0].state in ("failed", "stopped") and (runs[0].is_here or runs[0].job is not None):
        with st.container(border=True, key="train_ended"):
            train_live.headline(runs[0])
            train_live.ended(audit, runs[0], "top")


def _new(audit: Path, runs: Sequence[Run]) -> None:
    with st.container(border=True, key="train_form"):
        request = train_form.ask(audit, runs)
        if request is None:
            return
        try:
            cost = train.cost(request, runs)
        except CfbdError as error:
            train_form.show_error(error)
            return
        st.markdown(cost)
        if request.params.subset != "all" and state.is_preview():
            st.caption(
                ":material/edit: The sliders' split, a preview of this session, is stored in the audit first."
            )
        if st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            key="train_start",
            disabled=state.is_read_only(),
        ):
            _start(request, audit)


def _start(request: train.RunRequest, audit: Path) -> None:
    try:
        with st.spinner("Storing the split …"):
            train.start(request, audit)
    except CfbdError as error:
        train_form.show_error(error)
    else:
        st.rerun()


page()
