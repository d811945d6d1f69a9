"""COCO captions: one JSON with ``images`` and ``annotations``, the pictures in a folder."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cfbd_core.errors import SourceError
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.sources import columns as usual
from cfbd_core.sources.base import Batch, Skip, Source, only_skips
from cfbd_core.sources.columns import NotPairs
from cfbd_core.sources.paths import ImagePaths, picture_folders
from cfbd_core.sources.records import Record, RecordReader, record_batches
from cfbd_core.sources.tree import Place

MOST_BYTES = 2**31  # of a file: its values take several times that in memory


class CocoSource(Source):
    """Images with their captions; the key is the image's id, twelve digits as in COCO's file names."""

    name = "coco"
    looks_for = "a COCO captions *.json"

    @classmethod
    def find(cls, place: Place) -> list[Path]:
        """Return the file, or the folder's ``captions*.json``."""
        return place.files(
            lambda name: (
                name.lower().endswith(".json") and (not place.is_folder or name.startswith("captions"))
            )
        )

    def read(self) -> Iterator[Batch]:
        """Yield the pairs image by image, in the file's order."""
        yield from self.each_table(self._read_file)

    def _read_file(self, path: Path) -> Iterator[Batch]:
        name = self.names[path]
        images, annotations = _load(path, self.options.caption_col or "caption")
        by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in annotations:
            by_image[str(annotation.get("image_id"))].append(annotation)
        reader = RecordReader(self.options, self.unread)
        paths = ImagePaths(self._image_root(path, images), shown=self.shown)
        known = {str(image.get("id")) for image in images}
        records = (
            _record(image, by_image[str(image.get("id"))], paths, reader, f"{name} images[{i}]")
            for i, image in enumerate(images)
        )
        yield from record_batches(records, self.options.captions, self.unread, self.shard(path))
        reader.check_named(str(path))
        orphans = [
            Skip(
                image_key(one.get("image_id")),
                f"{name} annotations[{i}]",
                "missing image",
                "no image has this id",
            )
            for i, one in enumerate(annotations)
            if str(one.get("image_id")) not in known
        ]
        if orphans:
            yield only_skips(orphans)

    def _image_root(self, path: Path, images: list[dict[str, Any]]) -> Path:
        """Return where the pictures are: as the options say, else the first usual place that holds the first one."""
        if self.options.image_root is not None:
            return Path(self.options.image_root)
        here = path.absolute().parent
        split = path.stem.removeprefix("captions_")
        usual_places = [
            here,
            here / split,
            here / "images",
            here.parent / split,
            here.parent / "images",
            here.parent,
        ]
        places = [*usual_places, *(Path(folder) for folder in picture_folders(str(here)))]
        first = str(images[0].get("file_name")) if images else ""
        return next((place for place in places if _is_file(place / first)), here)


def image_key(identity: object) -> str:
    """Return an image id as a key."""
    is_number = isinstance(identity, int) and not isinstance(identity, bool)
    return f"{identity:012d}" if is_number else str(identity)


def _record(
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    paths: ImagePaths,
    reader: RecordReader,
    where: str,
) -> Record:
    record = Record(image_key(image.get("id")), where)
    if image.get("id") is None:
        record.key, record.fault = "", ("missing key", "the image has no id")
    name = image.get("file_name")
    if not isinstance(name, str):
        record.fault = record.fault or ("missing image", "the image has no file_name")
        return record
    file, trouble = paths.find(name)
    record.place = PicturePlace(file or "")
    record.fault = record.fault or trouble
    column = reader.options.caption_col or "caption"
    captions = [annotation[column] for annotation in annotations if column in annotation]
    if not captions:
        record.fault = record.fault or ("missing caption", "no annotation of this image has one")
        return record
    if len(annotations) > 1 and any(truth in one for one in annotations for truth in usual.POISONED):
        record.fault = record.fault or ("ambiguous ground truth", "write `poisoned` into the image's entry")
    reader.fill(
        record, annotations[0] | image | {"captions": captions, "caption": captions[0], column: captions}
    )
    return record


def _is_file(path: Path) -> bool:
    return os.path.isfile(str(path).replace("\0", ""))


def _load(path: Path, caption: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise SourceError(
            f"{path} has {size:,} bytes, and one JSON is read as a whole, up to {MOST_BYTES:,}; give its pairs as "
            "JSON lines, CSV or Parquet."
        )
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file)
    except (ValueError, RecursionError, OSError) as error:
        raise SourceError(f"{path} is not readable JSON ({error}).") from None
    lists: list[Any] = (
        [content.get(name) for name in ("images", "annotations")] if isinstance(content, dict) else []
    )
    if not lists or not all(isinstance(one, list) and all(isinstance(e, dict) for e in one) for one in lists):
        raise NotPairs(
            f"{path} is no COCO captions file: `images` and `annotations` are not lists of objects."
        )
    images, annotations = lists
    if annotations and not any(caption in one for one in annotations):
        has = usual.listing(list(annotations[0]))
        raise NotPairs(
            f"{path}: no annotation has a {caption!r}, they have: {has}. Name it with --caption-col."
        )
    return images, annotations
