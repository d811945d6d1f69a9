from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core.pictures.image_files import parquet_code
from cfbd_core.pictures.images import read_image_bytes
from cfbd_core.pictures.place import NOWHERE, PicturePlace, place_at, places_of

OWN = PicturePlace("/a.png")
MEMBER = PicturePlace("/a.tar", 512, 0)
CELL = PicturePlace("/a.parquet", 0, -1)


def test_a_place_says_what_holds_its_picture() -> None:
    said = [(place.is_own_file, place.is_cell) for place in (OWN, MEMBER, CELL, NOWHERE)]
    assert said == [(True, False), (False, False), (False, True), (True, False)]
    assert not NOWHERE.file


def test_columns_of_pairs_are_places_and_a_pair_without_a_picture_lies_nowhere() -> None:
    table = pa.table(
        {
            "image": ["/a.png", "/a.tar", "/a.parquet", None],
            "image_offset": pa.array([None, 512, 0, None], pa.int64()),
            "image_size": pa.array([None, 0, -1, None], pa.int64()),
        }
    )
    expected = [OWN, MEMBER, CELL, NOWHERE]
    assert places_of(table) == expected
    assert places_of(table.to_batches()[0]) == expected
    assert [place_at(table, position) for position in range(4)] == expected
    assert [PicturePlace.from_pair(pair) for pair in table.to_pylist()] == expected


def test_a_cell_is_read_from_the_column_that_its_size_tells(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [b"usual", b"second"], "thumb": [b"small", b"tiny"]})
    pq.write_table(table, path)
    for column in table.column_names:
        code = parquet_code(table.schema, column)
        for row, data in enumerate(table[column].to_pylist()):
            assert read_image_bytes(PicturePlace(str(path), row, code)) == data
