"""A pair's picture as a tile of a row, or why there is none."""

from __future__ import annotations

import html

from cfbd_core.pictures.images import data_url
from cfbd_core.pictures.thumbnails import Thumbnail


def tile(picture: Thumbnail, title: str = "") -> str:
    """Return the tile as HTML; ``title``, a stranger's words, is shown when one points at it."""
    title_attribute = f' title="{html.escape(title, quote=True)}"' if title else ""
    if picture.data is None:
        return f'<div class="cfbd-tile"{title_attribute}>{html.escape(picture.reason or "")}</div>'
    return f'<div class="cfbd-tile"><img alt=""{title_attribute} src="{data_url(picture.data)}"></div>'
