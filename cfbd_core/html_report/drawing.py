"""Text, tables, histograms and pictures as HTML that loads nothing from elsewhere."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from cfbd_core.pictures.images import data_url

WIDTH, HEIGHT, FLOOR = 640, 170, 150  # of a histogram, in its own units
COLOURS = ("#0072B2", "#D55E00", "#999999")  # D_b, D_p, D_s: Okabe and Ito's, safe for colour-blind people


def text(value: object, limit: int = 400) -> str:
    """Plain text, letter by letter, whatever it holds; cut after ``limit`` letters."""
    words = str(value)
    cut = words if len(words) <= limit else words[:limit].rstrip() + " …"
    return f'<span dir="auto" class="t">{html.escape(cut)}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; cells are plain text."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def listed(values: Mapping[str, object]) -> str:
    """Names and values side by side."""
    return table(("", ""), list(values.items())).replace("<thead><tr><th></th><th></th></tr></thead>", "")


def histogram(
    title: str, edges: np.ndarray, counts: np.ndarray, names: Sequence[str], cut: float | None = None
) -> str:
    """Bars of ``counts`` (groups, bins) stacked, on a logarithmic scale of pairs, with a line at ``cut``."""
    total = counts.sum(0)
    most = np.log1p(total.max(initial=1))
    left, right, bins = float(edges[0]), float(edges[-1]), counts.shape[1]
    width = WIDTH / bins
    bars = []
    for at in np.flatnonzero(total):
        height = float(np.log1p(total[at]) / most * (FLOOR - 10))
        top = float(FLOOR)
        for group, count in enumerate(counts[:, at]):
            if count:
                part = height * float(count / total[at])
                top -= part
                bars.append(
                    f'<rect x="{at * width:.1f}" y="{top:.1f}" width="{width:.1f}" height="{part:.1f}" '
                    f'fill="{COLOURS[group % len(COLOURS)]}"/>'
                )
    marks = ""
    if cut is not None and np.isfinite(cut):
        x = (min(max(cut, left), right) - left) / (right - left) * WIDTH
        marks = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{FLOOR}" stroke="#000" stroke-dasharray="4 3"/>'
    span = right - left
    ticks = "".join(
        f'<text x="{share * WIDTH:.0f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{left + share * span:.2f}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    key = " ".join(
        f'<span class="k"><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in zip(names, COLOURS, strict=False)
    )
    return (
        f'<figure><figcaption>{html.escape(title)} {key}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title, quote=True)}">{"".join(bars)}{marks}{ticks}</svg></figure>'
    )


def picture(data: bytes | None, words: str, kind: str = "webp") -> str:
    """Return a picture with its words, or the words alone where there is none."""
    title = html.escape(words[:200], quote=True)
    if data is None:
        return f'<div class="p" title="{title}"><small>no picture</small></div>'
    return f'<div class="p"><img alt="" title="{title}" src="{data_url(data, kind)}"></div>'


def png(array: np.ndarray) -> bytes:
    """Return a picture uint8 (h, w, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
