"""What kinds of files there are, by how their names end."""

from __future__ import annotations

IMAGES = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "ico"),
    *("jfif", "jpe"),  # last: a record that has another picture, too, keeps it
)
TEXTS = ("txt", "caption", "json")
TABLES = (
    *(".tar", ".tar.gz", ".tgz", ".parquet", ".pq", ".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz"),
    *(".jsonl", ".ndjson", ".jsonl.gz"),
)
CAPTION_LISTS = (".token", ".token.txt", "captions.txt")  # as Flickr8k and Flickr30k are handed on

_OTHER_IMAGES = frozenset(
    (
        "heic",
        "heif",
        "jxl",
        "svg",
        "psd",
        "raw",
        "dng",
        "cr2",
        "nef",
        "arw",
        "exr",
        "hdr",
        "dds",
        "tga",
        "pdf",
        "eps",
    )
)
_OTHER_TABLES = frozenset(
    (
        *(
            "arrow",
            "feather",
            "orc",
            "avro",
            "xls",
            "xlsx",
            "ods",
            "db",
            "sqlite",
            "sqlite3",
            "duckdb",
            "mdb",
            "lmdb",
        ),
        *("h5", "hdf5", "tfrecord", "tfrecords", "rec", "npy", "npz", "pkl", "pickle", "pt", "beton", "mds"),
    )
)
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
_ARCHIVES = frozenset(("zip", "7z", "rar", "gz", "bz2", "xz", "zst", "lz4", "tbz2", "txz"))


def ending(name: str) -> str:
    """Return what follows the last dot of a file's name, in small letters."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def is_table(name: str) -> bool:
    """Say whether some reader takes a file of this name for tables, shards or lists of captions."""
    low = name.lower()
    return low.endswith((*TABLES, *CAPTION_LISTS)) or (low.startswith("captions") and low.endswith(".json"))


def unread_kind(name: str) -> str:
    """Return the kind, of :data:`~cfbd_core.sources.unread.ADVICE`, of a file that was not read."""
    end = ending(name)
    if name in _SYSTEM_FILES:
        return "other file"
    if name.startswith("_"):
        return "hidden file"
    if end in IMAGES:
        return "picture in no record"
    if is_table(name):
        return "file of another format"
    if end in ("txt", "caption"):
        return "text file"
    kinds = {
        "picture of a kind that is not read": _OTHER_IMAGES,
        "file of a format that is not read": _OTHER_TABLES,
        "archive": _ARCHIVES,
    }
    return next((kind for kind, ends in kinds.items() if end in ends), "other file")


def is_foreign_picture(name: str) -> bool:
    """Say whether a file of this name is a picture of a kind that is not read."""
    return ending(name) in _OTHER_IMAGES
