"""Charts of training runs: their curves, and their CA and ASR side by side (Tables 1 and 2 of the paper)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.charts import BLUE, GREEN, GREY, ORANGE, PURPLE, YELLOW, Chart, Columns, finish
from app.training.metrics import Curves

LINES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, "#56B4E9", GREY)
DASHES = ("solid", "dash", "dot")  # of the first seven runs, of the next ones
MOST_CURVE_POINTS = 600  # points of a curve that are drawn
LOW, ROW = 300, 56  # pixels
SHARES = [-0.03, 1.06]  # an axis of rates, with room for marks at its ends


def loss(curves: Curves, steps: int | None) -> Chart:
    """Loss of one run over steps; ``steps`` is where the axis ends."""
    figure = go.Figure()
    at, values = thinned(curves.step, curves.loss)
    figure.add_scatter(
        x=at,
        y=values,
        mode="lines+markers" if len(at) == 1 else "lines",
        name="loss",
        line={"width": 2, "color": BLUE},
        hovertemplate="step %{x:,}: %{y:.3f}<extra></extra>",
    )
    _framed(figure, "loss", steps)
    if not len(at):
        _note(figure, "The first steps are not logged yet")
    return Chart("train_loss", "Training loss over steps", figure, {"step": curves.step, "loss": curves.loss})


def measured(curves: Curves, steps: int | None, nothing: str) -> Chart:
    """CA and ASR of one run over steps; ``nothing`` is said where none was measured."""
    figure = go.Figure()
    for rate, values, colour in (("CA", curves.ca, BLUE), ("ASR", curves.asr, ORANGE)):
        empty: list[float | None] = [None]  # else the legend would come later, and all jump
        figure.add_scatter(
            x=curves.measured_at if values else empty,
            y=values or empty,
            mode="lines+markers",
            name=rate,
            line={"width": 2, "color": colour},
            marker={"size": 6},
            hovertemplate=f"step %{{x:,}}: {rate} %{{y:.2%}}<extra></extra>",
        )
    _framed(figure, "CA and ASR", steps)
    figure.update_layout(showlegend=True)
    figure.update_yaxes(range=SHARES, tickformat=".0%", rangemode="normal")
    if not len(curves.measured_at):
        _note(figure, nothing)
    data = {"step": curves.measured_at, "ca": curves.ca, "asr": curves.asr}
    return Chart("train_measured", "Accuracy and attack success over steps", figure, data)


def overlaid(names: Sequence[str], runs: Sequence[Curves], steps: int | None) -> Chart:
    """Curves of several runs over each other: loss, and below it CA and ASR where one was measured."""
    kinds = ["loss", *(("CA", "ASR") if any(len(curves.measured_at) for curves in runs) else ())]
    figure = make_subplots(rows=len(kinds), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    drawn = [(html.escape(name), curves) for name, curves in zip(names, runs, strict=True) if curves.step]
    for number, (name, curves) in enumerate(drawn):
        line = {
            "width": 2,
            "color": LINES[number % len(LINES)],
            "dash": DASHES[number // len(LINES) % len(DASHES)],
        }
        rows: tuple[tuple[Any, Any], ...] = (
            thinned(curves.step, curves.loss),
            (curves.measured_at, curves.ca),
            (curves.measured_at, curves.asr),
        )
        for row, (kind, (x, y)) in enumerate(zip(kinds, rows, strict=False), 1):
            is_line = kind == "loss" and len(x) > 1
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines" if is_line else "lines+markers",
                name=name,
                legendgroup=name,
                showlegend=kind == "loss",
                line=line,
                marker={"size": 5},
                row=row,
                col=1,
                hovertemplate=f"step %{{x:,}}: {kind} %{{y:{'.3f' if kind == 'loss' else '.2%'}}}<extra>{name}</extra>",
            )
    finish(figure, "", "")
    figure.update_layout(
        height=110 + 190 * len(kinds), showlegend=True, legend={"y": -0.4 / (1 + len(kinds))}
    )
    figure.update_xaxes(range=_until(steps))
    figure.update_xaxes(title="step", row=len(kinds), col=1)
    for row, kind in enumerate(kinds, 1):
        figure.update_yaxes(title=kind, row=row, col=1)
        if kind != "loss":
            figure.update_yaxes(range=SHARES, tickformat=".0%", rangemode="normal", row=row, col=1)
    return Chart(
        "train_curves", "Loss, accuracy and attack success over steps, run by run", figure, _rows(names, runs)
    )


def _rows(names: Sequence[str], runs: Sequence[Curves]) -> dict[str, list[Any]]:
    """Return the curves as one table: a row a logged step or measurement."""
    data: dict[str, list[Any]] = {"run": [], "step": [], "loss": [], "ca": [], "asr": []}
    for name, curves in zip(names, runs, strict=True):
        steps, measured_at = len(curves.step), len(curves.measured_at)
        data["run"] += [name] * (steps + measured_at)
        data["step"] += [*curves.step, *curves.measured_at]
        data["loss"] += [*curves.loss, *[None] * measured_at]
        data["ca"] += [*[None] * steps, *curves.ca]
        data["asr"] += [*[None] * steps, *curves.asr]
    return data


def compared(names: Sequence[str], ca: Sequence[float | None], asr: Sequence[float | None]) -> Chart:
    """CA and ASR of each run as bars side by side, as Tables 1 and 2 list them; lying, so that names have room."""
    figure = go.Figure()
    for rate, values, colour in (("CA", ca, BLUE), ("ASR", asr, ORANGE)):
        figure.add_bar(
            x=list(values),
            y=[html.escape(name).replace(" · ", "<br>") for name in names],
            name=rate,
            orientation="h",
            marker={"color": colour, "line": {"width": 0}},
            cliponaxis=False,
            textposition="outside",
            text=["" if value is None else f"{value:.1%}" for value in values],
            hovertemplate=f"{rate} %{{x:.2%}}<extra>%{{y}}</extra>",
        )
    finish(figure, "", "")
    figure.update_layout(
        barmode="group",
        bargap=0.25,
        bargroupgap=0.06,
        height=90 + ROW * len(names),
        margin={"t": 8, "r": 8},
        legend={"y": 1, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1], showgrid=True)
    figure.update_yaxes(
        type="category", autorange="reversed", showgrid=False, automargin=True, ticksuffix="  "
    )
    data: Columns = {"run": list(names), "ca": list(ca), "asr": list(asr)}
    return Chart("train_compared", "Accuracy and attack success of the chosen runs", figure, data)


def thinned(at: Sequence[int], values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """At most ``MOST_CURVE_POINTS`` points: means over 1, 2, 4 … of them, so a curve that grows stays where it was."""
    steps, numbers = np.asarray(at, float), np.asarray(values, float)  # None becomes NaN
    stride = 1
    while len(steps) / stride > MOST_CURVE_POINTS:
        stride *= 2
    starts = np.arange(0, len(steps), stride)
    if stride == 1:
        return steps, numbers
    size = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / size, np.add.reduceat(numbers, starts) / size


def _framed(figure: go.Figure, y: str, steps: int | None) -> None:
    finish(figure, "step", y)
    figure.update_layout(height=LOW, showlegend=False, hovermode="closest", legend={"y": -0.28})
    figure.update_xaxes(rangemode="tozero", range=_until(steps))


def _until(steps: int | None) -> list[float] | None:
    """Return an axis of steps, with room for the mark at its end."""
    return [0, 1.02 * steps] if steps else None


def _note(figure: go.Figure, text: str) -> None:
    """A sentence in the middle of an empty chart."""
    figure.add_annotation(
        x=0.5, y=0.5, xref="paper", yref="paper", text=text, showarrow=False, font={"size": 14}, opacity=0.8
    )
