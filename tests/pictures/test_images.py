from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.pictures import images
from cfbd_core.pictures.images import REASONS, BadImage, decode_image, picture_ending, read_image_bytes
from cfbd_core.pictures.place import PicturePlace

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    picture = decode_image(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def test_lossless_formats_come_back_exactly() -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(pixels(encode(NOISE, kind)), np.asarray(NOISE))


@pytest.mark.parametrize(
    ("picture", "kind", "expected"),
    [
        (Image.new("RGB", (8, 8), "red").quantize(), "PNG", (255, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", (254, 0, 0)),
        (Image.new("1", (8, 8), 1), "PNG", (255, 255, 255)),
        (Image.new("L", (8, 8), 77), "PNG", (77, 77, 77)),
        (Image.new("LA", (8, 8), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 255)), "PNG", (0, 0, 0)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "GIF", (255, 255, 255)),
    ],
)
def test_modes_become_rgb_over_white(picture: Image.Image, kind: str, expected: tuple[int, ...]) -> None:
    assert np.abs(pixels(encode(picture, kind)).astype(int) - expected).max() <= 1


def test_deep_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).round().reshape(16, 16)
    expected = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None], 3, axis=2)
    for data in (
        encode(Image.fromarray(ramp.astype(np.uint16))),
        encode(Image.fromarray(ramp.astype(np.int32)), "TIFF"),
        encode(Image.fromarray((ramp / 65535).astype(np.float32)), "TIFF"),
    ):
        np.testing.assert_array_equal(pixels(data), expected)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_array_equal(pixels(data)[0, 0], (255, 0, 0))


def test_exif_rotation_is_applied_and_a_broken_exif_block_is_not_fatal() -> None:
    wide = Image.new("RGB", (8, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90°
    assert decode_image(encode(wide, "JPEG", exif=exif)).size == (4, 8)
    assert decode_image(encode(wide, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")).size == (8, 4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404 not found</html>", "not an image"),
        (encode(NOISE, "JPEG")[:1500], "truncated image"),
        (encode(NOISE, "JPEG")[:-40], "truncated image"),
        (encode(NOISE, "PNG")[:4000], "truncated image"),
        (encode(NOISE, "GIF")[:4000], "truncated image"),
        (encode(NOISE, "WEBP")[:1500], "truncated image"),
        (encode(NOISE, "TIFF")[:5000], "truncated image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "corrupt image"),
        (encode(Image.new("1", (20_000, 20_000))), "decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_bad_pictures_have_a_stable_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode_image(data)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert "0x" not in caught.value.detail  # memory addresses would differ from run to run


def test_a_bomb_below_pillows_own_limit_is_refused_by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(BadImage, match="decompression bomb"):
        decode_image(encode(NOISE))


@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]), st.data())
def test_damage_anywhere_gives_a_picture_or_a_known_reason(kind: str, data: st.DataObject) -> None:
    content = bytearray(encode(NOISE.resize((16, 16)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        outcome = decode_image(bytes(content)).mode
    except BadImage as error:
        outcome = error.reason
    assert outcome in ("RGB", *REASONS)


def test_the_limit_on_pixels_keeps_a_decode_below_a_gigabyte() -> None:
    assert images.MAX_PIXELS <= 64_000_000
    with pytest.raises(BadImage, match=r"decompression bomb: 8001 × 8001 pixels, at most 64,000,000"):
        decode_image(encode(Image.new("1", (8001, 8001))))


def test_deep_grey_of_many_rows_takes_little_memory_beside_its_pixels() -> None:
    rows = np.arange(3000, dtype=np.uint16)[:, None] * 21
    deep = np.broadcast_to(rows, (3000, 1000)).copy()
    data = encode(Image.fromarray(deep), compress_level=1)
    tracemalloc.start()  # numpy's arrays count, Pillow's own 3 × 3 MB do not
    found = pixels(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found[..., 0], np.rint(deep / 257).astype(np.uint8))
    assert peak < 30e6  # one float64 copy of all alone is 24 MB, and the result is 9 MB


def test_large_pictures_come_smaller_and_ordinary_ones_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = NOISE.resize((640, 480), Image.Resampling.BICUBIC)
    jpeg, png = encode(photo, "JPEG", quality=95), encode(photo)
    assert np.array_equal(pixels(jpeg), np.asarray(Image.open(io.BytesIO(jpeg))))
    monkeypatch.setattr(images, "LARGE_PIXELS", 100_000)
    monkeypatch.setattr(images, "LEAST_SHORT_SIDE", 100)
    wanted = np.asarray(photo.resize((32, 24), Image.Resampling.BOX)).astype(float)
    for data in (jpeg, png):
        small = decode_image(data)
        assert 100 <= min(small.size) < 200
        assert small.width / small.height == pytest.approx(4 / 3, rel=0.02)
        found = np.asarray(small.resize((32, 24), Image.Resampling.BOX)).astype(float)
        assert np.abs(found - wanted).mean() < 3
    half = Image.new("RGBA", (640, 480), (255, 0, 0, 51))
    half.paste((0, 0, 255, 0), (0, 0, 640, 240))
    for picture in (half, half.quantize()):
        small = decode_image(encode(picture))
        assert small.size == (160, 120)
        assert np.abs(np.asarray(small)[[5, 110], 5].astype(int) - [[255] * 3, [255, 204, 204]]).max() <= 1
    strip = encode(Image.new("RGB", (4000, 50), "red"))
    assert decode_image(strip).size == (4000, 50)  # its short side is no more than enough


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE_PIXELS", 1000)
    running, most = [0], [0]
    as_rgb = images._as_rgb

    def watched(picture: Image.Image) -> Image.Image:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        running[0] -= 1
        return as_rgb(picture)

    monkeypatch.setattr(images, "_as_rgb", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_image, [encode(NOISE)] * 4))
        assert most == [1]
        list(pool.map(decode_image, [encode(NOISE.resize((8, 8)))] * 8))
        assert most[0] > 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_a_large_picture_is_decoded_does_not_block_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "LARGE_PIXELS", 1000)
    context = multiprocessing.get_context("fork")
    with images._large.lock:
        child = context.Process(target=decode_image, args=(encode(NOISE),))
        child.start()
        child.join(20)
        alive = child.is_alive()
        child.kill()
    assert not alive


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("AVIF", "avif"),
        ("JPEG2000", "jp2"),
        ("PPM", "ppm"),
        ("ICO", "ico"),
    ],
)
def test_every_format_is_known_by_its_first_bytes(kind: str, ending: str) -> None:
    data = encode(NOISE.resize((16, 16)), kind)
    assert picture_ending(data) == ending
    assert picture_ending(encode(NOISE.convert("L"), kind)) == ending
    assert decode_image(data).mode == "RGB"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
        b"root:x:0:0:root:/root:/bin/bash\n",
        b"BMW 320d, first owner\n" * 9,
        b"P3 is my password\n",
        b"\0" * 64,
        b"MM and II are initials",
        b"RIFF1234WAVEfmt ",
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41",
    ],
)
def test_what_is_no_picture_has_no_ending(data: bytes) -> None:
    assert picture_ending(data) is None


def test_bad_image_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(BadImage("empty file", "x.jpg")))
    assert (error.reason, error.detail, str(error)) == ("empty file", "x.jpg", "empty file: x.jpg")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"bytes")
    assert read_image_bytes(PicturePlace(str(path), None, None)) == b"bytes"
    (tmp_path / "empty.png").touch()
    for name, reason in {
        "none.png": "missing file",
        "nul\0.png": "missing file",
        "a.png/below": "missing file",
        ".": "missing file",
        "empty.png": "empty file",
    }.items():
        with pytest.raises(BadImage) as caught:
            read_image_bytes(PicturePlace(f"{tmp_path}/{name}"))
        assert caught.value.reason == reason


def test_spans_of_many_tars_from_many_threads(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.tar" for i in range(40)]  # more than are kept open
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 1000)
    jobs = [(i, offset) for offset in range(0, 900, 100) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda job: read_image_bytes(PicturePlace(str(paths[job[0]]), job[1], 100)), jobs)
        )
    assert found == [bytes([i]) * 100 for i, _ in jobs]
    with pytest.raises(BadImage, match="truncated image"):
        read_image_bytes(PicturePlace(str(paths[0]), 950, 100))
    paths[0].unlink()
    with pytest.raises(BadImage, match="missing file"):
        read_image_bytes(PicturePlace(str(paths[0]), 0, 100))


def test_a_tar_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path, new = tmp_path / "a.tar", tmp_path / "b.tar"
    path.write_bytes(b"old!")
    assert read_image_bytes(PicturePlace(str(path), 0, 4)) == b"old!"
    new.write_bytes(b"newer")
    new.replace(path)
    assert read_image_bytes(PicturePlace(str(path), 0, 5)) == b"newer"


def test_cells_of_parquet_in_any_order_from_many_threads(tmp_path: Path) -> None:
    cells = [bytes([i]) * (i + 1) for i in range(50)]
    path = tmp_path / "pictures.parquet"
    table = pa.table(
        {"n": range(50), "jpg": cells, "image": [{"bytes": c[::-1], "path": None} for c in cells]}
    )
    pq.write_table(table, path, row_group_size=7)
    order = np.random.default_rng(0).permutation(50).tolist() * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_image_bytes(PicturePlace(str(path), row, -1)), order))
    assert found == [cells[row][::-1] for row in order]  # `image` comes before `jpg`
    assert (
        read_image_bytes(PicturePlace(str(path), 30, -3)) == cells[30]
    )  # column number 1, named by the user
    for row in (50, -1):
        with pytest.raises(BadImage, match="missing file"):
            read_image_bytes(PicturePlace(str(path), row, -1))


def test_parquet_cells_that_hold_nothing_or_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": pa.array([None, b""], pa.binary())}), path)
    for row in (0, 1):
        with pytest.raises(BadImage, match="empty file"):
            read_image_bytes(PicturePlace(str(path), row, -1))
    path.write_bytes(b"no parquet at all")
    with pytest.raises(BadImage, match="unreadable file"):
        read_image_bytes(PicturePlace(str(path), 0, -1))
