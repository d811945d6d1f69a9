"""One pair of the gallery, opened: large, with ways from here to its review and to what is like it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import address
from app.pairs import filters, pair_view, review_order
from cfbd_core.workbench.likeness import Like
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview


@st.dialog("One pair", width="large", icon=":material/photo:")
def show(preview: Preview, position: int) -> None:
    """Draw the pair at ``position`` over the page."""
    pairs = preview.pairs.pairs_at(np.array([position])).to_pylist()
    if not pairs:
        st.info("This pair is no longer in the audit.", icon=":material/info:")
        return
    (pair,) = pairs
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pair_ways"):
        row = int(pair["row"])
        if st.button(
            "Review from here",
            key="review_from_here",
            icon=":material/rate_review:",
            type="primary",
            on_click=review_order.begin_at,
            args=[row],
            help="The pairs of this filter in its order, this one first.",
        ):
            address.go("views/review.py")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.markdown("Find pairs like it", width="content")
            for kind, label in (("image", "by picture"), ("caption", "by caption")):
                like = PairFilter(show="all", like=Like(kind, pair["key"]))  # type: ignore[arg-type]
                filters.look_button(label, f"like_it_{kind}", like, ":material/search:")
    st.html(pair_view.large(preview, position, pair, ""))
