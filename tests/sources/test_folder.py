from __future__ import annotations

import os
import shutil
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


def test_files_of_one_stem_that_are_one_too_many(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "a.JPG", "a.png", "b.JPEG")
    for name in ("a.txt", "a.caption", "b.txt", "b.TXT"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a.json").write_text('{"caption": "a.txt", "text": "another"}')
    found = read(tmp_path)
    assert found.captions == {"a": "a.txt", "b": "b.txt"}
    assert found.rows[0]["image"] == str(tmp_path / "a.jpg")
    assert found.examples == {
        "further caption column": ["'text' of a.jpg"],
        "further picture of a record": ["a.png", "a.JPG"],
        "further text of a record": ["a.caption", "b.TXT"],
    }


def test_pictures_of_other_kinds(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.jpg")
    shutil.copy(tmp_path / "0.jpg", tmp_path / "1.jfif")
    (tmp_path / "2.heic").write_bytes(b"x")
    for name in "012":
        (tmp_path / f"{name}.txt").write_text(name)
    found = read(tmp_path)
    assert found.captions == {"0": "0", "1": "1"}
    assert [(s.key, s.reason, s.detail.split(";")[0]) for s in found.skips] == [
        ("2", "missing image", "2.heic beside it is of a kind that is not read")
    ]
    assert found.unread == {"picture of a kind that is not read": 1}


def test_a_stray_text_does_not_hide_a_table_nor_a_table_the_texts(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.jpg", "1.jpg", "2.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.jpg,a\n1.jpg,b\n2.jpg,c\n")
    (tmp_path / "0.txt").write_text("old")
    table = read(tmp_path)
    assert (table.name, [row["caption"] for row in table.rows]) == ("csv", ["a", "b", "c"])
    assert table.examples == {"text file": ["0.txt"]}
    (tmp_path / "1.txt").write_text("old")
    texts = read(tmp_path)
    assert (texts.name, texts.captions) == ("folder", {"0": "old", "1": "old"})
    assert texts.examples == {"file of another format": ["metadata.csv"]}
    assert texts.reasons == ["missing caption"]
    assert read(tmp_path, format="csv").rows == table.rows


def test_pipes_and_devices_hold_nobody_up(tmp_path: Path) -> None:
    for name in "abc":
        write_pictures(tmp_path, f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text(name)
    for name in ("b.txt", "c.jpg"):
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "b.txt")
    (tmp_path / "c.jpg").symlink_to("/dev/zero")
    found = read(tmp_path)
    assert found.captions == {"a": "a"}
    assert found.reasons == ["missing caption", "missing image"]
    assert found.unread == {"pipe or device": 2}


def test_several_folders_are_shards(tmp_path: Path) -> None:
    for name in ("set1", "set2"):
        write_pictures(tmp_path / name, "0.jpg")
        (tmp_path / name / "0.txt").write_text(name)
    found = read(f"{tmp_path}/set*")
    assert [(row["key"], row["caption"]) for row in found.rows] == [("0", "set1"), ("0", "set2")]
    assert found.shards == {"0": "set2"}
