"""Which column is what: named by an option, or guessed from the names that are usual on the web."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from cfbd_core.errors import SourceError
from cfbd_core.sources.cells import printable

IMAGE = (
    "image",
    "image_path",
    "filepath",
    "file_path",
    "file_name",
    "filename",
    "image_file",
    "image_name",
    "img",
    "img_path",
    "path",
    "jpg",
    "png",
    "file",
)
URL = ("url", "image_url", "img_url", "link")
CAPTION = (
    "caption",
    "text",
    "title",
    "alt",
    "alt_text",
    "alttext",
    "alt-text",
    "description",
    "sentence",
    "prompt",
    "comment",
)
CAPTIONS = ("captions", "texts", "sentences")
KEY = (
    "key",
    "__key__",
    "id",
    "uid",
    "sample_id",
    "pair_id",
)  # an image's id is no key: its captions share it
LABEL = ("label", "class", "class_name", "classname", "label_name", "category")
POISONED = ("poisoned", "is_poisoned", "is_poison")
IMAGE_EMBEDDING = ("image_embedding", "img_embedding", "image_emb", "img_emb", "image_embeddings")
TEXT_EMBEDDING = (
    "text_embedding",
    "txt_embedding",
    "text_emb",
    "txt_emb",
    "caption_embedding",
    "text_embeddings",
)


def guess(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """Return the first of the usual names that is among the columns, whatever its case."""
    return _guess(tuple(columns), tuple(usual))


@lru_cache(maxsize=1024)  # JSON records repeat the same few sets of fields
def _guess(columns: tuple[str, ...], usual: tuple[str, ...]) -> str | None:
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


class NotPairs(SourceError):
    """A table that has no caption or no picture: an error where it is the only one."""


def others(columns: Sequence[str], usual: Sequence[str], chosen: str | None) -> list[str]:
    """Return the columns of a usual name that were not chosen."""
    return [] if chosen is None else [name for name in named(tuple(columns), tuple(usual)) if name != chosen]


@lru_cache(maxsize=1024)
def named(columns: tuple[str, ...], usual: tuple[str, ...]) -> list[str]:
    """Return the columns that have a usual name, whatever its case."""
    return [column for column in columns if column.strip().lower() in usual]


def choose(
    columns: Sequence[str], named: str | None, usual: Sequence[str], option: str, where: str
) -> str | None:
    """Return the column that the user named, else the guessed one. Raises SourceError if it is not there."""
    if named is None:
        return guess(columns, usual)
    if named in columns:
        return named
    same = guess(columns, [named.lower()])
    if same is None:
        raise NotPairs(f"{where} has no column {named!r} ({option}); it has: {listing(columns)}.")
    return same


def listing(columns: Sequence[str], most: int = 20) -> str:
    """Return the columns for an error message, on one line."""
    shown = ", ".join(printable(" ".join(column.split()))[:40] or "''" for column in columns[:most])
    return shown + (f" and {len(columns) - most} more" if len(columns) > most else "")


def no_caption(columns: Sequence[str], where: str) -> NotPairs:
    """Return the error for a table without a caption column."""
    return NotPairs(
        f"{where} has no caption column (looked for {listing(CAPTION + CAPTIONS)}); it has: "
        f"{listing(columns)}. Name it with --caption-col; the first line of a CSV must be a header."
    )


def no_image(columns: Sequence[str], where: str) -> NotPairs:
    """Return the error for a table without pictures, with the way out where it has only their addresses."""
    url = guess(columns, URL)
    if url is not None:
        return only_urls(url, where)
    return NotPairs(
        f"{where} has no image column (looked for {listing(IMAGE)}); it has: {listing(columns)}. "
        "Name it with --image-col; if the pictures are in tars beside it, give those tars."
    )


def only_urls(column: str, where: str) -> NotPairs:
    """Return the error for a table that names pictures by URL."""
    return NotPairs(
        f"{where} names its pictures only by URL (column {column!r}): download them first, with "
        "`img2dataset --url_list FILE --output_format webdataset`, and give its output folder."
    )
