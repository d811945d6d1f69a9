"""Small pictures for the screen, made once and kept in ``DIR/thumbnails/``.

A thumbnail is kept under a hash of its locator and carries the size and time of its source file. So a
file that was replaced is drawn anew, never shown as it was; and of a file that is gone the thumbnail is
still there, marked ``missing file``: an auditor wants to see what a pair was, and that it is lost.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfbd_core.images import BadImage, decode_image, read_image_bytes
from cfbd_core.workers import usable_cores

SIDE = 256  # px, the long side
QUALITY = 80
METHOD = 2  # WebP's effort: 4, the default, takes twice as long for 4 % less
VERSION_BYTES = 8
NO_IMAGE = "no image came with the pair"

Locator = tuple[str | None, int | None, int | None]


def locator_of(pair: Mapping[str, Any]) -> Locator:
    """Where the picture of a pair, a row of the audit, lies: (image, image_offset, image_size)."""
    return pair["image"], pair["image_offset"], pair["image_size"]


@dataclass(frozen=True)
class Thumbnail:
    """A WebP picture of at most 256 px, or None, and why there is none or only an old one.

    ``reason`` is '' for a picture that is up to date, else one of :data:`cfbd_core.images.REASONS` or
    ``no image came with the pair``. With ``missing file`` there may be ``data``: how it last looked.
    """

    data: bytes | None
    reason: str = ""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in px, read from the header."""
        if self.data is None:
            return None
        width, height = (int.from_bytes(self.data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return width, height


class Thumbnails:
    """The thumbnails of the audit in ``folder``. Safe to use from many threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._audit = Path(folder).resolve()
        self.folder = self._audit / "thumbnails"

    def of(self, pairs: Sequence[Mapping[str, Any]]) -> list[Thumbnail]:
        """Thumbnails of pairs that are given as rows of the audit, in order."""
        return self.get([locator_of(pair) for pair in pairs])

    def get(self, locators: Sequence[Locator]) -> list[Thumbnail]:
        """Thumbnails of pairs by (image, image_offset, image_size), in order; no picture makes it fail.

        What is not kept yet is made, on all cores. A folder that cannot be written is no hindrance.
        """
        images = {locator[0] for locator in locators}
        versions = {image: _version(image) if image else None for image in images}
        found: dict[Locator, Thumbnail] = {}
        for locator in dict.fromkeys(locators):
            kept = self._kept(locator, versions[locator[0]])
            if kept is not None:
                found[locator] = kept
        missing = [locator for locator in dict.fromkeys(locators) if locator not in found]
        if missing:
            with ThreadPoolExecutor(min(usable_cores(), len(missing))) as pool:
                made = pool.map(lambda locator: self._made(locator, versions[locator[0]]), missing)
                found.update(zip(missing, made, strict=True))
        return [found[locator] for locator in locators]

    def _kept(self, locator: Locator, version: bytes | None) -> Thumbnail | None:
        if not locator[0]:
            return Thumbnail(None, NO_IMAGE)
        try:
            whole = self._path(locator).read_bytes()
        except OSError:
            return None
        data, held = whole[:-VERSION_BYTES], whole[-VERSION_BYTES:]
        if int.from_bytes(data[4:8], "little") + 8 != len(data):  # cut short by a crash of the machine
            return None
        if version is None:
            return Thumbnail(data, "missing file")
        return Thumbnail(data) if held == version else None

    def _made(self, locator: Locator, version: bytes | None) -> Thumbnail:
        image, offset, size = locator
        try:
            data = _drawn(read_image_bytes(image or "", offset, size))
        except BadImage as error:
            return Thumbnail(None, error.reason)
        if version is not None:
            self._keep(self._path(locator), data + version)
        return Thumbnail(data)

    def _path(self, locator: Locator) -> Path:
        image, offset, size = locator
        name = (image or "").removeprefix(f"{self._audit}/")  # a copied audit finds its thumbnails again
        key = f"{name}\0{offset}\0{size}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(key, digest_size=16).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}.webp"

    def _keep(self, path: Path, whole: bytes) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(whole)
            beside.replace(path)
        except OSError:  # read-only or full: it is made again next time
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _version(image: str) -> bytes | None:
    """What tells a file from the one that replaced it, 8 bytes; None where there is no file."""
    try:
        status = os.stat(image)
    except (OSError, ValueError):
        return None
    named = f"{status.st_size} {status.st_mtime_ns}".encode()
    return hashlib.blake2b(named, digest_size=VERSION_BYTES).digest()


def _drawn(encoded: bytes) -> bytes:
    picture = decode_image(encoded)
    picture.thumbnail((SIDE, SIDE))
    drawn = io.BytesIO()
    # No colour profile, which the encoder does not see either, and no EXIF: it may name a place.
    picture.save(drawn, "WEBP", quality=QUALITY, method=METHOD, icc_profile=b"", exif=b"")
    return drawn.getvalue()
