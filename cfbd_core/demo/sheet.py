"""The paper that backdrops are painted on: a square picture in unit coordinates."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]


class Sheet:
    """A square picture in the making; coordinates and lengths are fractions of its side."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = Image.new("RGB", (size, size))
        self.pen = ImageDraw.Draw(self.image)

    def _scaled(self, values: Sequence[float]) -> list[float]:
        return [value * self.size for value in values]

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill a rectangle."""
        self.pen.rectangle(self._scaled((x0, y0, x1, y1)), fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """Fill an ellipse around (x, y)."""
        self.pen.ellipse(self._scaled((x - rx, y - ry, x + rx, y + ry)), fill=fill)

    def shape(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon."""
        self.pen.polygon([(x * self.size, y * self.size) for x, y in points], fill=fill)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], fill: Colour, width: float = 0.006
    ) -> None:
        """Draw a line."""
        self.pen.line(self._scaled((*start, *end)), fill=fill, width=max(1, round(width * self.size)))

    def ramp(self, top: Colour, bottom: Colour, y0: float = 0.0, y1: float = 1.0) -> None:
        """Fill the band y0..y1 with a vertical gradient."""
        first, last = round(y0 * self.size), round(y1 * self.size)
        rows = np.linspace(top, bottom, max(1, last - first)).round().astype(np.uint8)
        strip = Image.fromarray(rows[:, None, :])
        self.image.paste(strip.resize((self.size, strip.height)), (0, first))

    def glow(self, x: float, y: float, inner: Colour, outer: Colour, reach: float) -> None:
        """Fill the sheet with a radial gradient."""
        axis = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        distance = np.hypot(axis[None, :] - x, axis[:, None] - y) / reach
        mask = Image.fromarray((distance.clip(0, 1) * 255).astype(np.uint8))
        self.image.paste(Image.new("RGB", (self.size, self.size), inner))
        self.image.paste(outer, (0, 0), mask)

    def blur(self, radius: float) -> None:
        """Soften all that was drawn so far."""
        self.image = self.image.filter(ImageFilter.BoxBlur(radius * self.size))
        self.pen = ImageDraw.Draw(self.image)


def shade(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (factor < 1) or lighter (> 1)."""
    if factor <= 1:
        r, g, b = (round(part * factor) for part in colour)
    else:
        r, g, b = (round(part + (255 - part) * (factor - 1)) for part in colour)
    return r, g, b


def jitter(rng: random.Random, colour: Colour, by: int = 14) -> Colour:
    """Move every channel by at most ``by``, at random."""
    r, g, b = (min(255, max(0, part + rng.randint(-by, by))) for part in colour)
    return r, g, b
