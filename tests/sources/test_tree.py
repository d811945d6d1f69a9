from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfbd_core.sources import fingerprint, open_source, tree
from cfbd_core.sources.tree import Place, walk
from cfbd_core.sources.unread import ADVICE, Unread
from tests.sources.helpers import read, record, write_pictures, write_tar


def pair(folder: Path, name: str) -> None:
    write_pictures(folder, f"{name}.jpg")
    (folder / f"{name}.txt").write_text(f"about {name}")


def test_links_are_followed_after_the_folders_themselves_and_each_folder_is_read_once(tmp_path: Path) -> None:
    root = tmp_path / "set"
    pair(root, "0")
    pair(root / "real", "1")
    pair(tmp_path / "elsewhere" / "deep", "2")
    (root / "a-link").symlink_to(tmp_path / "elsewhere")
    (root / "b-link").symlink_to(tmp_path / "elsewhere")
    (root / "c-link").symlink_to(root / "real")
    (tmp_path / "elsewhere" / "back").symlink_to(root / "real")
    found = read(root)
    assert found.captions == {"0": "about 0", "real/1": "about 1", "a-link/deep/2": "about 2"}
    assert found.unread == {"folder that is linked twice": 3}
    assert found.examples["folder that is linked twice"] == ["b-link", "c-link", "a-link/back"]


def test_links_that_go_in_circles_above_or_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "set"
    pair(root / "a", "0")
    for name, target in {
        "self": root,
        "above": tmp_path,
        "top": "/",
        "proc": "/proc/self",
        "gone": "/nowhere",
        "circle": root / "circle",
    }.items():
        (root / "a" / name).symlink_to(target)
    found = read(root)
    assert found.captions == {"a/0": "about 0"}
    assert found.unread == {"link out of the data": 4, "broken link": 2}


def test_a_source_that_is_a_link_itself(tmp_path: Path) -> None:
    pair(tmp_path / "real" / "below", "0")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read(tmp_path / "link").captions == {"below/0": "about 0"}


def test_what_is_no_data_is_left_out_and_counted(tmp_path: Path) -> None:
    pair(tmp_path, "0")
    pair(tmp_path / ".hidden", "1")
    pair(tmp_path / "audit", "2")
    (tmp_path / "audit" / "audit.duckdb").touch()
    (tmp_path / "._0.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    found = read(tmp_path)
    assert found.captions == {"0": "about 0"}
    assert found.unread == {
        "hidden file": 1,
        "hidden folder": 1,
        "audit in the source": 1,
        "pipe or device": 2,
    }
    assert not found.skips


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(tmp_path, "0")
    pair(tmp_path / "closed", "1")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(tree.os, "scandir", refuse)  # as root may read all
    found = read(tmp_path)
    assert found.captions == {"0": "about 0"}
    assert found.examples == {"folder that may not be read": ["closed (Permission denied)"]}


def test_files_come_in_the_order_in_which_older_versions_numbered_pairs(tmp_path: Path) -> None:
    for name in ("b.tar", "a/c.tar", "d/a.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / name, record(name, "x"))
    (tmp_path / "0-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    found = Place(tmp_path).files(lambda name: name.endswith(".tar"))
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.tar", "a/c.tar", "d/a.tar"]


def test_all_kinds_that_are_counted_have_advice_and_examples_are_few_and_printable() -> None:
    unread = Unread()
    for number in range(10):
        unread.add("other file", f"{number}\x1b[2J" + "x" * 1000)
    unread.note("said once")
    unread.note("said once")
    told = unread.to_dict()
    (kind,) = told["kinds"]
    assert (kind["kind"], kind["count"], len(kind["examples"])) == ("other file", 10, 3)
    assert all(example.isprintable() and len(example) <= 300 for example in kind["examples"])
    assert told["notes"] == ["said once"]
    assert "other file" in ADVICE


def test_reading_again_counts_the_same(tmp_path: Path) -> None:
    pair(tmp_path, "0")
    (tmp_path / "README.md").touch()
    source = open_source(tmp_path)
    told = []
    for _ in range(2):
        assert sum(batch.pairs.num_rows for batch in source.batches()) == 1
        told.append(source.unread.to_dict())
    assert told[0] == told[1]
    assert [kind["count"] for kind in told[0]["kinds"]] == [1]


def test_the_fingerprint_follows_linked_folders(tmp_path: Path) -> None:
    pair(tmp_path / "set", "0")
    pair(tmp_path / "elsewhere", "1")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    before = fingerprint(open_source(tmp_path / "set"))
    os.utime(tmp_path / "elsewhere" / "1.txt", ns=(0, 0))
    assert fingerprint(open_source(tmp_path / "set")) != before


def test_folders_come_before_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    assert [os.path.relpath(folder.path, tmp_path) for folder in walk(tmp_path)] == [".", "a", "b", "b/c"]
