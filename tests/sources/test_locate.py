from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cfbd_core.errors import SourceError
from cfbd_core.sources import open_source
from cfbd_core.sources.locate import glob_matches, locate, patterns
from tests.sources.helpers import read, record, write_tar


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(3):
        write_tar(tmp_path / f"{number:05d}.tar", record(f"k{number}", f"caption {number}"))
    return tmp_path


def test_braces_and_colons_name_several_files_each_once(shards: Path) -> None:
    captions = read(f"{shards}/{{00000..00002}}.tar").captions
    assert captions == {f"k{n}": f"caption {n}" for n in range(3)}
    assert read(f"{shards}/{{00000,00002}}.tar").captions.keys() == {"k0", "k2"}
    assert read(f"{shards}/00002.tar::{shards}/*1.tar").captions.keys() == {"k1", "k2"}
    found = read(f"{shards}/00000.tar::{shards}/*.tar::{shards}/00000.tar")
    assert [row["key"] for row in found.rows] == ["k0", "k1", "k2"]
    assert read(f"{shards}::{shards}/00001.tar").captions == captions  # a file of a folder that is named, too


def test_a_file_that_braces_name_and_that_is_not_there_is_a_skip(shards: Path) -> None:
    found = read(f"{shards}/{{00001..00004}}.tar")
    assert found.captions.keys() == {"k1", "k2"}
    assert [(s.reason, s.where) for s in found.skips] == [
        ("missing file", str(shards / "00003.tar")),
        ("missing file", str(shards / "00004.tar")),
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{7..9}.tar", "none of the 3 files"),
        ("{0.tar", "braces are not closed"),
        ("{0..99999999999999}.tar", "more than 1,000,000 files"),
        ("{0..99999999999999999999999}.tar", "more than 1,000,000 files"),
        ("{0..999999}{0..999999}.tar", "more than 1,000,000 files"),
        ("00000.tar::nowhere.tar", "nowhere.tar: no such file"),
        ("", "empty name"),
        (" ", "empty name"),
        ("~nobody-of-this-name/x", "no such file"),
        ("n" * 300, "no such file"),
        ("d" * 200 + "/" + "e" * 5000, "no such file"),
        ("a\0b", "no such file"),
    ],
)
def test_what_names_nothing_is_refused_in_one_line(
    shards: Path, source: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)


def test_a_name_with_braces_or_colons_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("{0..1}.tar", "a::b.tar"):
        write_tar(tmp_path / name, record("k", name))
        assert read(tmp_path / name).captions == {"k": name}
        assert patterns(str(tmp_path / name)) == [str(tmp_path / name)]


def test_pipes_devices_and_sockets_are_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "zero.tar").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for place in (tmp_path / "p.csv", tmp_path / "zero.tar", tmp_path / "s", "/dev/null"):
            for form in ("auto", "csv"):
                with pytest.raises(SourceError, match="pipe or a device"):
                    read(place, format=form)


def test_two_stars_go_through_each_folder_once_whatever_links_there_are(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for link in ("x", "y"):
        (deep / link).symlink_to(tmp_path)
    for place in (tmp_path / "0.tar", deep / "1.tar", tmp_path / "a" / "2.txt"):
        place.touch()
    assert glob_matches(f"{tmp_path}/**/*.tar") == [str(tmp_path / "0.tar"), str(deep / "1.tar")]
    assert glob_matches(f"{tmp_path}/**/b/*") == [str(deep / "1.tar")]
    assert glob_matches(f"{tmp_path}/**/b") == [str(deep)]
    assert locate(f"{tmp_path}/**").paths == [tmp_path]
    assert glob_matches(str(tmp_path)) == []
