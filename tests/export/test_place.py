"""Places where an export cannot be, and what killed exports leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cfbd_core.errors import ParameterError
from cfbd_core.export import FORMATS, export, what_is_lost
from cfbd_core.export import job as exporting
from tests.export.made import batches, pair, picture
from tests.sources.helpers import write_tar

KINDS = pytest.mark.parametrize("kind", FORMATS)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@KINDS
def test_odd_places_are_told_in_one_line_and_left_as_they_are(tmp_path, picture_file, kind):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "beside.json")
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    before = names(tmp_path)
    odd = [
        "pipe",
        "beside",
        "folder",
        "mine",
        "mine/below",
        "loop/below",
        "n" * 300,
        "n" * 250,
        "é" * 130,
        ".",
        "/",
        "/dev/null",
        "/dev/full",
        "/proc/self/x",
        os.fsdecode(b"\xff\xfe"),
        os.fsdecode(b"a/\xff/x"),
    ]
    for place in odd:
        with pytest.raises(ParameterError) as caught:
            export(batches([pair("k", picture_file, "t")]), tmp_path / place, kind, {})
        assert str(caught.value).startswith("--out ")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == before
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_file_is_in_the_way_of_the_pictures(tmp_path, picture_file):
    (tmp_path / "out.csv.images").write_text("mine")
    with pytest.raises(ParameterError, match="out.csv.images is a file, and is needed as a folder"):
        export(batches([pair("k", picture_file, "t")]), tmp_path / "out.csv", "csv", {})


@KINDS
def test_what_a_killed_export_left_is_taken_up_again(tmp_path, picture_file, kind):
    out, rows = tmp_path / "new" / "out", [pair("k", picture_file, "t")]
    script = f"""
import os
from cfbd_core.export import job
from tests.export.made import batches, pair
job.write_json = lambda path, record: os._exit(9)  # all is written beside, nothing is in its place
job.export(batches({rows!r}), __import__("pathlib").Path({str(out)!r}), {kind!r}, {{"audit": "a"}})
"""
    root = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 9
    assert len(list(out.parent.glob(".out.*.part"))) == 1
    alive = out.with_name(f".out.{os.getpid()}.1.part")  # of a process that is at work
    alive.write_text("theirs")
    (out.parent / ".other.999999999.1.part").write_text("theirs")
    export(batches(rows), out, kind, {"audit": "a"})
    assert sorted(path.name for path in out.parent.glob(".*.part")) == sorted(
        [alive.name, ".other.999999999.1.part"]
    )
    assert json.loads((out.parent / "out.json").read_text())["pairs"] == 1


@KINDS
def test_one_that_is_killed_before_its_last_step_can_be_made_again(tmp_path, picture_file, kind, monkeypatch):
    out, rows, write = tmp_path / "out", [pair("k", picture_file, "t")], exporting.write_json

    def killed(path, record):
        write(path, record)
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        export(batches(rows), out, kind, {"audit": "a"})
    monkeypatch.undo()
    assert not out.exists()
    assert export(batches(rows), out, kind, {"audit": "a"})["pairs"] == 1
    assert out.exists()


def test_what_is_read_to_know_an_export_has_an_end_and_is_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("pipe", "huge"):
        assert what_is_lost(tmp_path / name, "a") == f"would overwrite {name}.json that is no export"


def test_the_pictures_of_an_earlier_export_stay_as_they_are(tmp_path):
    first, second = picture(3, "BMP"), picture(9, "BMP")
    assert len(first) == len(second)
    places = {}
    for data in (first, second, first):
        tar = write_tar(tmp_path / "a.tar", [("k.bmp", data)])
        row = pair("k", tar, "t", image_offset=512, image_size=len(data))
        export(batches([row]), tmp_path / "out.parquet", "parquet", {})
        (places[data],) = pq.read_table(tmp_path / "out.parquet")["image"].to_pylist()
        for held, place in places.items():
            assert Path(place).read_bytes() == held
    assert len(list((tmp_path / "out.parquet.images").iterdir())) == 2


def test_two_exports_into_one_new_folder_do_not_mix(tmp_path, picture_file):
    out = tmp_path / "out"

    def slow():
        yield from batches([pair("mine", picture_file, "t")])
        theirs = batches([pair("a", picture_file, "t"), pair("b", picture_file, "t")])
        with ThreadPoolExecutor(1) as another:
            another.submit(export, theirs, out, "webdataset", {}).result()

    with pytest.raises(ParameterError, match="another export was written there meanwhile"):
        export(slow(), out, "webdataset", {})
    assert json.loads((tmp_path / "out.json").read_text())["pairs"] == 2


def test_relative_paths_are_told_by_where_links_lead(tmp_path):
    (tmp_path / "deep" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "real")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "NA").write_bytes(picture(3))
    rows = [pair("k", tmp_path / "pictures" / "NA", "t"), pair("none", None, "t")]
    for out, named in (
        (tmp_path / "link" / "out.csv", "../../pictures/NA"),
        (tmp_path / "pictures" / "out.csv", "./NA"),
    ):
        export(batches(rows), out, "csv", {}, relative_paths=True)
        lines = out.read_text().splitlines()
        assert [line.split(",")[1] for line in lines[1:]] == [f'"{named}"', ""]
        assert (Path(os.path.realpath(out.parent)) / named).is_file()
    with pytest.raises(ParameterError, match="a WebDataset holds its pictures"):
        export(batches(rows), tmp_path / "tars", "webdataset", {}, relative_paths=True)
