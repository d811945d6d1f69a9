from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cfbd_core.errors import SourceError
from cfbd_core.images import decode_image, read_image_bytes
from tests.sources.helpers import damaged_tar, picture_bytes, read, record, write_tar


def shard(path: Path, count: int = 4, first: int = 0) -> Path:
    keys = range(first, first + count)
    return write_tar(path, [m for i in keys for m in record(f"{i:09d}", f"caption {i}", i)])


def test_records_and_the_place_of_their_pictures(tmp_path: Path) -> None:
    found = read(shard(tmp_path / "00000.tar"))
    assert found.captions == {f"{i:09d}": f"caption {i}" for i in range(4)}
    for i, row in enumerate(found.rows):
        data = read_image_bytes(row["image"], row["image_offset"], row["image_size"])
        assert data == picture_bytes(i, "JPEG")


def test_folder_file_and_glob_read_the_same(tmp_path: Path) -> None:
    shard(tmp_path / "00000.tar")
    shard(tmp_path / "00001.tar", first=4)
    (tmp_path / "00000.parquet").touch()  # an img2dataset folder also holds tables and statistics
    (tmp_path / "00000_stats.json").write_text("{}")
    whole = read(tmp_path)
    assert len(whole.rows) == 8
    assert read(f"{tmp_path}/*.tar").rows == whole.rows
    assert read(tmp_path / "00001.tar").rows == whole.rows[4:]


def test_json_gives_captions_label_and_truth_but_not_the_key(tmp_path: Path) -> None:
    meta = {"captions": ["one", "two"], "label": 3, "poisoned": True, "attack": "badnets", "target": "banana"}
    path = write_tar(
        tmp_path / "a.tar", record("x/k", "from txt", **meta) + record("x/l", "plain", poisoned=0)
    )
    first = read(path)
    assert first.captions == {"x/k": "from txt", "x/l": "plain"}
    assert [row["poisoned"] for row in first.rows] == [True, False]
    assert (first.rows[0]["label"], first.rows[0]["attack"], first.rows[0]["target"]) == (
        "3",
        "badnets",
        "banana",
    )
    assert read(path, captions="all").captions == {"x/k#0": "one", "x/k#1": "two", "x/l#0": "plain"}


def test_json_alone_can_hold_the_caption_and_options_name_fields(tmp_path: Path) -> None:
    members = [
        ("./a.png", picture_bytes()),
        ("./a.JSON", json.dumps({"TEXT": "one", "alt": "two", "kind": "cat"}).encode()),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    assert read(path).captions == {"a": "one"}
    named = read(path, caption_col="alt", label_col="kind", image_col=".png")
    assert (named.rows[0]["caption"], named.rows[0]["label"]) == ("two", "cat")
    for option in ("caption_col", "label_col"):
        with pytest.raises(SourceError, match=r"'words'.*TEXT, alt, kind"):
            read(path, **{option: "words"})


def test_records_that_are_no_pairs(tmp_path: Path) -> None:
    picture = ("jpg", picture_bytes(0, "JPEG"))
    records: dict[str, list[tuple[str, bytes]]] = {
        "no_image": [("txt", b"x")],
        "zero": [("jpg", b""), ("txt", b"x")],
        "no_text": [picture],
        "blank": [picture, ("txt", b" \n")],
        "latin": [picture, ("txt", "café".encode("latin-1"))],
        "nul": [picture, ("txt", b"a\0b")],
        "broken": [picture, ("txt", b"x"), ("json", b"{")],
        "list": [picture, ("json", b"[]")],
        "number": [picture, ("json", b'{"caption": 7}')],
        "surrogate": [picture, ("json", b'{"caption": "\\ud800"}')],
        "truth": [picture, ("txt", b"x"), ("json", b'{"poisoned": [1]}')],
        "huge": [picture, ("txt", b"x" * (1 << 25))],
        "fine": [picture, ("txt", "\ufeffnaïve \n".encode())],
    }
    members = [(f"{key}.{end}", content) for key, parts in records.items() for end, content in parts]
    found = read(write_tar(tmp_path / "a.tar", [("README", b"no ending"), *members]))
    assert found.captions == {"fine": "naïve"}
    assert {skip.key: skip.reason for skip in found.skips} == {
        "no_image": "missing image",
        "zero": "empty image",
        "no_text": "missing caption",
        "blank": "empty caption",
        "latin": "not UTF-8",
        "nul": "caption holds NUL bytes",
        "broken": "unreadable json",
        "list": "unreadable json",
        "number": "caption is not text",
        "surrogate": "not UTF-8",
        "truth": "unreadable poisoned value",
        "huge": "text too long",
    }
    assert found.skips[1].where == "a.tar member zero.jpg"


def test_a_tar_cut_anywhere_gives_its_whole_records_and_says_so(tmp_path: Path) -> None:
    content = shard(tmp_path / "whole.tar").read_bytes()
    starts = [row["image_offset"] - 512 for row in read(tmp_path / "whole.tar").rows]
    path = tmp_path / "cut.tar"
    for cut in range(0, starts[-1] + 2000, 256):
        path.write_bytes(content[:cut])
        found = read(path)
        whole = sum(start <= cut for start in starts[1:])  # the records that end before the cut
        assert [row["caption"] for row in found.rows][:whole] == [f"caption {i}" for i in range(whole)]
        assert len(found.rows) <= whole + 1  # the record at the cut may have lost its padding only
        first_is_cut = {"missing caption"} if cut < starts[1] else set()  # nothing to compare it with
        assert {"truncated tar"} <= set(found.reasons) <= {"truncated tar"} | first_is_cut
        for row in found.rows:
            decode_image(read_image_bytes(row["image"], row["image_offset"], row["image_size"]))


def test_a_record_at_the_cut_is_named(tmp_path: Path) -> None:
    content = shard(tmp_path / "whole.tar").read_bytes()
    offset = read(tmp_path / "whole.tar").rows[2]["image_offset"]
    (tmp_path / "cut.tar").write_bytes(content[: offset + 1024])  # the third picture, without its text
    found = read(tmp_path / "cut.tar")
    assert len(found.rows) == 2
    assert [skip.key for skip in found.skips] == [None, "000000002"]
    assert found.skips[1].detail == "the record lacks its json, txt"


def test_a_cut_shard_does_not_stop_the_next(tmp_path: Path) -> None:
    content = shard(tmp_path / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(content[:3000])
    shard(tmp_path / "00001.tar", first=4)
    found = read(tmp_path)
    assert {f"caption {i}" for i in range(4, 8)} <= set(found.captions.values())
    assert "truncated tar" in found.reasons


def test_what_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>" * 1000)
    assert read(tmp_path / "a.tar").reasons == ["damaged tar"]
    content = shard(tmp_path / "b.tar").read_bytes()
    offset = read(tmp_path / "b.tar").rows[1]["image_offset"]
    (tmp_path / "b.tar").write_bytes(content[: offset - 512] + b"\xff" * 512 + content[offset:])
    found = read(tmp_path / "b.tar")
    assert (len(found.rows), found.reasons) == (1, ["damaged tar"])
    (tmp_path / "c.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(SourceError, match="gunzip"):
        read(tmp_path / "c.tar.gz")


@pytest.mark.parametrize("damage", ["member", "folder", "pax", "negative name", "long name"])
def test_a_size_that_leads_nowhere_ends_the_tar(tmp_path: Path, damage: str) -> None:
    found = read(damaged_tar(tmp_path / "a.tar", damage))
    assert found.captions == {"good": "fine"}
    assert found.reasons == ["damaged tar"]


def test_an_escaped_key_is_read_back_where_the_json_says_so(tmp_path: Path) -> None:
    names = {"a%2Eb": "a.b", "a%2Fb": "a/b", "100%25": "100%", "x%2Ey": "another"}
    members = [
        (name, json.dumps({"key": key}).encode() if name.endswith(".json") else data)
        for stem, key in names.items()
        for name, data in record(stem, f"about {key}")
    ]
    found = read(write_tar(tmp_path / "a.tar", members))
    assert found.captions == {
        "a.b": "about a.b",
        "a/b": "about a/b",
        "100%": "about 100%",
        "x%2Ey": "about another",
    }


def test_a_key_twice_in_a_row_gives_two_records(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", record("k", "one") + record("k", "two"))
    assert [row["caption"] for row in read(path).rows] == ["one", "two"]


def test_flickr8k_first_shard(shared_data: Path) -> None:
    path = shared_data / "flickr8k" / "00000.tar"
    first = read(path)
    every = read(path, captions="all")
    assert (len(first.rows), len(every.rows)) == (1000, 5000)
    assert not first.skips + every.skips
    assert first.rows[0]["key"] == "000000000"
    assert [row["key"] for row in every.rows[:5]] == [f"000000000#{i}" for i in range(5)]
    assert every.rows[0]["caption"] == first.rows[0]["caption"]
    assert {row["key"].split("#")[1] for row in every.rows} == set("01234")
    row = every.rows[-1]
    assert decode_image(read_image_bytes(row["image"], row["image_offset"], row["image_size"])).size == (
        224,
        224,
    )
