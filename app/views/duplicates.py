"""Duplicates: what repeats exactly, what nearly does among the flagged pairs, and the switch that counts it once."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app import state, widgets
from app.pairs import filters
from app.pairs.tiles import tile
from app.waiting import background, previews
from app.words import plain
from cfbd_core.audit.duplicates import Duplicates
from cfbd_core.method.clusters import Clusters
from cfbd_core.method.near_copies import NEAR_CAPTION, NEAR_IMAGE
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.workbench.copies import Copies, Kind
from cfbd_core.workbench.near import NearCopies
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview

MOST_CLUSTERS = 12  # clusters shown
KINDS = {"pairs": "Image and caption", "captions": "Captions", "images": "Images"}
COPIES: dict[str, Kind] = {"pairs": "exact", "captions": "captions", "images": "images"}
NEAR: dict[str, Kind] = {"captions": "near-captions", "images": "near-images"}
NEAR_KINDS = {"captions": "Captions", "images": "Images"}


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Duplicates",
        "Captions and images that repeat. Repeats alone are no poisoning: web data is full of them, and poisoned "
        "pairs share captions, too. But a picture posted a thousand times should not count a thousand times.",
    )
    explorer = state.explorer()
    duplicates: Duplicates | None = background.made(
        ("duplicates", ref(explorer)), lambda: explorer.duplicates, "Looking for duplicates"
    )
    if duplicates is None:
        return
    _counts({label: getattr(duplicates, kind) for kind, label in KINDS.items()}, "copies")
    _switch(duplicates.pairs)
    preview = previews.shown()
    if preview is None:
        return
    st.markdown("#### The largest")
    kind = widgets.choice("Repeats", KINDS, default="pairs", key="duplicates_kind")
    _largest(preview, getattr(duplicates, kind), np.arange(len(preview.pairs)), COPIES[kind])
    _near(preview)


def _counts(kinds: dict[str, Clusters], copies: str) -> None:
    counts = [clusters.counts() for clusters in kinds.values()]
    table: dict[str, list[Any]] = {
        "What repeats": list(kinds),
        "Clusters": [count["clusters"] for count in counts],
        "Pairs in them": [count["pairs"] for count in counts],
        copies.capitalize(): [count["hidden"] for count in counts],
        "Largest": [count["largest"] for count in counts],
    }
    st.dataframe(table, hide_index=True, width="content", key=f"duplicates_{copies}")


def _switch(pairs: Clusters) -> None:
    hidden = pairs.counts()["hidden"]
    st.session_state["collapse"] = state.params().collapse_duplicates
    st.toggle("Collapse duplicates before statistics", key="collapse", on_change=_collapse)
    st.caption(
        f"Of pairs whose image and caption both repeat, one counts for the mixture, D_p and γ_z: {hidden:,} copies are "
        "left out there. They take its verdict. Nothing is deleted; exports hold every pair."
    )


def _collapse() -> None:
    state.change(collapse_duplicates=bool(st.session_state["collapse"]))


def _largest(preview: Preview, clusters: Clusters, positions: np.ndarray, kind: Kind) -> None:
    """The largest clusters of the pairs at ``positions`` (m,), each as its first picture and caption."""
    parts = [positions[part] for part in clusters.largest(MOST_CLUSTERS)]
    if not parts:
        st.caption(":material/check: Nothing repeats.")
        return
    filters.look_button(
        f"Look at all {clusters.counts()['pairs']:,}",
        f"look_{kind}",
        PairFilter(show="all", copies=Copies(kind)),
    )
    explorer = preview.pairs
    firsts = np.array([part[0] for part in parts])
    by_row = {pair["row"]: pair for pair in explorer.pairs_at(firsts).to_pylist()}
    shown = [
        (by_row[row], part) for row, part in zip(explorer.rows[firsts], parts, strict=True) if row in by_row
    ]
    pictures = Thumbnails(explorer.audit.folder).of_pairs(explorer.audit.shards, [pair for pair, _ in shown])
    grid = st.grid(4, min_column_width=240)
    for (pair, part), thumbnail in zip(shown, pictures, strict=True):
        flagged = int(preview.flagged[part].sum())
        with grid.cell():
            st.html(
                f'<div class="cfbd-near">{tile(thumbnail)}<div>'
                f"<b>{len(part):,} pairs</b>, {flagged:,} flagged"
                f'<div class="cfbd-nearsaid">{plain(pair["caption"], 140)}</div></div></div>'
            )
            of_it = PairFilter(show="all", copies=Copies(kind, pair["key"]))
            filters.look_button("Look at them", f"look_{kind}_{pair['row']}", of_it)


# --- near duplicates -------------------------------------------------------------------------------------------


def _near(preview: Preview) -> None:
    """Near duplicates among the flagged pairs, looked for when asked."""
    st.markdown("#### Nearly the same, among the flagged")
    flagged = np.flatnonzero(preview.flagged)
    if len(flagged) < 2:
        st.caption("Fewer than two pairs are flagged.")
        return
    st.caption(
        f"By embeddings: captions with a cosine of at least {NEAR_CAPTION}, images of at least {NEAR_IMAGE}. Poisoned "
        "pairs have nearly the same captions over unlike pictures."
    )
    subject = (str(preview.pairs.audit.folder), preview.pairs.version, preview.params.id)
    if st.button(f"Look among the {len(flagged):,} flagged pairs", icon=":material/search:", key="near"):
        st.session_state["near_subject"] = subject
    if st.session_state.get("near_subject") != subject:
        return
    near: NearCopies | None = background.made(("near", ref(preview)), lambda: preview.near, "Comparing")
    if near is None:
        return
    if near.limit:
        st.caption(f":material/info: {near.limit}")
    _counts({label: getattr(near, kind) for kind, label in NEAR_KINDS.items()}, "more of the like")
    kind = widgets.choice("Nearly the same", NEAR_KINDS, default="captions", key="near_kind")
    _largest(preview, getattr(near, kind), near.positions, NEAR[kind])


page()
