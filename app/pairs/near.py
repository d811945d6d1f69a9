"""What is near a pair, by picture among kept pairs and by caption among all: looked for while the pair is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
import streamlit as st

from app.pairs import filters
from app.pairs.tiles import tile
from app.waiting import aside
from app.words import plain
from cfbd_core.method.neighbours import nearest_rows
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.workbench.likeness import Like
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview

PAIRS_SHOWN = 4
PAIRS_COMPARED = 4 * PAIRS_SHOWN  # by picture: some may be decided on before they are shown


@dataclass(frozen=True)
class Near:
    """Rows int64 (m,) of the pairs that are nearest to one, nearest first."""

    by_image: np.ndarray
    by_caption: np.ndarray


def panel(preview: Preview, position: int, key: str, following: int | None) -> None:
    """Draw what is near the pair of this key as soon as it is found, and look ahead for the pair ``following``."""
    wanted = [position] if following is None else [position, following]
    aside.fill(
        "near",
        {("near", ref(preview), at): partial(find, preview, at) for at in wanted},
        lambda near: _draw(preview, near, key),
        "Looking for what is near it",
    )


def find(preview: Preview, position: int) -> Near:
    """Compare the pair at ``position`` with all: every embedding is read, of both sides."""
    explorer = preview.pairs
    row = int(explorer.rows[position])
    is_kept = np.zeros(sum(len(shard) for shard in explorer.images), bool)
    is_kept[explorer.rows[~preview.removed()]] = True
    return Near(
        nearest_rows(explorer.images, row, PAIRS_COMPARED, is_kept),
        nearest_rows(explorer.texts, row, PAIRS_SHOWN),
    )


def _draw(preview: Preview, near: Near, key: str) -> None:
    explorer = preview.pairs
    by_image = explorer.positions_of(near.by_image)
    by_image = by_image[by_image >= 0]
    by_image = by_image[~preview.removed()[by_image]][:PAIRS_SHOWN]  # some may have been removed since
    by_caption = explorer.positions_of(near.by_caption)
    by_caption = by_caption[by_caption >= 0]
    pairs = explorer.pairs_at(np.union1d(by_image, by_caption)).to_pylist()
    pair_of = {pair["row"]: pair for pair in pairs}
    for kind, title, positions in (
        ("image", "Kept pairs with similar pictures say", by_image),
        ("caption", "Pairs with similar captions show", by_caption),
    ):
        shown = [pair_of[row] for row in explorer.rows[positions].tolist() if row in pair_of]
        st.html(f'<div class="cfbd-label">{title}</div>' + _small(preview, shown))
        like = PairFilter(show="all", like=Like(kind, key))  # type: ignore[arg-type]
        filters.look_button("Show the 100 nearest", f"like_{kind}", like, ":material/search:")


def _small(preview: Preview, pairs: list[dict[str, Any]]) -> str:
    pictures = Thumbnails(preview.pairs.audit.folder).of_pairs(preview.pairs.audit.shards, pairs)
    cards = []
    for pair, picture in zip(pairs, pictures, strict=True):
        cards.append(
            f'<div class="cfbd-near">{tile(picture)}'
            f'<div class="cfbd-nearsaid">{plain(pair["caption"], 140)}</div></div>'
        )
    return (
        f'<div class="cfbd-nears">{"".join(cards)}</div>' if cards else '<div class="cfbd-scores">none</div>'
    )
