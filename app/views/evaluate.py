"""Evaluate: how well both stages do against the truth, where the source knows it."""

from __future__ import annotations

import streamlit as st

from app import charts, widgets
from app.waiting import previews
from cfbd_core.wording import percentage
from cfbd_core.workbench.preview import Confusion, Preview


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Evaluate",
        "Where the source says which pairs are poisoned, both stages are measured against it. "
        "The diamond is where the sliders stand.",
    )
    preview = previews.shown()
    if preview is None:
        return
    if not preview.pairs.has_truth:
        widgets.empty(
            ":material/help:",
            "The truth is not known",
            "This source has no column `poisoned`. To try the method where it is known, make a poisoned copy "
            "of your own pairs, or open the demo.",
            page="views/audits.py",
        )
        return
    areas = preview.z.areas, preview.pairs.consistency_column.areas
    if areas[0] is None or areas[1] is None:
        known = "poisoned" if preview.pairs.truth.max() > 0 else "clean"
        widgets.empty(
            ":material/balance:",
            "Only one kind of pair",
            f"Every pair whose truth is known is {known}: there is nothing to tell apart, and no curve.",
        )
        _verdicts(preview)
        return
    with st.container(horizontal=True, gap="medium"):
        for stage, (auroc, auprc) in (("fine: z", areas[0]), ("coarse: c", areas[1])):
            st.metric(f"AUROC, {stage}", f"{auroc:.4f}", width="content")
            st.metric(f"AUPRC, {stage}", f"{auprc:.4f}", width="content")
        st.metric("Known poisons in D_b", f"{preview.poisons_in_benign():,}", width="content")
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Precision and recall", anchor=False)
        widgets.chart(charts.precision_recall(preview))
    with right:
        st.subheader("ROC", anchor=False)
        widgets.chart(charts.roc(preview))
    _verdicts(preview)


def _verdicts(preview: Preview) -> None:
    st.subheader("The verdict against the truth", anchor=False)
    verdict, final = preview.confusion(preview.flagged), preview.confusion(preview.removed())
    _table({"The sliders' verdict": verdict, "After your decisions": final})


def _table(rows: dict[str, Confusion]) -> None:
    columns: charts.Columns = {
        "": list(rows),
        "Poisons found": [row.caught for row in rows.values()],
        "Poisons missed": [row.missed for row in rows.values()],
        "Clean pairs removed": [row.false_alarms for row in rows.values()],
        "Clean pairs kept": [row.clean_kept for row in rows.values()],
        "TPR": [percentage(row.tpr) for row in rows.values()],
        "FPR": [percentage(row.fpr) for row in rows.values()],
        "Precision": [percentage(row.precision) for row in rows.values()],
    }
    st.dataframe(columns, hide_index=True, key="confusion")
    widgets.data_button("confusion", columns)


page()
