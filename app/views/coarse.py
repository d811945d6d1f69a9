"""Coarse stage: the mixture over c, D_b's cut, the top q, and how |D_b| depends on K and γ."""

from __future__ import annotations

import streamlit as st

from app import charts, heat_map, state, toasts, widgets
from app.waiting import previews
from cfbd_core.config import MAX_K
from cfbd_core.workbench.preview import Preview

GAMMAS = (0.50, 0.60, 0.70, 0.80, 0.85, 0.90, 0.95, 0.99)
MOST_Q = 500
WITH_RECHECK = (
    "Verdicts follow z alone while *recheck* is on: K and γ act through the captions of D_b, which γ_z "
    "is measured from."
)
WITHOUT_RECHECK = "*Recheck* is off: all of D_p is flagged and D_b is never looked at again, as published."


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Coarse stage",
        "How far is each caption from what its image lets expect? Small gaps are surely benign (**D_b**), "
        "the **q** largest become the probe **D_p** whose captions the fine stage compares all others with.",
    )
    explored, preview = state.explorer(), previews.shown()
    if preview is not None:
        widgets.strip(preview)
    left, right = st.columns([1, 2.4], gap="large")
    with left:
        widgets.slider("k", "K – components", 1, min(MAX_K, len(explored)), 1)
        widgets.slider("gamma", "γ – coverage of D_b", 0.01, 0.99, 0.01)
        widgets.slider("q", "q – size of the probe", 1, _most_q(len(explored)), 1)
        _more(len(explored))
    if preview is None:
        with right:
            widgets.coming()
        return
    with right:
        with st.container(horizontal=True, gap="medium"):
            log = st.toggle("Log counts", value=True, key="coarse_log", persist_state="session")
            poisons = explored.has_truth and st.toggle(
                "Known poisons", value=True, key="coarse_truth", persist_state="session"
            )
        widgets.chart(charts.consistency(preview, log, poisons))
    st.caption(WITH_RECHECK if preview.params.recheck else WITHOUT_RECHECK)
    _maps(preview)


def _most_q(pairs: int) -> int:
    return max(2, min(pairs, max(MOST_Q, state.params().q)))


def _more(pairs: int) -> None:
    sliders = state.params()
    with st.expander("More", icon=":material/tune:"):
        st.session_state["exact_q"] = sliders.q
        st.number_input("q exactly", 1, pairs, key="exact_q", on_change=_exact_q)
        st.session_state["rule"] = sliders.rule
        st.segmented_control(
            "γ is read as a",
            ["quantile", "posterior"],
            key="rule",
            required=True,
            on_change=_rule,
            help="quantile: D_b ends where the lowest curve has covered γ of its mass. "
            "posterior: D_b is where the lowest curve's probability exceeds γ (as in SafeCLIP).",
        )
        st.session_state["recheck"] = sliders.recheck
        st.toggle(
            "Recheck every pair by z",
            key="recheck",
            on_change=_recheck,
            help="On: the verdict of every pair follows z > γ_z. Off: as published, all of D_p is flagged "
            "and D_b is trusted.",
        )


def _exact_q() -> None:
    state.change(q=st.session_state["exact_q"])


def _rule() -> None:
    state.change(rule=st.session_state["rule"])


def _recheck() -> None:
    state.change(recheck=st.session_state["recheck"])


def _maps(preview: Preview) -> None:
    st.subheader("How D_b depends on K and γ", anchor=False)
    _heat_maps(preview)


@toasts.fragment()
def _heat_maps(preview: Preview) -> None:
    explored = state.explorer()
    if not explored.is_warm:
        with st.skeleton(charts.HEIGHT):
            explored.wait_until_warm()
    ks = [k for k in range(1, MAX_K + 1) if k <= len(explored)]
    benign, poisons = explored.benign_by(ks, GAMMAS, preview.params.seed, preview.params.collapse_duplicates)
    is_quantile = preview.params.rule == "quantile"
    at = (preview.params.k, preview.params.gamma) if is_quantile else None
    st.caption("By the rule *quantile*, before the top q are taken out of D_b.")
    left, right = st.columns(2, gap="large")
    with left:
        widgets.chart(heat_map.heat_map("benign_by_k_gamma", "Pairs in D_b", ks, GAMMAS, benign, at))
    with right:
        if explored.has_truth:
            title = "Known poisons in D_b (fewer is better)"
            widgets.chart(heat_map.heat_map("poisons_by_k_gamma", title, ks, GAMMAS, poisons, at))
        else:
            widgets.empty(
                ":material/help:",
                "Poisons in D_b",
                "This source does not say which pairs are poisoned; with a column `poisoned` it is shown here.",
            )


page()
