"""Map: near points have similar captions (or images); pointing at one shows its picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st

from app import charts, state, toasts, widgets
from app.audits import running
from app.deciding import deciding
from app.hover import MOST_POINTS, hover_one_by_one, hover_pictures
from app.pairs import chips, filters
from app.waiting import previews
from cfbd_core.maps.lasso import Lasso, Space
from cfbd_core.maps.maps import MOST_FLAGGED_SHARE, Map, load_map
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.store.columns import REMOVE
from cfbd_core.workbench.filter_query import parts
from cfbd_core.workbench.preview import Preview

SPACES: dict[Space, str] = {"captions": "Captions", "images": "Images"}
COLOURS = {
    "verdict": "Verdict",
    "decided": "After decisions",
    "subset": "Coarse subset",
    "z": "z",
    "consistency": "c",
    "truth": "Truth",
}
POINTS = (2000, 5000, 10_000, 20_000, 50_000)


def page() -> None:
    """Draw the page."""
    widgets.head(
        "Map",
        "Flagged pairs, at most four fifths of the points, and a sample of the rest, laid out by UMAP: near points "
        "have similar embeddings. Poisoned captions huddle together; their images do not. Point at one to see its "
        "picture.",
    )
    preview = previews.shown()
    if preview is None:
        return
    folder = preview.pairs.audit.folder
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        space = widgets.choice("Of the", SPACES, default="captions", key="space", persist_state="session")
        colours = {
            name: column for name, column in COLOURS.items() if name != "truth" or preview.pairs.has_truth
        }
        colour = widgets.choice(
            "Coloured by", colours, default="verdict", key="map_colour", persist_state="session", wrap=True
        )
        _make_anew(folder, space)
    running.latest(folder, f"map-{space}", lambda _: None)
    made = load_map(folder, space)
    if made is None:
        if not running.is_running(folder, f"map-{space}"):
            widgets.empty(
                ":material/scatter_plot:",
                "Not drawn yet",
                "Making the map takes from half a minute to a few minutes. It runs in the background: "
                "go on working meanwhile. **Make the map** starts it.",
            )
        return
    place = st.container()
    _selection(preview)
    with place:
        chips.show(preview)
    _draw(preview, made, colour)


def _selection(preview: Preview) -> None:
    """What is outlined, and what can be done with it."""
    chosen_filter = filters.chosen()
    with st.container(
        horizontal=True, vertical_alignment="center", gap="medium", height=44, border=False, key="outlined"
    ):
        if chosen_filter.lasso is None:
            st.caption(
                ":material/lasso_select: To select pairs, take the lasso or the box in the chart's corner and draw."
            )
            return
        if not filters.ready(preview):
            return
        positions = chosen_filter.positions(preview)
        what = "pairs outlined" if len(parts(chosen_filter)) == 1 else "outlined pairs match the whole filter"
        st.markdown(f"**{len(positions):,}** {what}", width="content")
        deciding.on_all(positions, "outline", filters.query(), "all that are outlined and match the filter")
        st.page_link("views/pairs.py", label="Look at them", icon=":material/photo_library:")
        st.button(
            "Clear",
            key="clear_outline",
            icon=":material/close:",
            type="tertiary",
            on_click=filters.choose,
            args=[replace(chosen_filter, lasso=None)],
        )


def _outlined(space: Space, map_id: str) -> None:
    """Take the outline that was drawn into the filter of all pages; an empty one is no outline."""
    drawn = st.session_state["chart_map"]["selection"]
    with toasts.report_errors():
        lasso = None
        if drawn["lasso"]:
            lasso = Lasso.drawn(space, map_id, drawn["lasso"][0]["x"], drawn["lasso"][0]["y"])
        elif drawn["box"]:
            lasso = Lasso.box(space, map_id, drawn["box"][0]["x"], drawn["box"][0]["y"])
        if lasso is not None:
            filters.choose(replace(filters.chosen(), show="all", lasso=lasso))


def _make_anew(folder: Path, space: str) -> None:
    with st.popover(
        "Make the map",
        icon=":material/refresh:",
        key="map_popover",
        on_change="rerun",
        disabled=state.is_read_only(),
    ):
        points = st.select_slider("Points", POINTS, value=5000, key="map_points", persist_state="session")
        st.button(
            "Start",
            type="primary",
            key="make_map",
            on_click=_make,
            args=[folder, space, points],
            disabled=state.is_read_only(),
        )


def _make(folder: Path, space: str, points: int) -> None:
    """Start the job, and close what stands over its progress."""
    with toasts.report_errors():
        arguments = ["map", "--audit", str(folder), "--space", space, "--points", str(points)]
        state.jobs().start(f"map-{space}", folder, arguments)
        st.session_state["map_popover"] = False


def _draw(preview: Preview, made: Map, colour: str) -> None:
    explorer = preview.pairs
    at = explorer.positions_of(made.rows)
    index = np.flatnonzero(at >= 0)
    at, xy = at[index], made.xy[index]
    values = None
    groups: dict[str, tuple[str, np.ndarray]] = {}
    if colour == "z":
        values = ("z", preview.z.values[at])
    elif colour == "consistency":
        values = ("c", explorer.consistency[at])
    elif colour == "subset":
        subset = preview.coarse.subset[at]
        for code, (name, shade) in enumerate(zip(charts.SUBSET_NAMES, charts.SUBSET_COLOURS, strict=True)):
            groups[name] = (shade, subset == code)
    elif colour == "truth":
        truth = explorer.truth[at]
        groups = {
            "known clean": (charts.BLUE, truth == 0),
            "unknown": (charts.GREY, truth < 0),
            "known poison": (charts.ORANGE, truth == 1),
        }
    elif colour == "verdict":
        flagged = preview.flagged[at]
        groups = {"clean": (charts.GREY, ~flagged), "flagged": (charts.ORANGE, flagged)}
    else:
        removed = preview.removed()[at]
        groups = {"kept": (charts.GREY, ~removed), "removed": (charts.ORANGE, removed)}
    groups = {name: group for name, group in groups.items() if group[1].any()}
    lasso = filters.chosen().lasso
    outline = lasso.corners if lasso and (lasso.space, lasso.map_id) == (made.space, made.id) else ()
    widgets.chart(
        charts.scatter_map(xy, groups, values, index, made.weights[index], outline),
        partial(_outlined, made.space, made.id),
    )
    if len(index) <= MOST_POINTS:
        hover_pictures(made, *_texts(preview, at, index))
    else:
        hover_one_by_one(made, partial(_report, preview, at, index))
    st.caption(
        "The shade behind the points is where the audit's pairs lie: each point stands for its share of them."
    )
    _missing(preview, made, explorer.mask_of(at))


def _missing(preview: Preview, made: Map, here: np.ndarray) -> None:
    """How many pairs that a map should show are not among those that are ``here`` bool (n,), and what helps."""
    by_hand = preview.pairs.decisions == REMOVE
    flagged = int((preview.flagged & ~here).sum())
    removed = int((by_hand & ~preview.flagged & ~here).sum())
    reasons = [f"{flagged:,} flagged by the sliders"] if flagged else []
    reasons += [f"{removed:,} removed by hand"] if removed else []
    if not reasons:
        return
    wanted = int((preview.flagged | by_hand).sum())
    if wanted > MOST_FLAGGED_SHARE * POINTS[-1]:
        advice = f"a map holds at most {MOST_FLAGGED_SHARE * POINTS[-1]:,.0f} of them, an even sample"
    elif wanted > MOST_FLAGGED_SHARE * len(made.rows):
        advice = f"it has room for {MOST_FLAGGED_SHARE * len(made.rows):,.0f} of them; make it anew with more points"
    elif preview.params != state.applied():
        advice = "apply the split and make it anew"
    else:
        advice = "make it anew"
    st.caption(f":material/info: Pairs that are not on this map: {' and '.join(reasons)}; {advice}.")


def _texts(preview: Preview, at: np.ndarray, index: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return what is said of each point beside its picture, as plain text, and the points that are still there."""
    pairs = preview.pairs.pairs_at(at)
    there = np.isin(at, preview.pairs.positions_of(pairs["row"].to_numpy()))
    captions = pairs["caption"].to_pylist()
    texts = [_words(preview, caption, place) for caption, place in zip(captions, at[there], strict=True)]
    return texts, index[there]


def _report(
    preview: Preview, at: np.ndarray, index: np.ndarray, point: int
) -> tuple[str, bytes | None] | None:
    """Return what is said of one point, and its picture; None where its pair is gone."""
    (place,) = np.searchsorted(index, [point])
    if place == len(index) or index[place] != point:
        return None
    pairs = preview.pairs.pairs_at(at[[place]]).to_pylist()
    if not pairs:
        return None
    (picture,) = Thumbnails(preview.pairs.audit.folder).of_pairs(preview.pairs.audit.shards, pairs)
    return _words(preview, pairs[0]["caption"], at[place]), picture.data


def _words(preview: Preview, caption: str, position: int) -> str:
    return (
        f"{caption[:160]}\nz {preview.z.values[position]:.3f} · c {preview.pairs.consistency[position]:.3f}"
    )


page()
