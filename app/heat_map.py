"""A map of counts over K and γ, whose numbers can be read on every cell, in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.charts import GREEN, Chart, Columns, finish

# From no pair to most of them. Opaque: the text on a cell is chosen by its colour, whatever the page's is.
HEAT, ALARM = ("#DCE9F5", "#08426B"), ("#FBE9DD", "#8F3A00")
DARK, LIGHT = "#000000", "#FFFFFF"


def heat_map(
    name: str,
    title: str,
    ks: Sequence[int],
    gammas: Sequence[float],
    cells: np.ndarray,
    at: tuple[int, float] | None,
) -> Chart:
    """A K × γ map of counts (len(ks), len(gammas)), the sliders' own place ``at``, if given, framed (Fig. 6a)."""
    across, up = [f"{gamma:g}" for gamma in gammas], list(map(str, ks))
    ramp = ALARM if "poison" in name else HEAT
    least, most = int(cells.min()), int(cells.max())
    figure = _cells(
        across,
        up,
        cells,
        ramp,
        depth=(cells - least) / max(1, most - least),
        numbers=[_short(int(cell)) for cell in cells.ravel()],
        hovertemplate="K = %{y}, γ = %{x}: %{z:,} pairs<extra></extra>",
    )
    if at is not None:
        k, gamma = at
        nearest = int(np.argmin(np.abs(np.asarray(gammas) - gamma)))
        row = list(ks).index(k) if k in ks else 0
        figure.add_shape(
            type="rect",
            x0=nearest - 0.5,
            x1=nearest + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line={"color": GREEN, "width": 4},
        )
    finish(figure, "γ", "K", log=False)
    figure.update_layout(title={"text": title, "font": {"size": 15}}, margin={"t": 44}, hovermode="closest")
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, rangemode="normal")
    data: Columns = {
        "k": np.repeat(ks, len(gammas)).tolist(),
        "gamma": list(gammas) * len(ks),
        "pairs": cells.ravel(),
    }
    return Chart(name, title, figure, data)


def agreement(flagged: Mapping[str, np.ndarray]) -> Chart:
    """Of the pairs that each flags (a row), the share that another flags, too (a column); bool (n,) by name."""
    names, masks = list(flagged), [np.asarray(mask, bool) for mask in flagged.values()]
    counts = [int(mask.sum()) for mask in masks]
    cells = np.array(
        [
            [int((one & other).sum()) / count if count else 0.0 for other in masks]
            for one, count in zip(masks, counts, strict=True)
        ]
    )
    figure = _cells(
        names,
        names,
        cells,
        HEAT,
        depth=cells,
        numbers=[f"{cell:.0%}" for cell in cells.ravel()],
        hovertemplate="of what %{y} flags: %{z:.1%} are flagged by %{x}<extra></extra>",
        zmin=0,
        zmax=1,
    )
    finish(figure, "… is flagged by", "Of what … flags")
    figure.update_layout(margin={"t": 20}, hovermode="closest")
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    data: Columns = {
        "of": np.repeat(names, len(names)).tolist(),
        "flagged by": names * len(names),
        "share": cells.ravel(),
    }
    return Chart("agreement", "How far detectors agree", figure, data)


def _cells(
    across: list[str],
    up: list[str],
    cells: np.ndarray,
    ramp: tuple[str, str],
    *,
    depth: np.ndarray,
    numbers: list[str],
    **look: Any,
) -> go.Figure:
    """Coloured cells (up, across) with their ``numbers`` on them; ``depth`` 0 to 1 is where each is on the ramp.

    Plotly chooses a text's colour for all that is darker than a middle grey alike, too faint on much of a ramp.
    """
    colourscale = [[0.0, ramp[0]], [1.0, ramp[1]]]
    figure = go.Figure(
        go.Heatmap(z=cells, x=across, y=up, colorscale=colourscale, showscale=False, xgap=2, ygap=2, **look)
    )
    figure.add_scatter(
        x=across * len(up),
        y=np.repeat(up, len(across)).tolist(),
        mode="text",
        hoverinfo="skip",
        showlegend=False,
        text=numbers,
        textfont={"color": [text_on(mixed(*ramp, one)) for one in depth.ravel()]},
    )
    return figure


def _short(number: int) -> str:
    for least, size, letter in ((999_500, 1_000_000, "M"), (10_000, 1000, "k")):
        if number >= least:
            return f"{number / size:.3g}{letter}"
    return f"{number:,}"


# --- colours -----------------------------------------------------------------------------------------------


def mixed(low: str, high: str, share: float) -> str:
    """Return the colour at ``share`` (0 to 1) of the way from one colour, as #RRGGBB, to another."""
    pairs = zip(_levels(low), _levels(high), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02X}" for a, b in pairs)


def text_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour: at least 4.5 : 1, as of any colour one of them is."""
    return max(DARK, LIGHT, key=lambda text: contrast(text, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    levels = [level / 255 for level in _levels(colour)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return sum(weight * level for weight, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _levels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
