from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cfbd_core.errors import SourceError
from tests.sources.helpers import read, write_pictures


def write(folder: Path, content: Any, name: str = "captions_val2017.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": 42, "file_name": "a.jpg", "poisoned": 1, "label": "cat"},
            {"id": 7, "file_name": "b.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "bee"},
            {"id": 2, "image_id": 42, "caption": "one"},
            {"id": 3, "image_id": 42, "caption": "two"},
        ],
    }


@pytest.mark.parametrize("place", [".", "annotations/../val2017", "images", "val2017"])
def test_images_beside_the_annotations_in_the_usual_places(tmp_path: Path, place: str) -> None:
    path = write(tmp_path / "annotations", coco())
    write_pictures(tmp_path / place, "a.jpg", "b.jpg")
    found = read(path)
    assert found.captions == {"000000000042": "one", "000000000007": "bee"}
    assert found.rows[0]["image"] == str((tmp_path / place / "a.jpg").resolve())
    assert (found.rows[0]["poisoned"], found.rows[0]["label"]) == (True, "cat")
    assert read(path, captions="all").captions == {
        "000000000042#0": "one",
        "000000000042#1": "two",
        "000000000007#0": "bee",
    }
    assert read(tmp_path).rows == found.rows


def test_image_root_and_another_caption_field(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["words"] = "named"
    path = write(tmp_path, content)
    write_pictures(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    found = read(path, image_root=tmp_path / "elsewhere", caption_col="words")
    assert found.captions == {"000000000007": "named"}
    assert found.reasons == ["missing caption"]
    with pytest.raises(SourceError, match=r"'alt'.*id, image_id, caption"):
        read(path, caption_col="alt")


def test_entries_that_are_no_pairs(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    (tmp_path / "zero.jpg").touch()
    names = {
        1: "a.jpg",
        2: "none.jpg",
        3: "a.jpg",
        4: None,
        5: "zero.jpg",
        6: "a.jpg",
        7: "a.jpg",
        "x": "a.jpg",
    }
    content = {
        "images": [{"id": key, "file_name": name} for key, name in names.items()] + [{"file_name": "a.jpg"}],
        "annotations": [{"image_id": key, "caption": f"c {key}"} for key in (1, 2, 4, 5, "x", 99)]
        + [{"image_id": 6, "caption": None}]
        + [{"image_id": 7, "caption": "x", "poisoned": flag} for flag in (0, 1)],
    }
    found = read(write(tmp_path, content))
    assert found.captions == {"000000000001": "c 1", "x": "c x"}
    assert {(skip.key or "").lstrip("0"): skip.reason for skip in found.skips} == {
        "2": "missing image",
        "3": "missing caption",
        "4": "missing image",
        "5": "empty image",
        "6": "caption is not text",
        "7": "ambiguous ground truth",
        "": "missing key",
        "99": "missing image",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no COCO captions file"),
        ({"images": []}, "no COCO captions file"),
        ({"images": [1], "annotations": []}, "no COCO captions file"),
        ({"images": [], "annotations": [{"bbox": [], "image_id": 1}]}, "bbox, image_id"),
    ],
)
def test_json_that_is_something_else(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read(write(tmp_path, content))
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(SourceError, match=r"cut\.json is not readable JSON"):
        read(tmp_path / "cut.json")


def test_further_captions_files_and_json_beside(tmp_path: Path) -> None:
    for split, caption in (("train2017", "a"), ("val2017", "b")):
        content = coco() | {"images": [{"id": 42, "file_name": "a.jpg"}]}
        content["annotations"] = [{"image_id": 42, "caption": f"{caption}{n}"} for n in range(3)]
        write(tmp_path / "annotations", content, f"captions_{split}.json")
        write_pictures(tmp_path / split, "a.jpg", "further.jpg")
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{}")
    (tmp_path / "captions_info.json").write_text('{"info": {}}')
    found = read(tmp_path)
    assert [row["caption"] for row in found.rows] == ["a0", "b0"]
    assert set(found.shards.values()) == {"annotations/captions_val2017"}
    assert found.unread == {
        "further caption": 4,
        "table without pairs": 1,
        "picture in no record": 2,
        "other file": 1,
    }
    assert len(read(tmp_path, captions="all").rows) == 6


def test_ids_of_any_kind(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    ids = [10**22, 1.5, True, 1, "x"]
    content = {
        "images": [{"id": one, "file_name": "a.jpg"} for one in ids],
        "annotations": [{"image_id": one, "caption": f"of {one}"} for one in ids],
    }
    assert read(write(tmp_path, content)).captions == {
        "10000000000000000000000": "of 10000000000000000000000",
        "1.5": "of 1.5",
        "True": "of True",
        "000000000001": "of 1",
        "x": "of x",
    }


@pytest.mark.parametrize("content", ["[" * 100_000, '{"images": [], "x": ' + "9" * 5000 + "}"])
def test_json_that_python_will_not_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "deep.json").write_text(content)
    with pytest.raises(SourceError, match=r"deep\.json is not readable JSON"):
        read(tmp_path / "deep.json")
