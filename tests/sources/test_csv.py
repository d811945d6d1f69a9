from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import SourceError
from cfbd_core.sources import csv_lines
from tests.sources.helpers import read, write_pictures

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


def write(folder: Path, content: str | bytes, name: str = "pairs.csv", pictures: int = 3) -> Path:
    write_pictures(folder, *(f"{i}.png" for i in range(pictures)))
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(captions=st.lists(texts, min_size=1, max_size=6), delimiter=st.sampled_from(",\t;|"))
def test_any_caption_comes_back_as_it_was_written(
    tmp_path: Path, captions: list[str], delimiter: str
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([("image", "caption"), *(("0.png", caption) for caption in captions)])
    found = read(write(tmp_path, stream.getvalue(), pictures=1))
    assert [row["caption"] for row in found.rows] == captions
    assert not found.skips


def test_columns_truth_and_absolute_paths(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "ID,FileName,Title,Poisoned,attack,target,class,extra\n"
        "a,0.png,one,1,badnets,banana,cat,x\nb,1.png,two,False,,,,\nc,2.png,three,,,,,\n",
    )
    found = read(path)
    assert [row["key"] for row in found.rows] == ["a", "b", "c"]
    assert [row["image"] for row in found.rows] == [str(tmp_path / f"{i}.png") for i in range(3)]
    assert [row["poisoned"] for row in found.rows] == [True, False, None]
    assert found.rows[0] | {"key": 0, "image": 0, "caption": 0} == {
        "key": 0,
        "image": 0,
        "image_offset": None,
        "image_size": None,
        "caption": 0,
        "label": "cat",
        "poisoned": True,
        "attack": "badnets",
        "target": "banana",
        "origin_key": None,
        "origin_caption": None,
    }


def test_open_clip_style_and_rows_without_keys(tmp_path: Path) -> None:
    found = read(write(tmp_path, "filepath\ttitle\n0.png\tone, two\n1.png\tthree\n"))
    assert found.captions == {"000000000": "one, two", "000000001": "three"}


def test_two_files_number_their_rows_on(tmp_path: Path) -> None:
    write(tmp_path, "image,caption\n0.png,one\n1.png\n", "a.csv")
    write(tmp_path, "caption\timage\ntwo\t0.png\n", "b.tsv")
    for source in (tmp_path, f"{tmp_path}/?.?sv"):
        assert read(source).captions == {"000000000": "one", "000000002": "two"}


def test_named_columns_and_image_root(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", "0.png")
    path = write(tmp_path, "image,caption,pic,words,kind\nx,y,0.png,good,7\n", pictures=0)
    root = tmp_path / "pictures"
    found = read(path, image_col="pic", caption_col="WORDS", label_col="kind", image_root=root)
    assert (found.rows[0]["caption"], found.rows[0]["label"]) == ("good", "7")
    assert found.rows[0]["image"] == str(root / "0.png")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("image,caption\n", {"caption_col": "text"}, ["'text'", "--caption-col", "image, caption"]),
        ("image,caption\n", {"image_col": "pic"}, ["'pic'", "--image-col", "image, caption"]),
        ("image,caption\n", {"label_col": "kind"}, ["'kind'", "--label-col", "image, caption"]),
        ("0.png,a dog\n1.png,a cat\n", {}, ["no caption column", "header", "0.png, a dog"]),
        ("image,caption,caption\n", {}, ["several columns", "'caption'"]),
        ("caption,size\n", {}, ["no image column", "caption, size"]),
        ("url,caption\nhttp://x/y.jpg,dog\n", {}, ["img2dataset", "'url'"]),
        ("image,caption\nhttp://x/y.jpg,dog\n", {}, ["img2dataset", "'image'"]),
        ("", {}, ["empty", "header"]),
        (b"\xff\xfei\0m", {}, ["line 1", "header"]),
    ],
)
def test_unusable_tables_are_refused_in_one_line(
    tmp_path: Path, content: str | bytes, options: dict[str, str], words: list[str]
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SourceError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "pairs.csv" in message
    assert [word for word in words if word not in message] == []


def test_rows_that_are_no_pairs_are_skipped_with_their_line(tmp_path: Path) -> None:
    long = " ".join(["word"] * 10_000)
    lines = [
        "key,image,caption,poisoned",
        'a,0.png,"two\nlines",0',
        "b,0.png,,0",
        "c,0.png, \t ,0",
        "d,none.png,x,0",
        "e,empty.png,x,0",
        "f,0.png,nul\0byte,0",
        "g,0.png,x,perhaps",
        "h,0.png,x",
        "i,0.png,x,0,0",
        ",0.png,x,0",
        "",
        f"j,0.png,{long},1",
        f"k,0.png,{'x' * (1 << 20)}y,1",
    ]
    path = write(tmp_path, "\n".join(lines))
    (tmp_path / "empty.png").touch()
    found = read(path)
    assert found.captions == {"a": "two\nlines", "j": long}
    assert sorted((s.where.split()[-1].zfill(2), s.key, s.reason) for s in found.skips) == [
        ("04", "b", "empty caption"),
        ("05", "c", "empty caption"),
        ("06", "d", "missing image"),
        ("07", "e", "empty image"),
        ("08", "f", "caption holds NUL bytes"),
        ("09", "g", "unreadable poisoned value"),
        ("10", None, "ragged row"),
        ("11", None, "ragged row"),
        ("12", None, "missing key"),
        ("15", "k", "caption too long"),
    ]
    assert all(skip.where.startswith("pairs.csv line ") for skip in found.skips)


def test_a_broken_quote_costs_its_line_only(tmp_path: Path) -> None:
    rows = [f'{i},0.png,"caption {i}"' for i in range(20)]
    rows[5] = '5,0.png,"never closed'
    rows[9] = '9,0.png,"closed" too early'
    rows[19] = '19,0.png,"never closed at the end'
    found = read(write(tmp_path, "key,image,caption\n" + "\n".join(rows) + "\n"))
    assert found.captions == {str(i): f"caption {i}" for i in range(20) if i not in (5, 9, 19)}
    assert [(s.where, s.reason) for s in found.skips] == [
        (f"pairs.csv line {i + 2}", "malformed quotes") for i in (5, 9, 19)
    ]


def test_an_unclosed_quote_before_unquoted_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "MAX_RECORD_LINES", 10)
    rows = ['0,0.png,"never closed'] + [f"{i},0.png,caption {i}" for i in range(1, 50)]
    found = read(write(tmp_path, "key,image,caption\n" + "\n".join(rows) + "\n"))
    assert len(found.rows) == 49
    assert found.reasons == ["malformed quotes"]


def test_latin_1_rows_are_skipped_and_a_latin_1_file_is_refused(tmp_path: Path) -> None:
    text = "key,image,caption\na,0.png,plain\nb,0.png,café\nc,0.png,plain too\n"
    path = write(tmp_path, text.encode("latin-1"))
    found = read(path)
    assert list(found.captions) == ["a", "c"]
    assert (found.skips[0].key, found.skips[0].reason) == ("b", "not UTF-8")
    assert found.skips[0].where == "pairs.csv line 3"
    assert "iconv" in found.skips[0].detail
    path.write_bytes(text.replace("plain", "naïve").encode("latin-1"))
    with pytest.raises(SourceError, match="3 of 3 rows are not UTF-8.*iconv"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    found = read(write(tmp_path, "image,caption\n0.png,naïve 東京 🦊\n".encode(encoding)))
    assert found.captions == {"000000000": "naïve 東京 🦊"}


def test_gzip_and_a_gzip_that_was_cut(tmp_path: Path) -> None:
    rows = "".join(f"0.png,caption number {i} of {i * 7919 % 1000}\n" for i in range(3000))
    content = gzip.compress(f"image,caption\n{rows}".encode())
    path = write(tmp_path, content, "pairs.csv.gz")
    assert len(read(path).rows) == 3000
    path.write_bytes(content[: len(content) // 2])
    found = read(path)
    assert 0 < len(found.rows) < 3000
    assert found.rows[-1]["caption"].startswith(f"caption number {len(found.rows) - 1}")
    assert found.reasons == ["truncated file"]
    path.write_bytes(content[:200] + b"\xff" * 40 + content[240:])
    with pytest.raises(SourceError, match=r"pairs.csv.gz"):
        read(path)


def test_lists_of_captions(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'key,image,captions\na,0.png,"[""one"", ""two""]"\nb,0.png,"[\'three\', ""it\'s""]"\nc,0.png,[]\n'
        'd,0.png,plain\ne,0.png,"[""x"", """", 3]"\nf,0.png,"[""x"", """"]"\n',
    )
    assert read(path).captions == {"a": "one", "b": "three", "d": "plain", "f": "x"}
    found = read(path, captions="all")
    assert found.captions == {
        "a#0": "one",
        "a#1": "two",
        "b#0": "three",
        "b#1": "it's",
        "d#0": "plain",
        "f#0": "x",
    }
    assert [(s.key, s.reason) for s in found.skips] == [
        ("c", "empty caption"),
        ("e", "unreadable captions list"),
        ("f#1", "empty caption"),
    ]


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    rows = "".join(f"{i},0.png,caption {i}\n" for i in range(9000))
    found = read(write(tmp_path, f"key,image,caption\n{rows}"))
    assert list(found.captions) == [str(i) for i in range(9000)]
