"""Suspicious pairs: look at them, search, filter and sort them, keep or remove them."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import cards, state, widgets
from cfbd_core.pair_filter import PairFilter, Sort
from cfbd_core.preview import Preview
from cfbd_core.store.columns import DECISIONS

PAGE = 24
SHOW = {"removed": "Removed", "kept": "Kept", "all": "All"}
SUBSETS = {"poisoned": "D_p", "suspicious": "D_s", "benign": "D_b"}
SORT: dict[tuple[Sort, bool], str] = {
    ("z", True): "z, high first",
    ("z", False): "z, low first",
    ("consistency", True): "c, high first",
    ("consistency", False): "c, low first",
    ("row", False): "as read",
}
TRUTH = {None: "all", True: "known poisons", False: "known clean"}


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Suspicious pairs",
        "Look before you remove. A **keep** or **remove** of yours overrules the verdict, is stored in the "
        "audit at once, and can be undone.",
    )
    preview = state.preview()
    chosen = _filter(preview)
    positions = chosen.positions(preview)
    _toolbar(len(positions))
    if not len(positions):
        _nothing(preview, chosen)
        return
    pages = -(-len(positions) // PAGE)
    key = f"pairs_page_{st.session_state.get('pairs_view', 0)}"
    number = min(int(st.session_state.get(key, 1)), pages)
    st.session_state[key] = number  # the last page may have gone with its last pair
    cards.gallery(preview, positions[(number - 1) * PAGE : number * PAGE])
    if pages > 1:
        st.pagination(pages, key=key, persist_state="session")


def _filter(preview: Preview) -> PairFilter:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        show = st.segmented_control(
            "Show", list(SHOW), format_func=SHOW.__getitem__, default="removed", required=True,
            key="show", on_change=_first_page, persist_state="session",
        )  # fmt: skip
        subsets = st.pills(
            "Coarse subset", list(SUBSETS), format_func=SUBSETS.__getitem__, selection_mode="multi",
            key="subsets", on_change=_first_page, persist_state="session",
        )  # fmt: skip
        sort, descending = st.selectbox(
            "Sort by", list(SORT), format_func=SORT.__getitem__, key="sort", on_change=_first_page, width=150,
            persist_state="session",
        )  # fmt: skip
        text = st.text_input(
            "Search", placeholder="captions and keys", key="text", max_chars=200, width=190,
            on_change=_first_page, persist_state="session",
        )  # fmt: skip
        with st.popover("More filters", icon=":material/filter_list:"):
            more = _more_filters(preview)
    return PairFilter(
        show=show, subsets=tuple(subsets), text=text or "", sort=sort, descending=descending, **more
    )


def _more_filters(preview: Preview) -> dict[str, Any]:
    decisions = st.pills(
        "Decided", DECISIONS, format_func=lambda name: name or "undecided", selection_mode="multi",
        key="decided", on_change=_first_page, persist_state="session",
    )  # fmt: skip
    found: dict[str, Any] = {"decisions": tuple(decisions)}
    for name, label, column in (
        ("c", "Consistency c", preview.explorer.consistency_column),
        ("z", "Textual correlation z", preview.z),
    ):
        low, high = float(np.floor(column.edges[0] * 100) / 100), float(np.ceil(column.edges[-1] * 100) / 100)
        held = st.session_state.get(f"range_{name}", (low, high))
        if held == st.session_state.get(f"whole_{name}"):  # no filter: it must not become one as q moves z
            held = (low, high)
        st.session_state[f"whole_{name}"] = (low, high)
        st.session_state[f"range_{name}"] = (max(low, min(held[0], high)), min(high, max(held[1], low)))
        chosen = st.slider(
            label, low, high, step=0.01, key=f"range_{name}", on_change=_first_page, persist_state="session"
        )
        found[name] = None if chosen == (low, high) else chosen
    if preview.explorer.has_truth:
        found["truth"] = st.selectbox(
            "Truth", list(TRUTH), format_func=TRUTH.__getitem__, key="truth", on_change=_first_page,
            persist_state="session",
        )  # fmt: skip
    return found


def _toolbar(matching: int) -> None:
    undo = st.session_state.setdefault("undo", [])
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{matching:,}** pairs match", width="content")
        st.button(
            f"Undo: {undo[-1]['words']}" if undo else "Undo",
            on_click=cards.undo,
            disabled=not undo,
            icon=":material/undo:",
            key="undo_button",
        )


def _nothing(preview: Preview, chosen: PairFilter) -> None:
    if chosen == PairFilter() and not preview.removed().any():
        widgets.empty(
            ":material/check_circle:",
            "Nothing is flagged",
            "No caption stands out as those of poisoned pairs do. That is what clean data looks like. "
            "To look at the pairs with the largest gap c anyway, show **All** and sort by **c**.",
        )
    else:
        widgets.empty(":material/search_off:", "No pair matches", "Widen the filters or clear the search.")


def _first_page() -> None:
    """Another view begins at its first page: its page number is a widget of its own."""
    st.session_state["pairs_view"] = st.session_state.get("pairs_view", 0) + 1


page()
