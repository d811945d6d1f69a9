"""Data to Plotly figures. Each function returns a :class:`Chart`: the figure, and its data as columns.

Colours are Okabe and Ito's, which colour-blind people can tell apart, and stand on light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.ndimage import gaussian_filter

from cfbd_core.workbench.preview import Preview

BLUE, GREY, ORANGE = "#0072B2", "#8A8F98", "#D55E00"
PURPLE, GREEN, YELLOW = "#CC79A7", "#009E73", "#E69F00"
SUBSET_NAMES = ("D_b benign", "D_p top-q", "D_s suspicious")
SUBSET_COLOURS = (BLUE, ORANGE, GREY)
CROWD = [[0.0, "rgba(110,120,140,0)"], [1.0, "rgba(110,120,140,0.42)"]]
CROWDED_POINTS = 10_000  # points
DENSITY_CELLS = 120  # of the map's density, across and up
MOST_RUG_MARKS = 500  # top-q marks drawn one by one at most
HEIGHT = 380
FARTHEST_Z = 2.0  # a mark of γ_z beyond it would leave no room for z itself, which is a cosine


Columns = Mapping[str, Sequence[Any] | np.ndarray]  # by name, all of the same length


@dataclass(frozen=True)
class Chart:
    """A figure with a file ``name``, what it shows in words (``alt``), and its data, column by column."""

    name: str
    alt: str
    figure: go.Figure
    data: Columns


def consistency(preview: Preview, log: bool, poisons: bool) -> Chart:
    """Histogram of c by subset, the mixture's components and their sum, D_b's cut and the top q."""
    edges, counts = preview.consistency_histogram()
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    scale = preview.counts.pairs * width
    parts = preview.mixture.components(centres) * scale
    figure = _bars(centres, width, counts)
    for number, part in enumerate(parts.T, 1):
        figure.add_scatter(
            x=centres,
            y=part,
            mode="lines",
            line={"width": 1.5, "dash": "dot", "color": PURPLE},
            name="components",
            legendgroup="components",
            showlegend=number == 1,
            hovertemplate=f"component {number}: %{{y:,.1f}}<extra></extra>",
        )
    figure.add_scatter(
        x=centres,
        y=parts.sum(1),
        mode="lines",
        line={"width": 2.5, "color": PURPLE},
        name="mixture",
        hovertemplate="mixture: %{y:,.1f}<extra></extra>",
    )
    if poisons:
        _known_poisons(figure, centres, preview.poisons_by_consistency())
    if preview.coarse.cut is not None:
        _mark(figure, preview.coarse.cut, "D_b ends", BLUE, "left")
    top = preview.pairs.consistency[preview.coarse.probe]
    _mark(figure, float(top.min()), f"top q = {len(top):,}", ORANGE, "right")
    if len(top) <= MOST_RUG_MARKS:
        figure.add_scatter(
            x=top,
            y=np.full(len(top), 0.5 if log else 0),
            mode="markers",
            name="top-q pairs",
            marker={"symbol": "line-ns-open", "size": 12, "color": ORANGE},
            showlegend=False,
            hovertemplate="c = %{x:.4f}<extra>D_p</extra>",
        )
    finish(figure, "c – gap between caption and expectation", "pairs", log)
    names = [f"component_{number}" for number in range(1, parts.shape[1] + 1)]
    data = _histogram_data("c", edges, counts) | dict(zip(names, parts.T, strict=True))
    return Chart("consistency", "Histogram of consistency with the fitted mixture", figure, data)


def z_histogram(preview: Preview, log: bool, poisons: bool) -> Chart:
    """Histogram of z by subset, with γ_z and the cut of the null rule."""
    edges, counts = preview.z_histogram()
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    figure = _bars(centres, width, counts)
    if poisons:
        _known_poisons(figure, centres, preview.poisons_by_z())
    value = preview.gamma_z.value
    if abs(value) <= FARTHEST_Z:
        _mark(figure, value, f"γ_z = {value:.3f}", ORANGE, "right")
        figure.add_vrect(x0=value, x1=max(edges[-1], value), fillcolor=ORANGE, opacity=0.08, line_width=0)
    null = preview.gamma_z.null_cut
    if preview.gamma_z.rule != "null" and abs(null) <= FARTHEST_Z:
        _mark(figure, null, "null cut", BLUE, "left")
    finish(figure, "z – likeness to the captions of D_p", "pairs", log)
    return Chart(
        "z", "Histogram of textual correlation by subset", figure, _histogram_data("z", edges, counts)
    )


def precision_recall(preview: Preview) -> Chart:
    """PR curves of both stages, and where the sliders stand (Fig. 5)."""
    figure, data = _curves(preview, "pr", "recall", "precision")
    finish(figure, "recall", "precision")
    return Chart("precision_recall", "Precision over recall of both stages", figure, data)


def roc(preview: Preview) -> Chart:
    """ROC curves of both stages, the false-positive rate on a log scale: that is where audits live."""
    figure, data = _curves(preview, "roc", "fpr", "tpr")
    least = 0.5 / max(1, int(np.count_nonzero(preview.pairs.truth == 0)))
    for trace in figure.data:
        trace.x = [max(x, least) for x in trace.x]
    finish(figure, "false-positive rate (log)", "true-positive rate")
    figure.update_xaxes(type="log", range=[np.log10(least), 0], dtick=1, exponentformat="power")
    return Chart("roc", "ROC curves of both stages", figure, data)


def scatter_map(
    xy: np.ndarray,
    groups: dict[str, tuple[str, np.ndarray]],
    values: tuple[str, np.ndarray] | None,
    index: np.ndarray,
    weights: np.ndarray | None = None,
    outline: Sequence[tuple[float, float]] = (),
) -> Chart:
    """Return the map: ``groups`` name -> (colour, which points), or one colour scale over ``values`` (n,).

    With ``weights`` (n,), how many pairs each point stands for, the density of all pairs lies under the points. The
    ``outline`` is drawn as a closed line through its corners (x, y).
    """
    figure = go.Figure() if weights is None else _density(xy, weights)
    if values is not None:
        name, numbers = values
        figure.add_scattergl(
            x=xy[:, 0],
            y=xy[:, 1],
            mode="markers",
            customdata=index,
            name=name,
            marker={
                "size": 3 if len(xy) > CROWDED_POINTS else 6,
                "color": numbers,
                "colorscale": "Viridis",
                "colorbar": {"title": name},
            },
            hoverinfo="none",
        )
    for name, (colour, chosen) in groups.items():
        size, opacity = (5.0, 0.55) if colour == GREY else (7, 0.85)
        if len(xy) > CROWDED_POINTS:  # smaller and fainter, so that the density shows through
            size, opacity = (2.5, 0.3) if colour == GREY else (4, 0.8)
        figure.add_scattergl(
            x=xy[chosen, 0],
            y=xy[chosen, 1],
            mode="markers",
            customdata=index[chosen],
            name=f"{name} ({int(chosen.sum()):,})",
            hoverinfo="none",
            marker={"size": size, "color": colour, "opacity": opacity},
        )
    if outline:
        x, y = zip(*outline, outline[0], strict=True)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            name="outline",
            showlegend=False,
            hoverinfo="skip",
            line={"color": PURPLE, "width": 2, "dash": "dot"},
        )
    finish(figure, "", "")
    figure.update_layout(height=620, hovermode="closest", dragmode="pan")
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(showticklabels=False, ticks="", showgrid=False, zeroline=False, rangemode="normal")
    data = {"point": index, "x": xy[:, 0], "y": xy[:, 1]}
    return Chart("map", "Map of the pairs; near points have similar embeddings", figure, data)


def _density(xy: np.ndarray, weights: np.ndarray) -> go.Figure:
    """Return a quiet picture of how many pairs lie where, on a logarithmic scale."""
    low, high = xy.min(0), xy.max(0)
    room = 0.08 * (high - low)  # else the outermost clouds are cut off
    ranges = list(zip(low - room, high + room, strict=True))
    counts, across, up = np.histogram2d(xy[:, 0], xy[:, 1], bins=DENSITY_CELLS, range=ranges, weights=weights)
    smooth = np.log1p(gaussian_filter(counts.T, 1.5))
    most = max(float(smooth.max()), 1e-9)
    return go.Figure(
        go.Heatmap(
            x=(across[:-1] + across[1:]) / 2,
            y=(up[:-1] + up[1:]) / 2,
            z=np.where(smooth > 0.02 * most, smooth, np.nan).round(3).astype(np.float32),
            colorscale=CROWD,
            showscale=False,
            zsmooth="best",
            hoverinfo="skip",
            zmin=0,
            zmax=most,
            name="density",
        )
    )


# --- shared ------------------------------------------------------------------------------------------------


def _bars(centres: np.ndarray, width: float, counts: np.ndarray) -> go.Figure:
    figure = go.Figure()
    for name, colour, heights in zip(SUBSET_NAMES, SUBSET_COLOURS, counts, strict=True):
        figure.add_bar(
            x=centres,
            y=heights,
            width=width,
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            opacity=0.75,
            hovertemplate="%{y:,} pairs at %{x:.3f}<extra>" + name + "</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0)
    return figure


def _known_poisons(figure: go.Figure, centres: np.ndarray, heights: np.ndarray) -> None:
    figure.add_scatter(
        x=centres,
        y=heights,
        mode="lines",
        line={"shape": "hvh", "width": 2, "color": YELLOW},
        name="known poisons",
        hovertemplate="%{y:,} known poisons<extra></extra>",
    )


def _curves(preview: Preview, kind: str, across: str, up: str) -> tuple[go.Figure, Columns]:
    figure = go.Figure()
    data: dict[str, Sequence[Any]] = {}
    stages = (
        ("coarse: rank by c", BLUE, preview.pairs.consistency_column),
        ("coarse to fine: rank by z", ORANGE, preview.z),
    )
    for (name, colour, column), short in zip(stages, ("c", "z"), strict=True):
        curve = getattr(column, kind)
        figure.add_scatter(
            x=curve[across],
            y=curve[up],
            mode="lines",
            name=name,
            line={"width": 2.5, "color": colour},
            customdata=curve["threshold"],
            hovertemplate=f"{across} %{{x:.4f}}, {up} %{{y:.4f}}<br>above %{{customdata:.4f}}<extra></extra>",
        )
        data |= {f"{key}_{short}": curve[key] for key in (across, up, "threshold")}
    point = preview.confusion(preview.flagged)
    here = {"recall": point.tpr, "tpr": point.tpr, "fpr": point.fpr, "precision": point.precision}
    figure.add_scatter(
        x=[here[across] or 0],
        y=[here[up] if here[up] is not None else 1],
        mode="markers",
        name="the sliders' verdict",
        marker={"size": 14, "symbol": "diamond", "color": GREEN, "line": {"width": 1.5, "color": "white"}},
        hovertemplate=f"{across} %{{x:.4f}}, {up} %{{y:.4f}}<extra>the sliders' verdict</extra>",
    )
    longest = max(map(len, data.values()))
    return figure, {name: [*column, *[None] * (longest - len(column))] for name, column in data.items()}


def _histogram_data(name: str, edges: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    columns = dict(zip(("benign", "top_q", "suspicious"), counts, strict=True))
    return {f"{name}_from": edges[:-1], f"{name}_to": edges[1:]} | columns


def _mark(figure: go.Figure, x: float, text: str, colour: str, side: str) -> None:
    figure.add_vline(x=x, line={"color": colour, "width": 2, "dash": "dash"})
    figure.add_annotation(
        x=x,
        y=1.0,
        yref="paper",
        text=text,
        showarrow=False,
        font={"size": 13},
        xanchor="right" if side == "left" else "left",
        yanchor="bottom",
    )


def finish(figure: go.Figure, x: str, y: str, log: bool = False) -> None:
    """Give a figure the look that all of ours have; ``x`` and ``y`` are the axes' titles."""
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
        hovermode="x unified" if "pairs" in y else "closest",
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        xaxis_title=x,
        yaxis_title=y,
        uirevision="keep",
        transition={"duration": 0},
    )
    figure.update_yaxes(rangemode="tozero")
    if log:
        most = max((float(np.max(trace.y)) for trace in figure.data if trace.type == "bar"), default=1.0)
        top = np.log10(max(most, 1) * 4)
        figure.update_yaxes(type="log", dtick=1, exponentformat="power", range=[np.log10(0.5), top])
