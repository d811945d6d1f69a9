"""Paint a planned scene: backdrop, shadows, pictograms, grain."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageFilter

from cfbd_core.demo.backdrops import paint_backdrop
from cfbd_core.demo.glyphs import glyph
from cfbd_core.demo.layout import SceneSpec, Thing
from cfbd_core.demo.vocabulary import COLOURS

_GRAIN_SIDE = 1024


def draw_scene(spec: SceneSpec, size: int = 224) -> Image.Image:
    """Paint ``spec`` as an RGB picture of ``size`` × ``size`` pixels; the same spec gives the same bytes."""
    sheet = paint_backdrop(spec.backdrop, spec.colour, spec.seed, 2 * size)
    if spec.spot:
        thing = spec.things[0]
        sheet.oval(thing.x, thing.y, thing.size * 0.62, thing.size * 0.62, COLOURS[spec.spot])
    picture = sheet.image.reduce(2)  # painted twice as large: smooth edges
    for thing in spec.things:
        _place(picture, thing, size, spec.outlined)
    return _grained(picture, spec) if spec.grain else picture


def _place(picture: Image.Image, thing: Thing, size: int, outlined: bool) -> None:
    ink = glyph(thing.glyph, max(8, round(thing.size * size)), thing.paint, outlined)
    if thing.mirrored:
        ink = ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if thing.angle:
        ink = ink.rotate(thing.angle, Image.Resampling.BICUBIC, expand=True)
    x = round(thing.x * size - ink.width / 2)
    y = round(thing.y * size - (ink.height if thing.standing else ink.height / 2))
    x, y = (min(max(0, at), max(0, size - length)) for at, length in ((x, ink.width), (y, ink.height)))
    if thing.standing:
        shadow = _shadow(ink.width, max(4, size // 28))
        picture.paste((20, 20, 30), (x, y + ink.height - shadow.height // 2), shadow)
    picture.paste(ink, (x, y), ink)


@lru_cache(maxsize=256)
def _shadow(width: int, height: int) -> Image.Image:
    axis_x = np.linspace(-1, 1, width)[None, :]
    axis_y = np.linspace(-1, 1, height)[:, None]
    inside = 1 - np.hypot(axis_x, axis_y)
    return Image.fromarray((inside.clip(0, 1) * 220).clip(0, 90).astype(np.uint8))


@cache
def _noise() -> np.ndarray:
    """Return one fixed field of unit noise, half fine, half coarse, from which every scene cuts its grain."""
    rng = np.random.default_rng(20240117)
    fine = rng.integers(0, 256, (_GRAIN_SIDE, _GRAIN_SIDE), dtype=np.uint8)
    coarse = Image.fromarray(fine).filter(ImageFilter.GaussianBlur(1.6))
    field = np.asarray(coarse, dtype=np.float32)
    field = (field - field.mean()) / field.std() * 0.8 + (fine - np.float32(127.5)) / 74 * 0.35
    return np.asarray((field * 128).round(), dtype=np.int16)


def _grained(picture: Image.Image, spec: SceneSpec) -> Image.Image:
    """Add luminance grain of about ``spec.grain`` levels."""
    width, height = picture.size
    top, left = spec.seed % (_GRAIN_SIDE - height), (spec.seed >> 12) % (_GRAIN_SIDE - width)
    grain = (_noise()[top : top + height, left : left + width] * np.int16(spec.grain)) >> 7
    pixels = np.asarray(picture).astype(np.int16) + grain[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
