from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from cfbd_core.pictures.images import read_image_bytes
from cfbd_core.pictures.picture import NO_PICTURE, Picture
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.pictures.thumbnails import Thumbnail, Thumbnails


@pytest.fixture
def picture(tmp_path):
    """Return a function that writes a picture of one colour: ``picture("red")`` -> the picture."""

    def make(colour: str, name: str | None = None, size: tuple[int, int] = (640, 320), **options):
        path = tmp_path / f"{name or colour}.png"
        Image.new("RGB", size, colour).save(path, **options)
        return Picture(PicturePlace(str(path)))

    return make


@pytest.fixture
def decoded(monkeypatch):
    """The pictures that were read, in order."""
    read = []

    def count(place):
        read.append(Picture(place))
        return read_image_bytes(place)

    monkeypatch.setattr("cfbd_core.pictures.picture.read_image_bytes", count)
    return read


def colour_of(thumbnail: Thumbnail) -> tuple[int, ...]:
    assert thumbnail.data is not None
    with Image.open(io.BytesIO(thumbnail.data)) as picture:
        assert picture.format == "WEBP"
        assert picture.size == thumbnail.size
        return tuple(np.asarray(picture)[2, 2].tolist())


def nearly(colour: tuple[int, ...]):
    return pytest.approx(colour, abs=4)


def test_they_come_in_order_small_and_are_made_once(tmp_path, picture, decoded):
    red, blue, tall = picture("red"), picture("blue", size=(9, 5)), picture("lime", size=(10, 2000))
    held = Thumbnails(tmp_path / "audit")
    asked = [blue, red, NO_PICTURE, blue, tall]
    found = held.get(asked)
    assert [thumbnail.size for thumbnail in found] == [(9, 5), (256, 128), None, (9, 5), (1, 256)]
    assert [colour_of(found[at]) for at in (0, 1)] == [nearly((0, 0, 255)), nearly((255, 0, 0))]
    assert [thumbnail.reason for thumbnail in found] == ["", "", "no image came with the pair", "", ""]
    assert sorted(decoded) == sorted([blue, red, tall])
    assert Thumbnails(tmp_path / "audit").get(asked) == found
    assert len(decoded) == 3
    kept = sorted(path.relative_to(held.folder).parts for path in held.folder.rglob("*.webp"))
    assert len(kept) == 3
    assert all(len(folder) == 2 for folder, _ in kept)


def test_a_file_that_was_replaced_is_drawn_anew(tmp_path, picture):
    held = Thumbnails(tmp_path)
    (before,) = held.get([picture("red", "same")])
    (after,) = held.get([picture("blue", "same", size=(641, 320))])
    assert (colour_of(before), colour_of(after)) == (nearly((255, 0, 0)), nearly((0, 0, 255)))
    again = picture("lime", "same", size=(641, 320))
    os.utime(again.file, ns=(0, time.time_ns() + 10**9))
    assert colour_of(held.get([again])[0]) == nearly((0, 255, 0))
    assert len(list(held.folder.rglob("*.webp"))) == 1


def test_a_file_that_is_gone_shows_how_it_was_and_says_so(tmp_path, picture):
    held, red, blue = Thumbnails(tmp_path), picture("red"), picture("blue")
    (seen,) = held.get([red])
    for gone in (red, blue):
        os.unlink(gone.file)
    gone, never = held.get([red, blue])
    assert (gone.reason, gone.data) == ("missing file", seen.data)
    assert (never.reason, never.data) == ("missing file", None)


def test_a_file_that_became_unreadable_no_longer_shows_the_old_picture(tmp_path, picture):
    held, red = Thumbnails(tmp_path), picture("red")
    held.get([red])
    with open(red.file, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\nnothing")
    assert held.get([red]) == [Thumbnail(None, "corrupt image")]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_no_picture_makes_it_fail(tmp_path, picture):
    good = picture("red")
    hostile = {
        "": "no image came with the pair",
        "a\0b": "missing file",
        str(tmp_path): "missing file",
        f"{good.file}/inside": "missing file",
        "../\N{SNOWMAN}": "missing file",
    }
    (tmp_path / "empty.png").touch()
    hostile[str(tmp_path / "empty.png")] = "empty file"
    (tmp_path / "text.png").write_text("no picture")
    hostile[str(tmp_path / "text.png")] = "not an image"
    whole = open(picture("blue", size=(200, 200)).file, "rb").read()  # noqa: SIM115
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    hostile[str(tmp_path / "cut.png")] = "truncated image"
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    hostile[str(tmp_path / "bomb.png")] = "decompression bomb"
    found = Thumbnails(tmp_path).get([*(Picture(PicturePlace(name)) for name in hostile), good])
    assert [thumbnail.reason for thumbnail in found] == [*hostile.values(), ""]
    assert [thumbnail.data is None for thumbnail in found] == [True] * len(hostile) + [False]


def test_nothing_of_the_files_metadata_is_served(tmp_path, picture):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    (found,) = Thumbnails(tmp_path).get([picture("red", exif=exif, icc_profile=b"profile" * 30)])
    assert found.data is not None
    assert found.data[12:16] == b"VP8 "  # the plain container: it has no room for metadata
    assert b"home" not in found.data


def test_pictures_inside_a_tar_have_thumbnails_of_their_own(tmp_path, picture):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for colour in ("red", "blue"):
            tar.add(picture(colour).file, f"{colour}.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        inside = [
            Picture(PicturePlace(str(tmp_path / "a.tar"), member.offset_data, member.size)) for member in tar
        ]
    held = Thumbnails(tmp_path)
    for _ in range(2):
        assert [colour_of(found) for found in held.get(inside)] == [
            nearly((255, 0, 0)),
            nearly((0, 0, 255)),
        ]


def test_a_copied_audit_keeps_the_thumbnails_of_its_own_pictures(tmp_path, decoded):
    (tmp_path / "a" / "source").mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a" / "source" / "red.png")
    Thumbnails(tmp_path / "a").get([Picture(PicturePlace(str(tmp_path / "a" / "source" / "red.png")))])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    (found,) = Thumbnails(tmp_path / "b").get(
        [Picture(PicturePlace(str(tmp_path / "b" / "source" / "red.png")))]
    )
    assert colour_of(found) == nearly((255, 0, 0))
    assert len(decoded) == 1


def test_a_folder_that_cannot_be_written_still_serves(tmp_path, picture, decoded):
    (tmp_path / "thumbnails").touch()  # a file in its place: not even root can write into it
    held, red = Thumbnails(tmp_path), picture("red")
    for _ in range(2):
        assert colour_of(held.get([red])[0]) == nearly((255, 0, 0))
    assert len(decoded) == 2


def test_a_thumbnail_cut_short_is_made_again(tmp_path, picture):
    held, red = Thumbnails(tmp_path), picture("red")
    before = held.get([red])
    (path,) = held.folder.rglob("*.webp")
    for length in (0, 5, len(path.read_bytes()) - 3):
        path.write_bytes(path.read_bytes()[:length])
        assert held.get([red]) == before


def test_many_threads_ask_at_once(tmp_path, picture):
    asked = [picture(colour) for colour in ("red", "blue", "lime", "white", "black")] * 3
    held, found = Thumbnails(tmp_path), []
    threads = [threading.Thread(target=lambda: found.append(held.get(asked))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(answer == found[0] for answer in found)
    assert not list(held.folder.rglob("*.part"))


def test_sixty_kept_thumbnails_read_in_a_few_milliseconds(tmp_path, picture):
    asked = [picture("red", str(number), size=(64, 64)) for number in range(60)]
    held = Thumbnails(tmp_path)
    held.get(asked)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        held.get(asked)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05  # about 1 ms on an idle machine
