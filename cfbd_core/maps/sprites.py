"""Sheets of small pictures for the map: one file holds a thousand, so a browser need not ask for each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.images import BadImage, decode_image
from cfbd_core.pictures.picture import Picture
from cfbd_core.pictures.thumbnails import Thumbnail, Thumbnails

TILE = 64  # px
COLUMNS = 32
PER_SHEET = 1024
NEUTRAL = (225, 225, 225)  # around pictures that are not square, and in place of missing ones
QUALITY = 75
PICTURES_PER_REPORT = 128  # pictures between two reports of progress


def write_sheets(
    folder: Path,
    thumbnails: Thumbnails,
    pictures: Sequence[Picture],
    progress: Progress = no_progress,
) -> list[Path]:
    """Write ``pictures`` (n,) to ``folder/sheet_NNNN.webp``; returns the files.

    Picture i is tile ``i % PER_SHEET`` of sheet ``i // PER_SHEET``, row by row, ``COLUMNS`` tiles a row,
    each ``TILE`` px square. ``progress`` gets the stage "pictures".
    """
    sheets: list[Path] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for first in range(0, len(pictures), PER_SHEET):
            here = pictures[first : first + PER_SHEET]
            sheet = Image.new("RGB", (COLUMNS * TILE, -(-len(here) // COLUMNS) * TILE), NEUTRAL)
            for start in range(0, len(here), PICTURES_PER_REPORT):
                tiles = pool.map(_tile, thumbnails.get(here[start : start + PICTURES_PER_REPORT]))
                for number, tile in enumerate(tiles, start):
                    sheet.paste(tile, (number % COLUMNS * TILE, number // COLUMNS * TILE))
                progress("pictures", first + min(start + PICTURES_PER_REPORT, len(here)), len(pictures))
            path = folder / f"sheet_{len(sheets):04d}.webp"
            sheet.save(path, "WEBP", quality=QUALITY, method=2)
            sheets.append(path)
    return sheets


def _tile(thumbnail: Thumbnail) -> Image.Image:
    tile = Image.new("RGB", (TILE, TILE), NEUTRAL)
    if thumbnail.data is None:
        return tile
    try:
        picture = decode_image(thumbnail.data)
    except BadImage:  # kept by another hand than ours
        return tile
    picture.thumbnail((TILE, TILE))
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile
