"""The pictures of an export: their bytes, and files of their own where they lie inside tars or Parquet files."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Self

import pyarrow as pa

from cfbd_core.errors import SourceError
from cfbd_core.export.compared import DIGEST, LEAVE_OUT, unreadable
from cfbd_core.machine.files import written_beside
from cfbd_core.machine.places import real
from cfbd_core.pictures.images import BadImage, decode_image, picture_ending
from cfbd_core.pictures.picture import Picture
from cfbd_core.pictures.place import places_of

ADVICE = f"put the picture back, or {LEAVE_OUT}"


def picture_of(key: str, picture: Picture) -> tuple[bytes, str]:
    """Return a pair's encoded picture and its file ending: the one place where an export reads a picture.

    Bytes that are no picture are refused: a table from a stranger may name any file as its image.
    """
    image = picture.file
    try:
        data = picture.read()
    except BadImage as bad:
        raise unreadable(key, image, bad) from None
    ending = picture_ending(data)
    if ending is None:
        raise SourceError(f"key {key!r}: its image {image!r} is no picture and is not exported; {ADVICE}")
    return data, ending


def as_png(key: str, data: bytes) -> bytes:
    """Return the first frame of an encoded picture as PNG, as the encoder saw it. Raises SourceError."""
    try:
        picture = decode_image(data)
    except BadImage as error:
        raise SourceError(f"key {key!r}: its picture cannot be decoded ({error.reason}); {ADVICE}") from None
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


class ImagesOut:
    """``OUT.images/``: pictures from inside tars and Parquet files, each written once.

    A context manager: an export that fails takes back what it has put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[Picture, str] = {}
        self._new: list[Path] = []

    def __enter__(self) -> Self:
        self._existed = self.folder.exists()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        for path in self._new:
            path.unlink(missing_ok=True)
        if not self._existed and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def with_paths(self, batch: pa.RecordBatch, *, write: bool = True) -> pa.RecordBatch:
        """The batch with a file of its own for every picture; without ``write``, with the names these would have."""
        offsets = batch.column("image_offset")
        if offsets.null_count == batch.num_rows:
            return batch
        known = DIGEST in batch.schema.names
        digests = batch.column(DIGEST).to_pylist() if known else [b""] * batch.num_rows
        pictures = map(Picture, places_of(batch), digests)
        plain = [
            (picture.file or None) if picture.place.is_own_file else self._path(key, picture, write)
            for key, picture in zip(batch.column("key").to_pylist(), pictures, strict=True)
        ]
        return with_images(batch, plain)

    def _path(self, key: str, picture: Picture, write: bool) -> str:
        """Return where the picture lies from now on."""
        if picture not in self._written:
            data, ending = picture_of(key, picture)
            target = self._place(picture, data, ending)
            if write and not target.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                self._new.append(target)
                with written_beside(target) as part:
                    part.write_bytes(data)
            self._written[picture] = str(target.resolve())
        return self._written[picture]

    def _place(self, picture: Picture, data: bytes, ending: str) -> Path:
        """A name for the picture: by where it lies, and by its bytes where an earlier export has another one there."""
        file, offset, _ = picture.place
        stem = f"{Path(file).stem[:40]}_{_short_hash(file.encode())}_{offset or 0:012d}"
        usual = self.folder / f"{stem}.{ending}"
        is_other = usual.exists() and not _holds(usual, data)
        return self.folder / f"{stem}_{_short_hash(data)}.{ending}" if is_other else usual


def _short_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()


class RelativePaths:
    """Names pictures from ``folder``, by where links lead: so a path leads there from whatever folder it is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = real(folder)
        self._from: dict[str, str] = {}  # folders of pictures are few

    def with_paths(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with relative paths."""
        images = batch.column("image").to_pylist()
        return with_images(batch, [image if image is None else self._path(image) for image in images])

    def _path(self, image: str) -> str:
        folder, _, name = image.rpartition("/")
        if folder not in self._from:
            self._from[folder] = os.path.relpath(real(Path(folder or "/")), self._folder)
        return f"{self._from[folder]}/{name}"


def with_images(batch: pa.RecordBatch, images: list[str | None]) -> pa.RecordBatch:
    """Return the batch with ``images`` as its column of that name."""
    index = batch.schema.get_field_index("image")
    return batch.set_column(index, "image", pa.array(images, pa.string()))


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a file has just these bytes."""
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
