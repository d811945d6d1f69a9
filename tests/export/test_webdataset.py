"""Tars as they are written: pictures that loaders leave out, the order of records, names."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfbd_core.errors import SourceError
from cfbd_core.export import export
from cfbd_core.export.webdataset import fullest_first
from cfbd_core.pictures.images import decode_image
from tests.export.made import batches, number_of, pair, picture


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}


def test_a_picture_that_loaders_leave_out_is_its_first_frame_as_the_encoder_saw_it(tmp_path):
    frames = [Image.new("RGB", (9, 7), (number * 20, 120, 90)) for number in (3, 9)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=10, loop=0)
    clear = Image.new("RGBA", (9, 7), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.tif")
    turned = Image.new("RGB", (9, 7))
    exif = turned.getexif()
    exif[0x0112] = 6  # lies on its side
    turned.save(tmp_path / "turned.TIFF", exif=exif)
    rows = [pair(name, tmp_path / name, "a text") for name in ("moving.gif", "clear.tif", "turned.TIFF")]
    record = export(batches(rows), tmp_path / "out", "webdataset", {})
    assert record["pictures"] == {
        "ending": "png",
        "formats": {"gif": 1, "tif": 2},
        "reencoded": {"gif": 1, "tif": 2},
        "renamed": {},
    }
    found = members(tmp_path / "out" / "00000.tar")
    for row in rows:
        shown = Image.open(io.BytesIO(found[f"{row['key'].replace('.', '%2E')}.png"]))
        assert shown.format == "PNG"
        np.testing.assert_array_equal(shown, decode_image(Path(row["image"]).read_bytes()))
    assert number_of(Image.open(io.BytesIO(found["moving%2Egif.png"]))) == 3


def test_pictures_that_loaders_take_are_copied_byte_by_byte(tmp_path):
    rows = []
    for kind, ending in (
        ("JPEG", "jpg"),
        ("PNG", "JPG"),
        ("WEBP", "webp"),
    ):  # an ending may be wrong, or upper case
        (tmp_path / f"{kind}.{ending}").write_bytes(picture(4, kind))
        rows.append(pair(kind, tmp_path / f"{kind}.{ending}", "a text"))
    record = export(batches(rows), tmp_path / "out", "webdataset", {})
    found = members(tmp_path / "out" / "00000.tar")
    assert {name: data for name, data in found.items() if name.endswith(".jpg")} == {
        f"{kind}.jpg": picture(4, kind) for kind in ("JPEG", "PNG", "WEBP")
    }
    assert record["pictures"]["renamed"] == {"png": 1, "webp": 1}
    assert [json.loads(found[f"{kind}.json"])["picture_format"] for kind in ("JPEG", "PNG")] == ["jpg", "png"]


def test_a_picture_that_cannot_be_decoded_is_named_and_nothing_stays(tmp_path):
    (tmp_path / "cut.gif").write_bytes(picture(4, "GIF")[:20])
    with pytest.raises(SourceError, match="key 'k': its picture cannot be decoded .*cfbd decide"):
        export(batches([pair("k", tmp_path / "cut.gif", "t")]), tmp_path / "new" / "out", "webdataset", {})
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gif"]


def test_no_number_that_json_lacks_is_written(tmp_path, picture_file):
    rows = [pair("a", picture_file, "t", z=float("nan"), consistency=float("inf"))]
    export(batches(rows), tmp_path / "out", "webdataset", {})
    facts = json.loads(members(tmp_path / "out" / "00000.tar")["a.json"])
    assert (facts["z"], facts["consistency"], facts["note"], facts["poisoned"]) == (None, None, "", None)


def test_the_record_with_the_most_values_comes_first_and_the_others_stay_in_order():
    rows = [
        {"key": key, "z": z, "consistency": z, "poisoned": None}
        for key, z in zip("abc", (None, 1.0, 2.0), strict=True)
    ]
    assert [row["key"] for row in fullest_first(rows)] == ["b", "a", "c"]
    assert fullest_first(rows[1:]) == rows[1:]
    assert fullest_first([]) == []
