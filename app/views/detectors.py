"""Detectors: what others say of the same pairs, side by side with the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st

from app import charts, heat_map, state, toasts, widgets
from app.audits import running
from app.pairs import filters
from app.waiting import previews
from app.words import escaped
from cfbd_core.detectors import DETECTORS
from cfbd_core.store.detections import StoredDetection
from cfbd_core.wording import decimal, percentage
from cfbd_core.workbench.pair_filter import NOT, PairFilter
from cfbd_core.workbench.preview import Preview

JOB = "detect"
VERDICT = "the verdict"


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Detectors",
        "Other published detectors judge the same pairs. Where one agrees with the verdict, trust grows; what it flags "
        "alone is worth a look. What they say changes no verdict and no export.",
    )
    preview = previews.shown()
    if preview is None:
        return
    folder = preview.pairs.audit.folder
    _run(folder)
    running.latest(folder, JOB, lambda _: None)
    detections = preview.pairs.detections()
    if not detections:
        if not running.is_running(folder, JOB):
            widgets.empty(
                ":material/fact_check:",
                "None has judged these pairs yet",
                "Choose detectors above and run them. It takes seconds for thousands of pairs, minutes for millions.",
            )
        return
    _table(preview, detections)
    left, right = st.columns([1.3, 1], gap="large")
    with left:
        st.subheader("How they agree", anchor=False)
        flagged = {VERDICT: preview.flagged} | {one.title: one.flagged for one in detections.values()}
        widgets.chart(heat_map.agreement(flagged))
    with right:
        st.subheader("Look at the pairs", anchor=False)
        for one in detections.values():
            _looks(preview, one)


def _run(folder: Path) -> None:
    """Choose detectors, and start them."""
    names = [name for name in DETECTORS if DETECTORS.is_plugin(name) or not DETECTORS[name].trains]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.multiselect(
            "Detectors",
            names,
            format_func=lambda name: widgets.title_of(DETECTORS, name),
            key="detectors",
            persist_state="session",
            placeholder="choose some",
            help="Those that judge by a training run (ABL) are run by `cfbd detect abl --run RUN`.",
            width=560,
        )
        st.button(
            "Run",
            type="primary",
            icon=":material/play_arrow:",
            key="run_detectors",
            on_click=_start,
            args=[folder],
            disabled=state.is_read_only() or not st.session_state.get("detectors"),
        )


def _start(folder: Path) -> None:
    with toasts.report_errors():
        names = list(st.session_state["detectors"])
        state.jobs().start(JOB, folder, ["detect", *names, "--audit", str(folder)])


def _table(preview: Preview, detections: Mapping[str, StoredDetection]) -> None:
    rows = []
    for one in detections.values():
        areas = preview.pairs.areas_of(one.score)
        confusion = preview.confusion(one.flagged)
        rows.append(
            {
                "Detector": one.title,
                "Flagged": int(one.flagged.sum()),
                "Verdict, too": int((one.flagged & preview.flagged).sum()),
                "It alone": int((one.flagged & ~preview.flagged).sum()),
                "Verdict alone": int((preview.flagged & ~one.flagged).sum()),
                **(
                    {
                        "AUROC": decimal(areas[0]),
                        "AUPRC": decimal(areas[1]),
                        "TPR": percentage(confusion.tpr),
                        "FPR": percentage(confusion.fpr),
                    }
                    if preview.pairs.has_truth
                    else {}
                ),
                "Run": f"{one.made:%Y-%m-%d %H:%M} UTC",
            }
        )
    columns: charts.Columns = {name: [row[name] for row in rows] for name in rows[0]}
    st.dataframe(columns, hide_index=True, key="detections")
    widgets.data_button("detections", columns)


def _looks(preview: Preview, one: StoredDetection) -> None:
    """Lead to the pairs on which a detector and the verdict differ, and to those on which they agree."""
    is_kept, removed = ~preview.removed(), preview.removed()
    st.markdown(f"**{escaped(one.title, 60)}**")
    with st.container(horizontal=True, gap="small"):
        for label, mask, look_filter in (
            ("{:,} it alone flags", one.flagged & is_kept, PairFilter(show="kept", detector=one.name)),
            ("{:,} both", one.flagged & removed, PairFilter(show="removed", detector=one.name)),
            (
                "{:,} it lets pass",
                ~one.flagged & removed,
                PairFilter(show="removed", detector=NOT + one.name),
            ),
        ):
            count = int(np.count_nonzero(mask))
            if count:
                filters.look_button(
                    label.format(count),
                    f"look_{one.name}_{look_filter.show}_{look_filter.detector}",
                    look_filter,
                )


page()
