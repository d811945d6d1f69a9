"""Suspicious pairs: look at them, search, filter and sort them, keep or remove them."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import downloads, widgets
from app.deciding import deciding, undo
from app.pairs import cards, chips, filters
from app.waiting import previews
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview

PAGES = (24, 60, 120)  # pairs on a page


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Suspicious pairs",
        "Look before you remove. A **keep** or **remove** of yours overrules the verdict, is stored in the "
        "audit at once, and can be undone.",
    )
    preview = previews.shown()
    if preview is None:
        return
    filters.controls(preview)
    place = st.container()
    is_ready = filters.ready(preview)
    with place:
        chips.show(preview)
    if not is_ready:
        return
    chosen = filters.chosen()
    positions = chosen.positions(preview)
    _toolbar(preview, positions)
    if not len(positions):
        _nothing(preview, chosen)
        return
    size = st.session_state.get("page_size") or 60
    pages = -(-len(positions) // size)
    key = f"pairs_page_{st.session_state.get('pairs_view', 0)}_{size}"
    number = min(int(st.session_state.get(key, 1)), pages)
    st.session_state[key] = number  # the last page may have gone with its last pair
    cards.gallery(preview, positions[(number - 1) * size : number * size])
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        if pages > 1:
            st.pagination(pages, key=key, persist_state="session")
        if len(positions) > PAGES[0]:
            st.segmented_control(
                "Pairs on a page", PAGES, default=60, required=True, key="page_size", persist_state="session"
            )


def _toolbar(preview: Preview, positions: np.ndarray) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{len(positions):,}** pairs match", width="content")
        deciding.on_all(positions, "filter", filters.query(), "all that match the filter")
        downloads.selection(preview, positions)
        undo.buttons()


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


page()
