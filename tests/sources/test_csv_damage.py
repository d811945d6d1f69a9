"""Quotes and line breaks that belong to no field: a caption comes as it was written, or its line is skipped."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cfbd_core.sources import csv_lines
from tests.sources.helpers import Everything, read, write_pictures


def table(folder: Path, content: str | bytes, name: str = "pairs.csv") -> Everything:
    write_pictures(folder, *(f"{i}.png" for i in range(6)))
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(folder / name)


def shown(found: Everything) -> dict[str, str]:
    return {Path(row["image"]).stem: row["caption"] for row in found.rows}


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        ('image,caption\n0.png,"open\n1.png,one\n2.png,end"\n3.png,x\n', {"1": "one", "2": 'end"', "3": "x"}),
        ('caption,image\n"open, a,0.png\nend",1.png\nx,2.png\n', {"1": 'end"', "2": "x"}),
        ('caption,image\n"open,0.png\none,1.png\nend",2.png\n', {"1": "one", "2": 'end"'}),
        ('image,caption,label\n0.png,"open,dog\n1.png,b,cat\n2.png,c",cow\n', {"1": "b", "2": 'c"'}),
        ('image,caption\n0.png,"open\n1.png,one\n2.png,two", three\n3.png,x\n', {"1": "one", "3": "x"}),
    ],
)
def test_an_unclosed_quote_takes_in_no_other_row(
    tmp_path: Path, content: str, captions: dict[str, str]
) -> None:
    found = table(tmp_path, content)
    assert shown(found) == captions
    assert found.skips[0].reason == "malformed quotes"
    assert found.skips[0].where == "pairs.csv line 2"
    assert len(found.rows) + len(found.skips) == content.count("\n") - 1


def test_in_a_tsv_as_well_and_where_pictures_have_no_ending(tmp_path: Path) -> None:
    rows = ['0.png\t"open', "1.png\tone", '2.png\tend"', 'a\t"open', "b\tone", 'c\tend"']
    write_pictures(tmp_path, "a", "b", "c")
    found = table(tmp_path, "filepath\ttitle\n" + "\n".join(rows) + "\n", "pairs.tsv")
    assert shown(found) == {"1": "one", "2": 'end"', "b": "one", "c": 'end"'}
    assert found.reasons == ["malformed quotes"] * 2


def test_lines_that_may_be_rows_or_not_are_all_skipped(tmp_path: Path) -> None:
    rows = [
        '0.png,"open',
        "1.png,one",
        "nowhere.png,two",
        '2.png,end"',
        "3.png,x",
        '4.png,"see',
        'also 9.png,a"',
    ]
    rows += ['5.png,"compare', "", "with", '7.png,it"']
    found = table(tmp_path, "image,caption\n" + "\n".join(rows) + "\n")
    assert shown(found) == {"3": "x", "4": "see\nalso 9.png,a"}
    assert [int(skip.where.split()[-1]) for skip in found.skips] == [2, 3, 4, 5, 9, 11, 12]
    assert set(found.reasons) == {"malformed quotes"}


def test_captions_of_several_lines_are_no_damage(tmp_path: Path) -> None:
    captions = ["one\ntwo, three", "see 1.png, or 2.png\n\nfor more", "a\nb,c\nd,e"]
    rows = "".join(f'{i}.png,"{caption}"\n' for i, caption in enumerate(captions))
    assert shown(table(tmp_path, "image,caption\n" + rows)) == dict(zip("012", captions, strict=True))
    rows = "".join(f'"{caption}",{i}.png\n' for i, caption in enumerate(captions))
    assert shown(table(tmp_path, "caption,image\n" + rows)) == dict(zip("012", captions, strict=True))


def test_rows_are_numbered_as_when_all_that_a_quote_took_in_was_one_row(tmp_path: Path) -> None:
    found = table(
        tmp_path, 'image,caption\n0.png,"open\n1.png,one\n2.png,end"\n3.png,x\n4.png,bare\rcr\n5.png,y\n'
    )
    assert found.captions == {
        "000000000~2": "one",
        "000000000~3": 'end"',
        "000000001": "x",
        "000000002": "bare\rcr",  # whose second half was a row of its own
        "000000004": "y",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_carriage_return_alone_ends_no_line_where_lines_end_otherwise(tmp_path: Path, end: str) -> None:
    rows = ["0.png,water to 3 floor\rbuilding", '1.png,"quoted\rtoo"', "2.png,x\r", "3.png,last\rhalf"]
    found = table(tmp_path, end.join(["image,caption", *rows]).encode())
    assert shown(found) == {
        "0": "water to 3 floor\rbuilding",
        "1": "quoted\rtoo",
        "2": "x",
        "3": "last\rhalf",
    }
    assert not found.skips


def test_a_carriage_return_between_columns_is_a_skip(tmp_path: Path) -> None:
    found = table(tmp_path, b"caption,image\nhalf,\rother,0.png\na,1.png\rb,2.png\nx,3.png\n")
    assert shown(found) == {"3": "x"}
    assert [(s.where, s.reason) for s in found.skips] == [
        ("pairs.csv line 2", "line break in a field"),
        *[("pairs.csv line 3", "line break in a field")] * 2,  # two rows, by the look of them
    ]


def test_old_mac_files_utf_16_and_gzip_keep_their_breaks_too(tmp_path: Path) -> None:
    found = table(tmp_path, b'image,caption\r0.png,mac\r1.png,"a\nb"\r2.png,x\r')
    assert shown(found) == {"0": "mac", "1": "a\nb", "2": "x"}
    text = "image,caption\n0.png,naïve\rone\n1.png,x\n"
    for name, content in (("w.csv", text.encode("utf-16")), ("g.csv.gz", gzip.compress(text.encode()))):
        assert shown(table(tmp_path, content, name)) == {"0": "naïve\rone", "1": "x"}


def test_spaces_that_belong_to_the_form(tmp_path: Path) -> None:
    spaced = 'image, caption\n0.png, "a dog"\n1.png, "say ""hi"", now"\n2.png, plain\n'
    assert shown(table(tmp_path, spaced)) == {"0": "a dog", "1": 'say "hi", now', "2": "plain"}
    quoted = '"image", "caption"\n"0.png", "a ""b"" c"\n'
    assert shown(table(tmp_path, quoted)) == {"0": 'a "b" c'}
    some = 'image,caption\n0.png, "one, two"\n1.png," kept"\n2.png, "a" and "b"\n'
    assert shown(table(tmp_path, some)) == {"0": "one, two", "1": " kept", "2": ' "a" and "b"'}


def test_a_line_without_end_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "MAX_RECORD_CHARS", 1000)
    long = "x" * 4321
    found = table(
        tmp_path, f'image,caption\n0.png,{long}\n1.png,a\n2.png,"open\n3.png,{long}\n4.png,b\n5.png,{long}'
    )
    assert shown(found) == {"1": "a", "4": "b"}
    assert [(s.where[-1], s.reason) for s in found.skips] == [
        ("2", "record too long"),
        ("4", "record too long"),
        ("5", "record too long"),
        ("7", "record too long"),
    ]


def test_lists_written_as_text_in_any_caption_column(tmp_path: Path) -> None:
    lists = 'image,caption\n0.png,"[\'a dog\', \'two\']"\n1.png,"[""a cat""]"\n2.png,\n3.png,later\n'
    found = table(tmp_path, lists)
    assert shown(found) == {"0": "a dog", "1": "a cat", "3": "later"}
    assert found.unread == {"further caption": 1}
    assert len(read(tmp_path / "pairs.csv", captions="all").rows) == 4
    plain = "image,caption\n0.png,[dog] on a wall\n1.png,\"['a']\"\n"
    assert shown(table(tmp_path, plain)) == {"0": "[dog] on a wall", "1": "['a']"}


def test_a_list_without_commas_is_not_joined(tmp_path: Path) -> None:
    found = table(tmp_path, "image,captions\n0.png,\"['a dog' 'two dogs']\"\n1.png,\"['a cat']\"\n")
    assert shown(found) == {"1": "a cat"}  # Python would read 'a dogtwo dogs'
    assert found.reasons == ["unreadable captions list"]


def test_captions_txt_and_flickr8k_tokens(tmp_path: Path) -> None:
    write_pictures(tmp_path / "Images", "1.jpg", "2.jpg")
    (tmp_path / "captions.txt").write_text("image,caption\n1.jpg,one\n1.jpg,two\n2.jpg,three\n")
    for source in (tmp_path, tmp_path / "captions.txt"):
        found = read(source)
        assert found.name == "csv"
        assert [row["caption"] for row in found.rows] == ["one", "two", "three"]
        assert found.told["notes"] == [
            f"pictures are read from {tmp_path / 'Images'}; --image-root names another folder"
        ]
    (tmp_path / "captions.txt").unlink()
    tokens = tmp_path / "Flickr8k.token.txt"
    tokens.write_text('1.jpg#0\tA child "in" pink\n1.jpg#1\tA girl\n2.jpg#0\t"x\n')
    assert [row["caption"] for row in read(tmp_path).rows] == ['A child "in" pink', "A girl", '"x']
    tokens.rename(tmp_path / "any.txt")
    assert len(read(tmp_path / "any.txt").rows) == 3


def test_which_columns_are_read_and_which_could_be(tmp_path: Path) -> None:
    found = table(tmp_path, "path,filename,title,caption,alt\nx.png,0.png,t,c,a\n")
    assert shown(found) == {"0": "c"}
    assert found.examples == {
        "further caption column": [
            "'title' of pairs.csv, which is read from 'caption'",
            "'alt' of pairs.csv, which is read from 'caption'",
        ],
        "further image column": ["'path' of pairs.csv, which is read from 'filename'"],
    }
    (tmp_path / "q.csv").write_text("image,text\n1.png,other\n")
    assert read(tmp_path).told["notes"] == [
        "the caption is read from different columns: 'caption' in pairs.csv, 'text' in q.csv; "
        "--caption-col names one for all files",
        "the image is read from different columns: 'filename' in pairs.csv, 'image' in q.csv; "
        "--image-col names one for all files",
    ]


def test_paths_that_no_file_can_have(tmp_path: Path) -> None:
    names = ["n" * 300 + ".png", "a\0b.png", "p" * 100_000, "/dev/zero", "1.png"]
    found = table(tmp_path, "image,caption\n" + "".join(f"{name},x\n" for name in names))
    assert list(shown(found)) == ["1"]
    assert found.reasons == ["missing image"] * 4
    assert all(len(skip.detail) < 3000 for skip in found.skips)


@pytest.mark.parametrize(
    "names", [("0", "91", "92"), ("IMG 0.png", "IMG 8.png", "IMG 9.png"), ("a_0", "b_8", "c_9")]
)
def test_a_melted_record_whose_pictures_are_not_there_is_told_by_how_they_are_called(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    first, second, third = names
    content = f'image,caption\n{first},"hello\n{second},bye\n{third},ok"\nfine.png,fine\n'
    write_pictures(tmp_path, "0.png")
    (tmp_path / "0.png").rename(tmp_path / first)
    found = table(tmp_path, content.encode())
    assert shown(found) == {}
    assert [skip.reason for skip in found.skips] == ["malformed quotes"] * 3 + ["missing image"]


def test_a_file_whose_lines_end_in_different_ways_has_a_skip_a_row(tmp_path: Path) -> None:
    found = table(tmp_path, b"image,caption\r0.png,hello\n1.png,hi\n2.png,yo\n")
    assert [skip.reason for skip in found.skips] == ["line break in a field"] * 3
