"""Small pictures for the screen, made once and kept in ``DIR/thumbnails/``.

A thumbnail is kept under a hash of its picture's place and carries the size and time of the file, and the
hash of what was embedded. So a file that was replaced is read again, never shown as it was: where it is not what was
embedded, there is no picture but that reason. Of a file that is gone the thumbnail is still there, marked
``missing file``: an auditor wants to see what a pair was, and that it is lost.
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

from cfbd_core.machine.stamps import NO_STAMP, stamp_of
from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.images import BadImage, bad_where_it_fails, decode_image
from cfbd_core.pictures.picture import KnownHashes, Picture, pictures_of

LONG_SIDE = 256  # px, the long side
QUALITY = 80
METHOD = 2  # WebP's effort: 4, the default, takes twice as long for 4 % less
VERSION_BYTES = 8
NO_IMAGE = "no image came with the pair"


@dataclass(frozen=True)
class Thumbnail:
    """A WebP picture of at most 256 px, or None, and why there is none or only an old one.

    ``reason`` is '' for a picture that is up to date, else one of :data:`cfbd_core.pictures.images.REASONS` or
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

    def of_pairs(self, known: KnownHashes, pairs: Sequence[Mapping[str, Any]]) -> list[Thumbnail]:
        """Thumbnails of pairs that are given as rows of the audit, in order; ``known`` are the audit's shards."""
        return self.get(pictures_of(known, pairs))

    def get(self, pictures: Sequence[Picture]) -> list[Thumbnail]:
        """Thumbnails of pictures, in order; none of them makes it fail.

        What is not kept yet is made, on all cores. A folder that cannot be written is no hindrance.
        """
        versions = {picture: _version(picture) for picture in dict.fromkeys(pictures)}
        thumbnails: dict[Picture, Thumbnail] = {}
        for picture, version in versions.items():
            thumbnail = self._stored(picture, version)
            if thumbnail is not None:
                thumbnails[picture] = thumbnail
        missing = [picture for picture in versions if picture not in thumbnails]
        if missing:
            with ThreadPoolExecutor(min(usable_cores(), len(missing))) as pool:
                made = pool.map(lambda picture: self._made(picture, versions[picture]), missing)
                thumbnails.update(zip(missing, made, strict=True))
        return [thumbnails[picture] for picture in pictures]

    def _stored(self, picture: Picture, version: bytes | None) -> Thumbnail | None:
        if not picture.file:
            return Thumbnail(None, NO_IMAGE)
        try:
            whole = self._path(picture).read_bytes()
        except OSError:
            return None
        data, stored_version = whole[:-VERSION_BYTES], whole[-VERSION_BYTES:]
        if int.from_bytes(data[4:8], "little") + 8 != len(data):  # cut short by a crash of the machine
            return None
        if version is None:
            return Thumbnail(data, "missing file")
        return Thumbnail(data) if stored_version == version else None

    def _made(self, picture: Picture, version: bytes | None) -> Thumbnail:
        try:
            data = _drawn(picture.read())
        except BadImage as error:
            return Thumbnail(None, error.reason)
        if version is not None:
            self._keep(self._path(picture), data + version)
        return Thumbnail(data)

    def _path(self, picture: Picture) -> Path:
        file, offset, size = picture.place
        name = file.removeprefix(f"{self._audit}/")  # a copied audit finds its thumbnails again
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


def _version(picture: Picture) -> bytes | None:
    """Return what differs between a picture and the one that took its place, 8 bytes; None where there is no file."""
    stamp = stamp_of(picture.file)
    if stamp == NO_STAMP:
        return None
    size, modified, changed = stamp
    # An audit that is copied gets another time of change, and a picture of which nothing is known is as good as before.
    named = f"{size} {modified} {changed if picture.digest else ''}".encode() + picture.digest
    return hashlib.blake2b(named, digest_size=VERSION_BYTES).digest()


def _drawn(encoded: bytes) -> bytes:
    picture = decode_image(encoded)
    drawn = io.BytesIO()
    with bad_where_it_fails("failed transform"):
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        # No colour profile, which the encoder does not see either, and no EXIF: it may name a place.
        picture.save(drawn, "WEBP", quality=QUALITY, method=METHOD, icc_profile=b"", exif=b"")
    return drawn.getvalue()
