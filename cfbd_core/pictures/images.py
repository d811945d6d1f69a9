"""Pictures as RGB, whatever state their bytes are in.

Pictures under audit come from strangers, so every decoder error ends as :class:`BadImage` with one of
the short ``REASONS``, and only raster formats that Pillow decodes by itself are opened (no EPS: it
would start Ghostscript).
"""

from __future__ import annotations

import base64
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cfbd_core.pictures.image_files import BadImage, picture_ending, read_image_bytes
from cfbd_core.wording import in_one_line

__all__ = [
    "CHANGED",
    "FORMATS",
    "MAX_PIXELS",
    "REASONS",
    "BadImage",
    "bad_where_it_fails",
    "data_url",
    "decode_image",
    "picture_ending",
    "read_image_bytes",
]

CHANGED = "changed since it was embedded"
REASONS = (
    "missing file",
    "unreadable file",
    "empty file",
    "file too large",
    "not an image",
    "truncated image",
    "corrupt image",
    "decompression bomb",
    "extreme proportions",
    "failed transform",
    CHANGED,
)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
MAX_PIXELS = 64_000_000  # 192 MB of RGB, some 0.8 GB on the way to it
LARGE_PIXELS = 16_000_000  # above, pictures are decoded one at a time and come smaller if they can
LEAST_SHORT_SIDE = 4 * 448  # px of the short side: four times the widest input of usual encoders
BAND_PIXELS = 1 << 20  # deep grey is scaled so many pixels at a time

# Pillow warns of large pictures and odd EXIF blocks; what matters here is refused with a reason.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_image(data: bytes) -> Image.Image:
    """Decode the first frame to RGB, upright (EXIF), transparency over white, 16 bits scaled to 8.

    A picture of more than ``LARGE_PIXELS`` comes back smaller by a whole factor while its short side
    stays at least ``LEAST_SHORT_SIDE``; all others come as they are. Raises :class:`BadImage`.
    """
    if not data:
        raise BadImage("empty file")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage("decompression bomb", str(error)) from None
    except Exception as error:
        known = picture_ending(data) is not None
        raise BadImage(_damage(error, data) if known else "not an image", _one_line(error)) from None
    with picture:
        pixels = picture.width * picture.height
        if pixels > MAX_PIXELS:
            detail = f"{picture.width} × {picture.height} pixels, at most {MAX_PIXELS:,} are decoded"
            raise BadImage("decompression bomb", detail)
        try:
            with _large.lock if pixels > LARGE_PIXELS else nullcontext():
                return _decoded(picture, shrink=pixels > LARGE_PIXELS)
        except Exception as error:
            raise BadImage(_damage(error, data), _one_line(error)) from None


@contextmanager
def bad_where_it_fails(reason: str) -> Iterator[None]:
    """Raise BadImage with ``reason`` where whatever is done with a picture fails, memory that is not there included."""
    try:
        yield
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(reason, _one_line(error)) from None


# --- decoding --------------------------------------------------------------------------------------


class _Turns:
    """One lock, new in every forked child: one that another thread held at the fork would stay held."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()


_large = _Turns()


def _decoded(picture: ImageFile.ImageFile, shrink: bool) -> Image.Image:
    if shrink:
        short = min(picture.size)
        width, height = (-(-side * LEAST_SHORT_SIDE // short) for side in picture.size)
        picture.draft(None, (width, height))  # a JPEG then decodes at a half, a quarter or an eighth
    picture.load()
    upright = _upright(picture)
    factor = min(upright.size) // LEAST_SHORT_SIDE if shrink else 1
    if factor <= 1:
        return _as_rgb(upright)
    if upright.mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in upright.info:
        return _as_rgb(upright.reduce(factor))  # the conversion then works on few pixels
    return _as_rgb(upright).reduce(factor)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return picture


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits by its nominal range; Pillow's own conversion clips it to white."""
    rows = max(1, BAND_PIXELS // picture.width)
    bands = [(y, min(y + rows, picture.height)) for y in range(0, picture.height, rows)]

    def values(band: tuple[int, int]) -> npt.NDArray[np.float64]:
        part = np.asarray(picture.crop((0, band[0], picture.width, band[1]))).astype(np.float64)
        return np.nan_to_num(part, copy=False, nan=0.0, posinf=0.0, neginf=0.0)

    top = max((float(values(band).max(initial=0.0)) for band in bands), default=0.0)
    if picture.mode == "F":
        full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    else:
        full = max(65535.0, top)
    scaled = np.empty((picture.height, picture.width), np.uint8)
    for band in bands:
        part = values(band)
        part.clip(0.0, full, out=part)
        part *= 255.0 / full
        scaled[slice(*band)] = np.rint(part, out=part)
    return Image.fromarray(scaled)


def _damage(error: BaseException, data: bytes) -> str:
    words = ("truncated", "unexpected end", "not enough", "only got", "eof")
    cut = any(word in str(error).lower() for word in words)
    if data[8:12] == b"WEBP":  # its decoder names no cause; the header says how long the file should be
        cut = int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated image" if cut else "corrupt image"


def _one_line(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text names a memory address
        return "no picture format that can be read"
    return in_one_line(error, 200) or type(error).__name__


def data_url(data: bytes, kind: str = "webp") -> str:
    """Return a picture of this ``kind`` ("webp", "png", "svg+xml") as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
