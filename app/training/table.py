"""Training runs side by side: a table, bars of CA and ASR, curves over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app import state, widgets, words
from app.training import charts as train_charts
from app.training import live as train_live
from app.training import runs as train_runs
from app.training.runs import Run
from cfbd_core.wording import duration

MOST_COMPARED_RUNS = 12  # runs that are compared where none is chosen
COLUMNS = {
    "Set": st.column_config.TextColumn(width=105),
    "CA": st.column_config.NumberColumn("CA, %", format="%.1f", help="Accuracy on labelled pictures"),
    "ASR": st.column_config.NumberColumn("ASR, %", format="%.1f", help="Attack success rate"),
    "Loss": st.column_config.NumberColumn(format="%.3f"),
    "Pairs": st.column_config.NumberColumn(format="localized"),
}


def show(audit: Path, runs: Sequence[Run]) -> None:
    """Draw the table, and what is chosen in it."""
    st.subheader("Runs", anchor=False)
    listed = [*runs, *_others(audit)]
    if not listed:
        widgets.empty(
            ":material/model_training:",
            "No run yet",
            "Train once on **All** and once on **Kept**, with the same model and seed: how far ASR falls and CA "
            "stays is what the audit is worth.",
        )
        return
    chosen = _table(audit, listed)
    if chosen is None:
        if len(listed) > 1:
            st.caption("Tick runs to look at them alone.")
        chosen = [run for run in listed if run.state == "done"][:MOST_COMPARED_RUNS] or listed[
            :MOST_COMPARED_RUNS
        ]
    chosen = sorted(chosen, key=lambda run: run.place_in_tables)
    names = train_runs.labels(chosen, audit)
    _side_by_side(chosen, names)
    _curves(chosen, names)
    st.subheader("Models", anchor=False)
    for run, name in zip(chosen, names, strict=True):
        if run.state == "running":
            continue
        with st.expander(f"{words.escaped(name)} – {words.escaped(run.name)}", len(chosen) == 1):
            train_live.details(run.audit, run)


def _others(audit: Path) -> list[Run]:
    """Ask for runs of other audits, such as that of a clean copy."""
    offered = [one for one in state.settings().audits() if one != audit and train_runs.any_of(one)]
    if not offered:
        return []
    audits = st.multiselect(
        "Beside the runs of",
        offered,
        format_func=state.settings().name,
        key="train_others",
        placeholder="no other audit",
        persist_state="session",
        help="Such as the audit of a clean copy: its run is the mark to reach.",
    )
    return [run for one in audits for run in train_runs.runs_of(one)]


def _table(audit: Path, runs: Sequence[Run]) -> list[Run] | None:
    """Draw the runs, a row each; return those that are ticked, or None."""
    columns: dict[str, list[Any]] = {
        "Run": [train_runs.short(run.name) for run in runs],
        "Audit": [state.settings().name(run.audit) for run in runs],
        "Set": [train_runs.SETS.get(run.subset or "", "–") for run in runs],
        "Defence": [train_runs.title(run.defense) for run in runs],
        "Model": [train_live.model_name(run) for run in runs],
        "Epochs": [run.epochs for run in runs],
        "CA": [_percent(run.ca) for run in runs],
        "ASR": [_percent(run.asr) for run in runs],
        "Loss": [run.loss for run in runs],
        "Pairs": [run.pairs for run in runs],
        "Time": ["–" if run.seconds is None else duration(run.seconds) for run in runs],
        "State": [run.state for run in runs],
    }
    if all(run.audit == audit for run in runs):
        del columns["Audit"]
    table = st.dataframe(
        columns,
        hide_index=True,
        column_config=COLUMNS,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"train_table_{len(runs)}",
        placeholder="–",
    )
    widgets.data_button("train_runs", columns)
    return [runs[row] for row in table.selection.rows if row < len(runs)] or None


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


def _side_by_side(runs: Sequence[Run], names: Sequence[str]) -> None:
    measured = [(name, run) for name, run in zip(names, runs, strict=True) if run.ca is not None]
    if not measured:
        awaited = any(run.is_measured and run.state == "running" for run in runs)
        st.caption(
            ":material/hourglass: CA and ASR come with the first epoch."
            if awaited
            else ":material/info: No accuracy to compare: none of these runs was given labelled pictures for CA."
        )
        return
    st.subheader("Accuracy and attack success", anchor=False)
    shown = [name for name, _ in measured]
    widgets.chart(
        train_charts.compared(shown, [run.ca for _, run in measured], [run.asr for _, run in measured])
    )


def _curves(runs: Sequence[Run], names: Sequence[str]) -> None:
    st.subheader("Curves", anchor=False)
    steps = max((run.steps or run.done for run in runs if run.curves.step), default=None)
    widgets.chart(train_charts.overlaid(names, [run.curves for run in runs], steps))
