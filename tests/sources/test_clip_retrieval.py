from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core.errors import SourceError
from tests.sources.helpers import read, write_pictures


def vectors(n: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float16)


def write(folder: Path, counts: tuple[int, ...] = (3, 2), width: int = 4, flat: bool = False) -> np.ndarray:
    """Write shards as clip-retrieval does; returns all image embeddings."""
    images = []
    first = 0
    for shard, count in enumerate(counts):
        image = vectors(count, width, shard)
        images.append(image)
        metadata: dict[str, Any] = {
            "image_path": [f"{i:09d}" for i in range(first, first + count)],
            "caption": [f"caption {i}" for i in range(first, first + count)],
            "url": ["http://x"] * count,
        }
        number = f"{shard:04d}" if flat else str(shard)
        for kind, content in (("img_emb", image), ("text_emb", -image), ("metadata", metadata)):
            place = folder if flat else folder / kind
            place.mkdir(parents=True, exist_ok=True)
            if kind == "metadata":
                pq.write_table(pa.table(content), place / f"{kind}_{number}.parquet")
            else:
                np.save(place / f"{kind}_{number}.npy", content)
        first += count
    return np.concatenate(images)


@pytest.mark.parametrize("flat", [False, True])
def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path, flat: bool) -> None:
    images = write(tmp_path, (1,) * 11, flat=flat)
    found = read(tmp_path)
    assert found.name == "clip-retrieval"
    assert found.captions == {f"{i:09d}": f"caption {i}" for i in range(11)}
    assert found.image_emb is not None
    assert found.image_emb.dtype == np.float16
    np.testing.assert_array_equal(found.image_emb, images)
    np.testing.assert_array_equal(found.text_emb, -images)
    assert {row["image"] for row in found.rows} == {None}  # clip-retrieval's image_path is a key here


def test_pictures_under_image_root(tmp_path: Path) -> None:
    write(tmp_path / "emb")
    write_pictures(tmp_path / "pictures", "000000000")
    found = read(tmp_path / "emb", image_root=tmp_path / "pictures")
    assert found.rows[4]["image"] == str(tmp_path / "pictures" / "000000004")


def test_broken_rows_are_skipped(tmp_path: Path) -> None:
    images = write(tmp_path, (5,))
    broken = images.copy()
    broken[1, 0], broken[2, 3], broken[3] = np.nan, np.inf, 0
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", broken)
    found = read(tmp_path)
    np.testing.assert_array_equal(found.image_emb, images[[0, 4]])
    np.testing.assert_array_equal(found.text_emb, -images[[0, 4]])
    assert found.reasons == ["NaN in embedding", "NaN in embedding", "zero embedding"]
    assert found.skips[0].where == "metadata/metadata_0.parquet row 1"


def test_shards_that_do_not_belong_together(tmp_path: Path) -> None:
    write(tmp_path)
    image = tmp_path / "img_emb" / "img_emb_1.npy"
    for content, words in (
        (vectors(2, 6, 0), r"img_emb_0\.npy has 4, .*img_emb_1\.npy has 6"),
        (vectors(3, 4, 0), r"img_emb_1\.npy has 3 rows and .*metadata_1\.parquet has 2"),
        (np.ones((2, 4), np.int64), r"img_emb_1\.npy holds int64"),
        (np.array([[None] * 4] * 2), r"img_emb_1\.npy is not a whole \.npy"),
    ):
        np.save(image, content, allow_pickle=True)
        with pytest.raises(SourceError, match=words):
            read(tmp_path)
    image.write_bytes(image.read_bytes()[:-9])
    with pytest.raises(SourceError, match=r"img_emb_1\.npy is not a whole"):
        read(tmp_path)
    image.unlink()
    with pytest.raises(SourceError, match="has no img_emb_1.npy to go with it"):
        read(tmp_path)


def test_image_and_text_of_different_widths(tmp_path: Path) -> None:
    write(tmp_path, (2,))
    np.save(tmp_path / "text_emb" / "text_emb_0.npy", vectors(2, 3, 0))
    with pytest.raises(SourceError, match=r"img_emb_0\.npy has 4, .*text_emb_0\.npy has 3"):
        read(tmp_path)


def test_metadata_without_captions(tmp_path: Path) -> None:
    write(tmp_path, (1,))
    pq.write_table(pa.table({"image_path": ["x"]}), tmp_path / "metadata" / "metadata_0.parquet")
    with pytest.raises(SourceError, match="no caption column"):
        read(tmp_path)


def test_further_runs_come_after_the_first(tmp_path: Path) -> None:
    first = write(tmp_path, (1,) * 11)
    flat = write(tmp_path, (2, 1), flat=True)  # beside the folders of the first, and with longer numbers
    below = write(tmp_path / "again", (3,))
    found = read(tmp_path)
    np.testing.assert_array_equal(found.image_emb, np.concatenate([first, flat, below]))
    assert len(found.rows) == 17
    assert not found.unread
    (tmp_path / "again" / "text_emb" / "text_emb_0.npy").unlink()
    with pytest.raises(SourceError, match=r"again/.*has no text_emb_0\.npy"):
        read(tmp_path)


def test_embeddings_below_a_folder_of_something_else_do_not_take_its_place(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png")
    (tmp_path / "pairs.csv").write_text("image,caption\n0.png,one\n")
    write(tmp_path / "emb")
    found = read(tmp_path, format="csv")
    assert len(found.rows) == 1
    assert found.unread == {"file of another format": 2, "file of a format that is not read": 4}


def test_headers_of_arrays_that_numpy_cannot_parse(tmp_path: Path) -> None:
    write(tmp_path, (2,))
    path = tmp_path / "img_emb" / "img_emb_0.npy"
    whole = path.read_bytes()
    for old, new in (
        (b"(2,", b"(2e"),
        (b"(2,", b"{2,"),
        (b"'<f2'", b"[<f2'"),
        (b", 4)", b", '')"),
        (b"{'d", b"(((("),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(SourceError, match=r"img_emb_0\.npy"):
            read(tmp_path)
