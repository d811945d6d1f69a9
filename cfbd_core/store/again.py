"""A source that is read again: are its pairs those that an audit holds, and where do their pictures lie now?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow.dataset

from cfbd_core.store import schema

_FACTS = ("label", "poisoned", "attack", "target", "origin_key", "origin_caption")
_PLACE = ("image", "image_offset", "image_size")
_OWN_KEY = "regexp_replace(h.key, '(~[0-9]+)?~*$', '')"  # without what tells it from others of this name
_COMPARED = ("caption", "key", "picture", *_FACTS)


class Difference(NamedTuple):
    """The first pair that is not what the audit holds: its row and key, and ``what`` differs.

    ``container`` is the tar or table that its picture is in; None where pictures are files of their own.
    """

    row: int
    key: str
    what: str
    container: str | None


def first_difference(
    connection: duckdb.DuckDBPyConnection, parts: Path, by_row: bool = True
) -> Difference | None:
    """Compare the pairs of an audit with those in ``parts``, row by row; None where they are the same.

    Pictures in tars and tables have to lie at the same place of them; those that are files of their own at the same
    path, or all below another folder. A key may have got its file's name before it, and a number behind it.
    Not ``by_row`` each pair of the audit is looked for anywhere in ``parts``, by its picture and caption: an older
    version read less, and chose other keys.
    """
    schema.show_unscored(connection)
    columns = ", ".join(("row", "key", "caption", *_PLACE, *_FACTS))
    same = {
        "caption": "n.caption = h.caption",
        "key": f"n.key IN (h.key, {_OWN_KEY}) OR ends_with({_OWN_KEY}, '/' || n.key) OR ends_with(n.key, '/' || h.key)",
        "picture": "n.image_offset IS NOT DISTINCT FROM h.image_offset"
        " AND n.image_size IS NOT DISTINCT FROM h.image_size"
        " AND (h.image_offset IS NOT NULL OR n.image IS NOT DISTINCT FROM h.image"
        " OR (starts_with(h.image, $old) AND n.image = $new || substr(h.image, length($old) + 1)))",
        **{name: f"n.{name} IS NOT DISTINCT FROM h.{name}" for name in _FACTS},
    }
    compared = [name for name in _COMPARED if by_row or name != "key"]
    cases = " ".join(f"WHEN NOT coalesce({same[name]}, false) THEN 'another {name}'" for name in compared)
    with _read_again(connection, parts, by_row):
        old, new = _moved(connection)
        rows = connection.execute(
            f"""
            SELECT h.row, h.key, CASE WHEN n.row IS NULL THEN 'it is gone' {cases} END AS what,
                   if(h.image_offset IS NULL, NULL, h.image)
            FROM (SELECT {columns} FROM pairs UNION ALL SELECT {columns} FROM set_aside) h
            LEFT JOIN read_again n ON n.row = h.row WHERE what IS NOT NULL ORDER BY h.row LIMIT 1
            """,
            {"old": old, "new": new},
        ).fetchall()
    return Difference(*rows[0]) if rows else None


def point_to(connection: duckdb.DuckDBPyConnection, parts: Path, by_row: bool = True) -> None:
    """Let the pairs' pictures lie where ``parts`` say; ``by_row`` as for :func:`first_difference`."""
    places = ", ".join(f"{name} = n.{name}" for name in _PLACE)
    with _read_again(connection, parts, by_row):
        for table in ("pairs", "set_aside"):
            connection.execute(f"UPDATE {table} SET {places} FROM read_again n WHERE n.row = {table}.row")


@contextmanager
def _read_again(connection: duckdb.DuckDBPyConnection, parts: Path, by_row: bool) -> Iterator[None]:
    """Let SQL find what was read in ``parts`` as ``read_again``, under the rows of the audit.

    The Parquet files are registered: a connection reads no files by itself.
    """
    name = "read_again" if by_row else "read_anywhere"
    connection.register(name, pyarrow.dataset.dataset(parts, format="parquet"))
    try:
        if not by_row:
            connection.execute(_BY_CONTENT)
        yield
    finally:
        connection.unregister(name)
        if not by_row:
            connection.execute("DROP TABLE IF EXISTS temp.read_again")


# Pairs that are alike in caption, picture's name and place differ by their folder, then by their key.
_BY_CONTENT = """
    CREATE OR REPLACE TEMP TABLE read_again AS
    SELECT h.row, n.* EXCLUDE (row) FROM (SELECT * FROM pairs UNION ALL BY NAME SELECT * FROM set_aside) h
    JOIN read_anywhere n ON n.caption = h.caption AND n.image_offset IS NOT DISTINCT FROM h.image_offset
    AND n.image_size IS NOT DISTINCT FROM h.image_size
    AND parse_filename(n.image) IS NOT DISTINCT FROM parse_filename(h.image)
    QUALIFY row_number() OVER (PARTITION BY h.row ORDER BY n.image = h.image DESC, n.key = h.key DESC, n.row) = 1
"""


def _moved(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """How the paths of picture files begin in the audit and in what was read, up to where the first one's are alike."""
    rows = connection.execute(
        """
        SELECT h.image, n.image FROM pairs h JOIN read_again n ON n.row = h.row
        WHERE h.image_offset IS NULL AND h.image IS NOT NULL AND n.image IS NOT NULL ORDER BY h.row LIMIT 1
        """
    ).fetchall()
    if not rows:
        return "", ""
    before, now = (image.split("/") for image in rows[0])
    while before and now and before[-1] == now[-1]:
        before.pop()
        now.pop()
    return "/".join([*before, ""]) if before else "", "/".join([*now, ""]) if now else ""
