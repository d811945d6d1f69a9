"""Pictures as RGB, whatever state their bytes are in.

Pictures under audit come from strangers, so every decoder error ends as :class:`BadImage` with one of
the short ``REASONS``, and only raster formats that Pillow decodes by itself are opened (no EPS: it
would start Ghostscript).
"""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cfbd_core.image_files import BadImage, read_image_bytes

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "REASONS",
    "BadImage",
    "decode_image",
    "image_fingerprint",
    "read_image_bytes",
]

REASONS = (
    "missing file",
    "unreadable file",
    "empty file",
    "file too large",
    "not an image",
    "truncated image",
    "corrupt image",
    "decompression bomb",
)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: 512 MB of RGB

# Pillow warns of large pictures and odd EXIF blocks; what matters here is refused with a reason.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_image(data: bytes) -> Image.Image:
    """Decode the first frame to RGB, upright (EXIF), transparency over white, 16 bits scaled to 8.

    Raises :class:`BadImage`.
    """
    if not data:
        raise BadImage("empty file")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImage("decompression bomb", str(error)) from None
    except Exception as error:
        known = data.startswith(SIGNATURES) or data[4:8] == b"ftyp" or data[8:12] == b"WEBP"
        raise BadImage(_damage(error, data) if known else "not an image", _one_line(error)) from None
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise BadImage("decompression bomb", f"{picture.width} × {picture.height} pixels")
        try:
            picture.load()
            return _as_rgb(_upright(picture))
        except Exception as error:
            raise BadImage(_damage(error, data), _one_line(error)) from None


def image_fingerprint(data: bytes) -> bytes:
    """Return 16 bytes (BLAKE2b) that are equal for byte-identical pictures only."""
    return hashlib.blake2b(data, digest_size=16).digest()


# --- decoding --------------------------------------------------------------------------------------


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
    values = np.nan_to_num(np.asarray(picture).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if picture.mode == "F":
        full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    else:
        full = max(65535.0, top)
    return Image.fromarray(np.rint(values.clip(0.0, full) * (255.0 / full)).astype(np.uint8))


def _damage(error: BaseException, data: bytes) -> str:
    words = ("truncated", "unexpected end", "not enough", "only got", "eof")
    cut = any(word in str(error).lower() for word in words)
    if data[8:12] == b"WEBP":  # its decoder names no cause; the header says how long the file should be
        cut = int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated image" if cut else "corrupt image"


def _one_line(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text names a memory address
        return "no picture format that can be read"
    return " ".join(str(error).split())[:200] or type(error).__name__
