from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from cfbd_core.errors import SourceError
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import PicturePlace
from tests.sources.helpers import damaged_tar, picture_bytes, read, record, write_tar


def shard(path: Path, count: int = 4, first: int = 0) -> Path:
    keys = range(first, first + count)
    return write_tar(path, [m for i in keys for m in record(f"{i:09d}", f"caption {i}", i)])


def test_records_and_the_place_of_their_pictures(tmp_path: Path) -> None:
    found = read(shard(tmp_path / "00000.tar"))
    assert found.captions == {f"{i:09d}": f"caption {i}" for i in range(4)}
    for i, row in enumerate(found.rows):
        data = read_image_bytes(PicturePlace.from_pair(row))
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
    assert next(skip.where for skip in found.skips if skip.key == "zero") == "a.tar member zero.jpg"


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
            decode_image(read_image_bytes(PicturePlace.from_pair(row)))


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
    assert decode_image(read_image_bytes(PicturePlace.from_pair(row))).size == (
        224,
        224,
    )


def test_members_of_one_record_may_stand_apart(tmp_path: Path) -> None:
    pictures = [(f"{i}.jpg", picture_bytes(i, "JPEG")) for i in range(3)]
    texts = [(f"{i}.txt", f"caption {i}".encode()) for i in range(3)]
    found = read(write_tar(tmp_path / "a.tar", pictures + texts + record("k", "together", 9)))
    assert found.captions == {"k": "together", "0": "caption 0", "1": "caption 1", "2": "caption 2"}
    for row in found.rows[1:]:
        data = read_image_bytes(PicturePlace.from_pair(row))
        assert data == picture_bytes(int(row["key"]), "JPEG")
    assert not found.skips


def test_parts_that_two_records_may_claim_belong_to_none(tmp_path: Path) -> None:
    picture, other = (("k.jpg", picture_bytes(value, "JPEG")) for value in (0, 1))
    rest = record("m", "fine")
    found = read(
        write_tar(tmp_path / "a.tar", [picture, *rest, other, ("z.jpg", b"x"), ("k.txt", b"whose?")])
    )
    assert found.captions == {"m": "fine"}
    assert sorted(found.reasons) == ["missing caption"] * 3 + ["missing image"]


def test_keys_with_dots(tmp_path: Path) -> None:
    keys = ["22.05", "22.06", "cat", "cat.2", "v1.2/a", "a.b.c"]
    found = read(
        write_tar(tmp_path / "a.tar", [m for i, key in enumerate(keys) for m in record(key, key, i)])
    )
    assert found.captions == {key: key for key in keys}
    assert not found.unread
    assert not found.skips


def test_fields_stand_for_what_a_record_lacks_unless_they_are_numbered(tmp_path: Path) -> None:
    data = picture_bytes(0, "JPEG")
    members = [("a.input.jpg", data), ("a.output.txt", b"one"), ("b.img.png", data), ("b.txt", b"two")]
    members += [
        ("c.2.jpg", data),
        ("c.txt", b"whose?"),
        ("d.jpg", data),
        ("d.seg.png", data),
        ("d.txt", b"four"),
    ]
    members += [("e.0.jpg", data), ("e.1.jpg", data), ("e.json", b'{"texts": ["x", "y"]}')]
    found = read(write_tar(tmp_path / "a.tar", members))
    assert found.captions == {"a": "one", "b": "two", "d": "four"}
    assert [(s.key, s.reason) for s in found.skips] == [("c", "missing image"), ("e", "missing image")]
    assert found.examples == {
        "further picture of a record": [
            "a.tar member c.2.jpg",
            "a.tar member d.seg.png",
            "a.tar member e.0.jpg",
        ]
    }


def test_what_a_record_does_not_need_is_counted(tmp_path: Path) -> None:
    meta = {"caption": "from txt", "alt_text": "other", "captions": ["from txt", "two", "three"]}
    members = [*record("k", "from txt")[:2], ("k.json", json.dumps(meta).encode()), ("k.png", b"x")]
    members += [("k.caption", b"c"), ("k.npy", b"x"), ("README", b"x"), ("d/._k.jpg", b"x")]
    path = write_tar(tmp_path / "a.tar", members)
    found = read(path)
    assert found.captions == {"k": "from txt"}
    assert found.unread == {
        "further caption": 2,
        "further caption column": 1,
        "further picture of a record": 1,
        "further text of a record": 1,
        "other member of a record": 1,
        "member without an ending": 1,
        "hidden file": 1,
    }
    every = read(path, captions="all")
    assert list(every.captions.values()) == ["from txt", "two", "three"]
    assert "further caption" not in every.unread


def test_tars_behind_each_other_and_what_is_none(tmp_path: Path) -> None:
    first, second = (shard(tmp_path / "part.tar", 3, first=at).read_bytes() for at in (0, 3))
    whole = tmp_path / "a.tar"
    whole.write_bytes(first + bytes(3 << 20) + second)
    found = read(whole)
    assert [row["caption"] for row in found.rows] == [f"caption {i}" for i in range(6)]
    for i, row in enumerate(found.rows):
        data = read_image_bytes(PicturePlace.from_pair(row))
        assert data == picture_bytes(i, "JPEG")
    assert not found.skips
    whole.write_bytes(first + b"junk" * 300)
    found = read(whole)
    assert (len(found.rows), found.examples) == (3, {"bytes after the end of a tar": ["a.tar: 1,200 bytes"]})
    whole.write_bytes(first + second[:-11_000])
    found = read(whole)
    assert len(found.rows) in (4, 5)
    assert "truncated tar" in found.reasons
    assert not found.unread


def test_a_hole_at_the_end_of_a_tar_is_not_read_through(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", 2)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte, of which nothing is there
    assert len(read(path).rows) == 2


def test_links_within_a_tar(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", record("0", "zero", 7)[:2])
    with tarfile.open(path, "a") as tar:
        for number, kind in enumerate((tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE), 1):
            link = tarfile.TarInfo(f"{number}.jpg")
            link.type, link.linkname = kind, "0.jpg"
            tar.addfile(link)
            text = tarfile.TarInfo(f"{number}.txt")
            text.size = 4
            tar.addfile(text, io.BytesIO(b"text"))
    found = read(path)
    assert found.captions == {"0": "zero", "1": "text"}
    assert found.rows[1]["image_offset"] == found.rows[0]["image_offset"]
    assert found.reasons == ["missing image"] * 2
    assert found.examples == {"link or device in a tar": ["a.tar member 2.jpg", "a.tar member 3.jpg"]}


def test_shards_below_and_linked_and_their_names(tmp_path: Path) -> None:
    for place in ("00000.tar", "part2/00000.tar", "../elsewhere/x.tar"):
        (tmp_path / "set" / place).parent.mkdir(parents=True, exist_ok=True)
        write_tar(tmp_path / "set" / place, record(place, place))
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    found = read(tmp_path / "set")
    assert found.shards == {
        "00000.tar": "00000",
        "part2/00000.tar": "part2/00000",
        "../elsewhere/x.tar": "link/x",
    }
