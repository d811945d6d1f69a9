"""Pairs as cards: picture, caption as plain text, scores, and the buttons that decide."""

from __future__ import annotations

import base64
import html
from typing import Any

import numpy as np
import streamlit as st

from app import deciding, state, words
from cfbd_core.preview import Preview
from cfbd_core.store.columns import DECISIONS
from cfbd_core.thumbnails import Thumbnail, Thumbnails

SUBSETS = ("D_b", "D_p", "D_s")
CHOICES = {"keep": "Keep", "remove": "Remove", "unsure": "?"}


def gallery(preview: Preview, positions: np.ndarray) -> None:
    """Draw the pairs at ``positions`` (m,) as a grid of cards."""
    explorer = preview.explorer
    pairs = explorer.pairs_at(positions).to_pylist()
    place_of = dict(zip(explorer.rows[positions].tolist(), positions.tolist(), strict=True))
    pictures = Thumbnails(explorer.audit.folder).get(
        [(pair["image"], pair["image_offset"], pair["image_size"]) for pair in pairs]
    )
    grid = st.grid(6, min_column_width=190)
    for pair, picture in zip(pairs, pictures, strict=True):
        with grid.cell(), st.container(border=True, gap="small"):
            _card(preview, place_of[pair["row"]], pair, picture)


def _card(preview: Preview, position: int, pair: dict[str, Any], picture: Thumbnail) -> None:
    explorer = preview.explorer
    st.html(_picture(picture) + _words(preview, position, pair))
    decided = DECISIONS[explorer.decisions[position]]
    with st.container(horizontal=True, gap="xxsmall", key=f"decide_{pair['row']}"):
        # Buttons, not a choice that the browser remembers: what is decided is in the audit, and only there.
        for decision, label in CHOICES.items():
            st.button(
                label, key=f"{decision}_{pair['row']}", on_click=_decide,
                args=[pair["row"], pair["key"], "" if decision == decided else decision, decided],
                type="primary" if decision == decided else "secondary", width="stretch",
                help="Unsure: look again later" if decision == "unsure" else None,
            )  # fmt: skip


def _picture(picture: Thumbnail) -> str:
    note = f'<div class="cfbd-gone">{html.escape(picture.reason)}</div>' if picture.reason else ""
    if picture.data is None:
        return f'<div class="cfbd-picture">{note}</div>'
    data = base64.b64encode(picture.data).decode()
    return f'<div class="cfbd-picture"><img alt="" src="data:image/webp;base64,{data}">{note}</div>'


def _words(preview: Preview, position: int, pair: dict[str, Any]) -> str:
    subset = int(preview.coarse.subset[position])
    z, c = float(preview.z.values[position]), float(preview.explorer.consistency[position])
    tags = [
        ("subset", SUBSETS[subset]),
        ("flag", "flagged") if preview.flagged[position] else ("ok", "clean"),
    ]
    if pair["poisoned"] is not None:
        tags.append(("truth", "known poison" if pair["poisoned"] else "known clean"))
    shown = "".join(f'<span class="cfbd-tag cfbd-{kind}">{text}</span>' for kind, text in tags)
    scores = f"z {z:.3f}" if np.isfinite(z) else "z –"
    return (
        f'<div class="cfbd-caption" title="{html.escape(pair["caption"][:1000])}">'
        f"{words.plain(pair['caption'])}</div>"
        f'<div class="cfbd-tags">{shown}</div>'
        f'<div class="cfbd-scores">{scores} · c {c:.3f}<br>{words.plain(pair["key"], 60)}</div>'
    )


# --- decisions ---------------------------------------------------------------------------------------------


def _decide(row: int, key: str, decision: str, seen: str) -> None:
    """Store a decision, wherever the pair stands by now; a busy audit is told, and nothing is lost."""
    with state.told():
        deciding.on_one(row, decision, seen, f"{decision or 'clear'} {words.escaped(key, 24)}")
