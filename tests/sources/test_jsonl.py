from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cfbd_core.errors import SourceError
from cfbd_core.sources import jsonl
from tests.sources.helpers import read, write_pictures


def lines(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def write(folder: Path, content: str | bytes, name: str = "metadata.jsonl") -> Path:
    write_pictures(folder, "0.png", "1.png", "2.png")
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_metadata_of_an_image_folder(tmp_path: Path) -> None:
    for part in ("train", "test"):
        rows = lines(
            {"file_name": "0.png", "text": f"{part} one"}, {"file_name": "1.png", "text": f"{part} two"}
        )
        write(tmp_path / part, rows)
    found = read(tmp_path)
    assert found.name == "jsonl"
    assert [row["caption"] for row in found.rows] == ["test one", "test two", "train one", "train two"]
    assert [row["key"] for row in found.rows] == [f"{n:09d}" for n in range(4)]
    assert found.rows[2]["image"] == str(tmp_path / "train" / "0.png")
    assert found.unread == {"picture in no record": 2}


def test_fields_facts_and_several_captions(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lines(
            {
                "id": 7,
                "image": "0.png",
                "captions": ["a", "", "b"],
                "poisoned": 1,
                "label": "cat",
                "width": 3,
            },
            {"id": 8, "image_path": "1.png", "caption": None, "text": "c", "alt": "d"},
        ),
    )
    found = read(path)
    assert found.captions == {"7": "a", "8": "c"}
    assert (found.rows[0]["poisoned"], found.rows[0]["label"]) == (True, "cat")
    assert found.unread == {"further caption": 1, "further caption column": 1}
    assert read(path, captions="all").captions == {"7#0": "a", "7#2": "b", "8#0": "c"}
    assert read(path, caption_col="alt", image_col="image_path").captions == {"8": "d"}


def test_lines_that_are_no_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_TEXT_BYTES", 30_000)
    good = lines({"file_name": "0.png", "text": "fine"})
    broken = [
        "{broken",
        "[1]",
        '"x"',
        "{}",
        '{"file_name": "0.png"}',
        '{"text": "x"}',
        '{"file_name": "none.png", "text": "x"}',
        '{"file_name": "/dev/zero", "text": "x"}',
        '{"file_name": ["0.png"], "text": "x"}',
        '{"file_name": "0.png", "text": " "}',
        '{"file_name": "0.png", "text": 3}',
        '{"file_name": "0.png", "text": "\\ud800"}',
        '{"file_name": "0.png", "text": "x", "n": ' + "9" * 5000 + "}",
        "[" * 25_000,
        '{"file_name": "0.png", "text": "' + "x" * 40_000 + '"}',
    ]
    path = write(tmp_path, "\ufeff" + good + "\n\r\n" + "\n".join(broken) + "\n" + good.strip())
    found = read(path)
    assert [row["caption"] for row in found.rows] == ["fine", "fine"]
    assert [row["key"] for row in found.rows] == ["000000000", f"{len(broken) + 1:09d}"]
    assert found.reasons == [
        *["unreadable json"] * 4,
        "missing caption",
        *["missing image"] * 4,
        "empty caption",
        "caption is not text",
        "not UTF-8",
        *["unreadable json"] * 2,
        "text too long",
    ]
    assert [skip.where for skip in found.skips] == [
        f"metadata.jsonl line {n + 4}" for n in range(len(broken))
    ]


def test_gzip_and_one_that_was_cut(tmp_path: Path) -> None:
    content = gzip.compress(
        lines(*({"image": "0.png", "text": f"{i * 7919 % 1000} {i}"} for i in range(3000))).encode()
    )
    assert len(read(write(tmp_path, content, "p.jsonl.gz")).rows) == 3000
    found = read(write(tmp_path, content[: len(content) // 2], "p.jsonl.gz"))
    assert 0 < len(found.rows) < 3000
    assert found.reasons == ["truncated file"]
    with pytest.raises(SourceError, match=r"p\.jsonl\.gz line 1: the file is damaged"):
        read(write(tmp_path, b"no gzip at all", "p.jsonl.gz"))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"image": "0.png", "size": 3}, "no caption column.*image, size"),
        ({"text": "x", "size": 3}, "no image column.*text, size"),
        ({"text": "x", "url": "http://x/0.png"}, "img2dataset"),
        ({"text": "x", "image": "http://x/0.png"}, "img2dataset"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, first: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read(write(tmp_path, lines(first)))
