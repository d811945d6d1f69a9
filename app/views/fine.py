"""Fine stage: z by subset, and the threshold γ_z."""

from __future__ import annotations

import math

import streamlit as st

from app import charts, state, toasts, widgets, words
from app.waiting import previews
from cfbd_core.workbench.preview import Preview

RULES = {
    "auto": "auto",
    "null": "null",
    "valley": "valley",
    "mixture": "mixture",
    "manual": "by hand",
}
ABOUT = {
    "auto": "The rule that did best in our measurements, poisoned and clean: the null rule.",
    "null": "Median + 5 robust standard deviations of z over D_b: what benign captions look like.",
    "valley": "The deepest valley of the histogram, if it lies above the null cut; else nothing is flagged.",
    "mixture": "Where two fitted curves cross, if above the null cut; else nothing is flagged.",
    "manual": "The slider's own value.",
}
LOWEST, HIGHEST = -0.2, 1.0


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Fine stage",
        "Captions of poisoned pairs resemble each other. **z** is how much a caption resembles those of the "
        "probe D_p on average; what lies above **γ_z** is flagged.",
    )
    preview = previews.shown()
    if preview is not None:
        widgets.strip(preview)
    left, right = st.columns([1, 2.4], gap="large")
    with left:
        _threshold(preview)
    if preview is None:
        with right:
            widgets.coming()
        return
    with right:
        with st.container(horizontal=True, gap="medium"):
            log = st.toggle("Log counts", value=True, key="fine_log", persist_state="session")
            poisons = preview.pairs.has_truth and st.toggle(
                "Known poisons", value=True, key="fine_truth", persist_state="session"
            )
        widgets.chart(charts.z_histogram(preview, log, poisons))
        _overruled(preview)


def _threshold(preview: Preview | None) -> None:
    """The slider and the rule; while the rule's value is worked out the slider stands where it was."""
    sliders = state.params()
    value = sliders.gamma_z if preview is None else preview.gamma_z.value
    if value is None:
        value = float(st.session_state.get("slider_gamma_z", HIGHEST))
    st.session_state["slider_gamma_z"] = min(max(value if math.isfinite(value) else HIGHEST, LOWEST), HIGHEST)
    st.slider(
        "γ_z – threshold of z",
        LOWEST,
        HIGHEST,
        step=0.005,
        format="%.3f",
        key="slider_gamma_z",
        on_change=_by_hand,
        disabled=preview is None and sliders.gamma_z_rule != "manual",
    )
    st.caption(widgets.SENTENCES["gamma_z"])
    st.session_state["gamma_z_rule"] = sliders.gamma_z_rule
    widgets.choice("Set by the rule", RULES, key="gamma_z_rule", wrap=True, on_change=_by_rule)
    st.caption(ABOUT[sliders.gamma_z_rule])
    if preview is not None and sliders.gamma_z_rule != "manual":
        st.caption(f":material/straighten: {words.escaped(preview.gamma_z.detail)}")


def _by_hand() -> None:
    state.change(gamma_z_rule="manual", gamma_z=float(st.session_state["slider_gamma_z"]))


def _by_rule() -> None:
    rule = st.session_state["gamma_z_rule"]
    with toasts.report_errors():
        last = state.last_preview()
        value = float(st.session_state["slider_gamma_z"]) if last is None else last.gamma_z.value
        by_hand = value if math.isfinite(value) else HIGHEST
        state.change(gamma_z_rule=rule, gamma_z=by_hand if rule == "manual" else None)


def _overruled(preview: Preview) -> None:
    """Say where the verdict differs from the coarse subset (docs/METHOD.md §3)."""
    released, caught = preview.overruled()
    if not preview.params.recheck:
        st.caption("*Recheck* is off (Coarse page, More): D_p is flagged as a whole, D_b never.")
        return
    st.caption(
        f"The fine stage overrules the coarse one: **{released:,}** pairs of D_p are released, "
        f"**{caught:,}** pairs of D_b are flagged."
    )


page()
