"""One pair, large: its picture and caption, and its scores among all."""

from __future__ import annotations

import html
import io
from typing import Any

import numpy as np

from app.words import plain
from cfbd_core.method.score_column import ScoreColumn
from cfbd_core.pictures.images import BadImage, bad_where_it_fails, data_url, decode_image
from cfbd_core.pictures.picture import pictures_of
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.workbench.preview import Preview

LARGE_SIDE = 900  # px, the long side of the picture
MOST_LETTERS = 100_000  # letters of a caption: its end may be what matters


def large(preview: Preview, position: int, pair: dict[str, Any], reason: str) -> str:
    """Return the pair as HTML: picture, caption, why it is here (``reason``), and where its scores lie among all."""
    explorer = preview.pairs
    z, c = float(preview.z.values[position]), float(explorer.consistency[position])
    verdict = "flagged" if preview.flagged[position] else "not flagged"
    tags = [f'<span class="cfbd-tag {"cfbd-flag" if preview.flagged[position] else ""}">{verdict}</span>']
    if pair["poisoned"] is not None:
        tags.append(
            f'<span class="cfbd-tag cfbd-truth">known {"poison" if pair["poisoned"] else "clean"}</span>'
        )
    if reason:
        tags.append(f'<span class="cfbd-tag">{html.escape(reason)}</span>')
    cut = preview.gamma_z.value
    flagged = f"flagged above {cut:.3f}" if np.isfinite(cut) else "nothing is flagged"
    return (
        f'<div class="cfbd-review" data-shown="{explorer.rows[position]}">'
        f'<div class="cfbd-large">{_picture(preview, pair)}</div><div>'
        f'<div class="cfbd-said">{plain(pair["caption"], MOST_LETTERS)}</div>'
        f'<div class="cfbd-tags">{"".join(tags)}</div>'
        f'<div class="cfbd-label">z {_number(z)}: how much the caption is like those of D_p; {flagged}</div>'
        f"{_histogram(preview.z, z, cut)}"
        f'<div class="cfbd-label">c {_number(c)}: how far the caption is from what the picture suggests</div>'
        f"{_histogram(explorer.consistency_column, c, None)}"
        f'<div class="cfbd-scores">{plain(pair["key"], 80)}</div></div></div>'
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _picture(preview: Preview, pair: dict[str, Any]) -> str:
    """Return the picture as large as it is, up to LARGE_SIDE; where it is gone, its thumbnail and why."""
    note = ""
    if pair["image"] is not None:
        try:
            (place,) = pictures_of(preview.pairs.audit.shards, [pair])
            picture, buffer = decode_image(place.read()), io.BytesIO()
            with bad_where_it_fails("failed transform"):
                picture.thumbnail((LARGE_SIDE, LARGE_SIDE))
                picture.save(buffer, "WEBP", quality=85, method=0)
            return f'<img alt="" decoding="sync" src="{data_url(buffer.getvalue())}">'
        except BadImage as bad:
            note = str(bad)
    (small,) = Thumbnails(preview.pairs.audit.folder).of_pairs(preview.pairs.audit.shards, [pair])
    note = f'<div class="cfbd-gone">{html.escape(small.reason or note)}</div>'
    if small.data is None:
        return note
    return f'<img alt="" decoding="sync" src="{data_url(small.data)}">{note}'


def _histogram(column: ScoreColumn, value: float, cut: float | None) -> str:
    """Return all pairs' values as a strip, with this pair's place and the cut."""
    counts = np.log1p(column.counts)
    heights = counts / max(counts.max(), 1e-9) * 30
    low, high = float(column.edges[0]), float(column.edges[-1])
    bars = "".join(
        f'<rect x="{place}" y="{34 - height:.1f}" width="1" height="{height:.1f}"/>'
        for place, height in enumerate(heights)
        if height > 0
    )

    def mark(at: float, colour: str, width: float) -> str:
        x = (min(max(at, low), high) - low) / (high - low) * 160
        return f'<rect x="{x - width / 2:.2f}" y="0" width="{width}" height="34" fill="{colour}"/>'

    marks = mark(cut, "#777777", 0.6) if cut is not None and np.isfinite(cut) else ""
    marks += mark(value, "#D55E00", 1.6) if np.isfinite(value) else ""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 34" preserveAspectRatio="none" width="160" '
        'height="34">'
        f'<g fill="#999999" opacity="0.55">{bars}</g>{marks}</svg>'
    )
    # As a picture: the page's sanitiser takes drawings out.
    title = "all pairs, this one marked"
    return f'<div class="cfbd-where"><img alt="{title}" src="{data_url(drawn.encode(), "svg+xml")}"></div>'
