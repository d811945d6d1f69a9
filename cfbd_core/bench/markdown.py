"""Markdown tables, as every benchmark writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfbd_core.wording import NONE


def header(columns: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line(columns), line(["---"] * len(columns))]


def line(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Return the mean over seeds, and half of what lies between the least and the most where that shows."""
    if not values:
        return NONE
    half = (max(values) - min(values)) / 2
    shown = f"{np.mean(values):.{digits}f}"
    return f"{shown} ± {half:.{digits}f}" if round(half, digits) else shown
