"""The paper's Figures 2, 5, 6 and 7a from the cells of a benchmark, as HTML and, where a Chromium is found, PNG.

Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.analyses import Ablation, Curves, Distributions, FittedMixture
from cfbd_core.method.mixture import Mixture
from cfbd_core.store.bench import Cell
from cfbd_core.wording import in_one_line

BLUE, ORANGE, GREEN, PURPLE, YELLOW, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#555B66"
LINES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, GREY)
COUNTS = [[0.0, "#F4F6F8"], [1.0, ORANGE]]
WIDTH, HEIGHT = 1200, 460


def write_figures(cells: Iterable[Cell], folder: Path) -> tuple[list[Path], str | None]:
    """Write every figure that has its cells to ``folder``, as :func:`save_figures` does."""
    return save_figures(make_figures(cells), folder)


def save_figures(figures: Mapping[str, go.Figure], folder: Path) -> tuple[list[Path], str | None]:
    """Write figures as NAME.html and NAME.png; returns the files, and why there are no PNGs (or None)."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        figure.write_html(folder / f"{name}.html", include_plotlyjs=True)
        written.append(folder / f"{name}.html")
    for name, figure in figures.items():
        try:
            figure.write_image(folder / f"{name}.png", scale=2)
        except Exception as error:  # kaleido lets through whatever starting a browser raises
            reason = in_one_line(error, 120)
            return written, f"no PNGs: kaleido found no Chromium or Chrome that starts ({reason})"
        written.append(folder / f"{name}.png")
    return written, None


def make_figures(cells: Iterable[Cell]) -> dict[str, go.Figure]:
    """Figures by file name; of several scenarios of one attack the first counts."""
    by_analysis: dict[str, dict[str, Any]] = {}
    for cell in cells:
        by_analysis.setdefault(cell.analysis, {}).setdefault(cell.params["attack"], cell.result)
    makers: dict[str, tuple[str, Callable[[Any], go.Figure]]] = {
        "distributions": ("figure_2", _figure_2),
        "curves": ("figure_5", _figure_5),
        "ablation": ("figure_6", _figure_6),
        "mixture": ("figure_7a", _figure_7a),
    }
    figures = {}
    for analysis, (name, make) in makers.items():
        if by_analysis.get(analysis):
            ordered = {
                attack: by_analysis[analysis][attack] for attack in ATTACKS if attack in by_analysis[analysis]
            }
            figures[name] = styled(make(ordered))
    return figures


def _figure_2(results: dict[str, Distributions]) -> go.Figure:
    """Shares of poisoned and benign pairs over caption likeness, image–caption cosine and z."""
    attack, result = next(iter(results.items()))
    titles = ("(a) cosine of two captions", "(b) cosine of image and caption", "(c) z with poisoned captions")
    figure = make_subplots(1, 3, subplot_titles=titles)
    for column, panel in enumerate((result["a"], result["b"], result["c"]), 1):
        edges = np.array(panel["edges"])
        for name, colour in (("benign", BLUE), ("poisoned", ORANGE)):
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=panel[name],
                width=np.diff(edges),
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                opacity=0.65,
                legendgroup=name,
                showlegend=column == 1,
                row=1,
                col=column,
            )
        figure.update_yaxes(title_text="share of its class" if column == 1 else None, row=1, col=column)
    figure.update_layout(
        barmode="overlay", title=f"What tells poison from benign pairs – {ATTACKS[attack].title}"
    )
    return figure


def _figure_5(results: dict[str, Curves]) -> go.Figure:
    """Precision–recall curves of both stages, an attack a panel."""
    columns = 3
    rows = -(-len(results) // columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[ATTACKS[attack].title for attack in results],
        horizontal_spacing=0.06,
        vertical_spacing=0.14,
    )
    for number, result in enumerate(results.values()):
        row, column = number // columns + 1, number % columns + 1
        for stage, curve, name, colour in (
            ("coarse", result["coarse"]["pr"], "coarse: rank by c", ORANGE),
            ("fine", result["fine"]["pr"], "coarse to fine: rank by z", BLUE),
        ):
            if curve is None:
                continue
            figure.add_scatter(
                x=curve["recall"],
                y=curve["precision"],
                mode="lines",
                name=name,
                legendgroup=stage,
                line={"color": colour, "width": 2.5, "shape": "hv"},
                showlegend=number == 0,
                row=row,
                col=column,
            )
        figure.update_xaxes(
            range=[-0.02, 1.02], title_text="recall" if row == rows else None, row=row, col=column
        )
        figure.update_yaxes(
            range=[-0.02, 1.05], title_text="precision" if column == 1 else None, row=row, col=column
        )
    figure.update_layout(height=HEIGHT * rows * 0.8 + 80, title="Precision and recall of both stages")
    return figure


def _figure_6(results: dict[str, Ablation]) -> go.Figure:
    """Poisons in D_b over K and γ for the first attack; AUROC of z over q for all."""
    attack, first = next(iter(results.items()))
    most = max(1, int(np.max(first["in_benign"])))
    titles = (f"(a) poisons in D_b – {ATTACKS[attack].title}", "(b) AUROC of z over q")
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    figure.add_heatmap(
        x=[f"{gamma:.3g}" for gamma in first["gamma"]],
        y=[str(k) for k in first["k"]],
        z=first["in_benign"],
        text=first["in_benign"],
        texttemplate="%{text}",
        colorscale=COUNTS,
        zmin=0,
        zmax=most,
        showscale=False,
        xgap=2,
        ygap=2,
        row=1,
        col=1,
    )
    for (name, result), colour in zip(results.items(), LINES, strict=False):
        figure.add_scatter(
            x=[point["q"] for point in result["q"]],
            y=[point["auroc"] for point in result["q"]],
            mode="lines+markers",
            name=ATTACKS[name].title,
            line={"color": colour, "width": 2},
            row=1,
            col=2,
        )
    figure.update_xaxes(title_text="γ", type="category", row=1, col=1)
    figure.update_yaxes(title_text="K", type="category", row=1, col=1)
    figure.update_xaxes(title_text="q", row=1, col=2)
    known = [
        point["auroc"] for result in results.values() for point in result["q"] if point["auroc"] is not None
    ]
    lowest = min(known)
    figure.update_yaxes(title_text="AUROC", range=[min(0.95, lowest - 0.01), 1.002], row=1, col=2)
    figure.update_layout(title="What K, γ and q do")
    return figure


def _figure_7a(results: dict[str, FittedMixture]) -> go.Figure:
    """Return the histogram of c and the mixture fitted to it; the scale is logarithmic, or no poison would be seen."""
    attack, result = next(iter(results.items()))
    edges = np.array(result["histogram"]["edges"])
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    benign, poisoned = (np.array(result["histogram"][name]) for name in ("benign", "poisoned"))
    fine = np.linspace(edges[0], edges[-1], 400)
    parts = Mixture.from_dict(result["mixture"]).components(fine) * (benign.sum() + poisoned.sum()) * width
    figure = go.Figure()
    for name, counts, colour in (("benign", benign, BLUE), ("poisoned", poisoned, ORANGE)):
        figure.add_bar(
            x=centres,
            y=counts,
            width=width,
            name=name,
            opacity=0.65,
            marker={"color": colour, "line": {"width": 0}},
        )
    for number, part in enumerate(parts.T):
        figure.add_scatter(
            x=fine,
            y=part,
            mode="lines",
            name="components",
            legendgroup="components",
            showlegend=number == 0,
            line={"color": PURPLE, "width": 1.5, "dash": "dot"},
        )
    figure.add_scatter(
        x=fine, y=parts.sum(1), mode="lines", name="mixture", line={"color": PURPLE, "width": 3}
    )
    figure.add_vline(
        x=result["cut"],
        line={"color": GREY, "dash": "dash"},
        annotation_text="D_b ends",
        annotation_position="top left",
    )
    figure.update_layout(barmode="overlay", title=f"The mixture fitted to c – {ATTACKS[attack].title}")
    figure.update_xaxes(title_text="consistency c")
    top = float(np.log10(max(2, (benign + poisoned).max())))
    figure.update_yaxes(title_text="pairs", type="log", range=[-0.3, top + 0.15])
    return figure


def styled(figure: go.Figure) -> go.Figure:
    """Give a figure the look of all of ours."""
    figure.update_layout(
        template="plotly_white",
        width=WIDTH,
        height=figure.layout.height or HEIGHT,
        font={"family": "Inter, Helvetica, Arial, sans-serif", "size": 14},
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        margin={"l": 70, "r": 30, "t": 120, "b": 60},
    )
    return figure
