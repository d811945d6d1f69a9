from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfbd_core.errors import SourceError
from cfbd_core.sources import fingerprint, open_source
from tests.sources.helpers import read, write_pictures


def test_pictures_with_texts_of_their_stem(tmp_path: Path) -> None:
    write_pictures(tmp_path, "b.jpg", "a.png", "sub/a.v2.WEBP", "sub/meta.jpg")
    (tmp_path / "b.txt").write_text("bee\n")
    (tmp_path / "a.caption").write_text("\ufeffnaïve", encoding="utf-8")
    (tmp_path / "sub/a.v2.txt").write_text("below")
    (tmp_path / "sub/meta.json").write_text('{"captions": ["m", "n"], "poisoned": 1, "label": "cat"}')
    (tmp_path / "dataset_info.json").write_text("{}")
    found = read(tmp_path)
    assert found.name == "folder"
    assert found.captions == {"a": "naïve", "b": "bee", "sub/a.v2": "below", "sub/meta": "m"}
    assert [row["key"] for row in found.rows] == ["a", "b", "sub/a.v2", "sub/meta"]
    assert found.rows[2]["image"] == str(tmp_path / "sub/a.v2.WEBP")
    assert (found.rows[3]["poisoned"], found.rows[3]["label"]) == (True, "cat")
    assert list(read(tmp_path, captions="all").captions) == [
        "a#0",
        "b#0",
        "sub/a.v2#0",
        "sub/meta#0",
        "sub/meta#1",
    ]
    assert not found.skips


def test_files_that_are_no_pairs(tmp_path: Path) -> None:
    write_pictures(tmp_path, "fine.jpg", "alone.jpg", "blank.jpg", "latin.jpg", ".hidden.jpg")
    for name, content in {
        "fine.txt": b"x",
        "blank.txt": b"\n",
        "latin.txt": "é".encode("latin-1"),
        "README.txt": b"x",
        "zero.txt": b"x",
        "zero.jpg": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
    found = read(tmp_path)
    assert found.captions == {"fine": "x"}
    assert {skip.key: skip.reason for skip in found.skips} == {
        "README": "missing image",
        "alone": "missing caption",
        "blank": "empty caption",
        "latin": "not UTF-8",
        "zero": "empty image",
    }


def test_a_file_name_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    write_pictures(tmp_path, "fine.jpg")
    (tmp_path / "fine.txt").write_text("x")
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    for ending, content in ((b".jpg", (tmp_path / "fine.jpg").read_bytes()), (b".txt", b"x")):
        with open(name + ending, "wb") as file:
            file.write(content)
    found = read(tmp_path)
    assert list(found.captions) == ["fine"]
    assert found.reasons == ["not UTF-8"]
    assert found.skips[0].where == "caf?.jpg"
    assert len(fingerprint(open_source(tmp_path))) == 64


def test_a_folder_of_pictures_without_captions_is_no_source(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match=r"no pairs found.*\.tar.*\.parquet.*\.csv"):
        read(tmp_path)
