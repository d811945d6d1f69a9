"""Before, after and difference × 10 of some pairs that a copy changes, as pictures and on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from cfbd_core.attacks.base import INPUT_SIZE
from cfbd_core.pictures.images import BadImage
from cfbd_core.poisoning.records import CopyPlan, CopyRecord
from cfbd_core.poisoning.source_pairs import read_picture

GAIN = 10  # of the difference
GAP, TEXT_WIDTH, LINE = 12, 420, 20  # px
MOST_CAPTION_LETTERS = 400  # of a caption
HEADINGS = ("before", "after", f"difference x {GAIN}", "caption")
INK, PALE, PAPER = "#1f2328", "#6e7781", "white"


@dataclass(frozen=True)
class Example:
    """One changed pair: RGB pictures at the encoder's input size, ``difference`` is |after − before| × 10."""

    before: Image.Image
    after: Image.Image
    difference: Image.Image
    caption_before: str
    caption_after: str
    key: str


def examples(copy: CopyPlan, count: int = 10) -> list[Example]:
    """Return at most ``count`` poisons spread over the copy, or pairs in traps where there is no poison.

    Only pairs that leave their record can be shown so; a trap that changes captions alone shows none.
    """
    changed = [poison.pair for poison in copy.plan.poisons] or sorted(copy.plan.pictures)
    places = np.unique(np.linspace(0, len(changed) - 1, min(count, len(changed))).round().astype(int))
    return [example for place in places if (example := _example(copy, changed[place])) is not None]


def contact_sheet(title: str, shown: Sequence[Example]) -> Image.Image:
    """Lay the examples out, one a row, under a title."""
    head = GAP + 2 * LINE + GAP
    width = GAP + 3 * (INPUT_SIZE + GAP) + TEXT_WIDTH + GAP
    sheet = Image.new("RGB", (width, head + len(shown) * (INPUT_SIZE + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(16), ImageFont.load_default(14)
    pen.text((GAP, GAP), _fitted(title, large, width - 2 * GAP)[0], INK, large)
    columns = [GAP + i * (INPUT_SIZE + GAP) for i in range(4)]
    for x, heading in zip(columns, HEADINGS, strict=True):
        pen.text((x, GAP + LINE + 4), heading, PALE, small)
    for row, example in enumerate(shown):
        y = head + row * (INPUT_SIZE + GAP)
        for x, picture in zip(columns, (example.before, example.after, example.difference), strict=False):
            sheet.paste(picture, (x, y))
        lines = [(example.key, PALE)]
        lines += [(line, PALE) for line in _fitted(example.caption_before, small, TEXT_WIDTH)[:4]]
        lines += [("became" if example.caption_after != example.caption_before else "kept", PALE)]
        lines += [(line, INK) for line in _fitted(example.caption_after, small, TEXT_WIDTH)[:4]]
        for number, (line, colour) in enumerate(lines):
            pen.text((columns[3], y + number * LINE), line, colour, small)
    return sheet


def _example(copy: CopyPlan, pair: int) -> Example | None:
    record = next(record for record in _records_of(copy, pair) if record.pair == pair)
    try:
        before, after = read_picture(copy.pairs.place(pair)), copy.picture(record)
    except BadImage:  # gone since it was chosen
        return None
    difference = ImageChops.difference(before, after).point(lambda value: min(255, value * GAIN))
    return Example(
        before, after, difference, str(record.facts["origin_caption"]), record.captions[0], record.key
    )


def _records_of(copy: CopyPlan, pair: int) -> list[CopyRecord]:
    record = int(copy.pairs.record_of[pair])
    return list(copy.records(record, record + 1))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` px; a longer word is cut."""
    lines = [""]
    for word in text[:MOST_CAPTION_LETTERS].split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            fits = next(n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= width)
            lines.append(word[:fits])
    return [line for line in lines if line] or [""]
