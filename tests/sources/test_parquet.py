from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core.errors import SourceError
from cfbd_core.pictures.images import read_image_bytes
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.sources import parquet_bounds
from tests.sources.helpers import picture_bytes, read, write_pictures


def write(path: Path, row_group_size: int | None = None, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def vectors(n: int, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_paths_truth_and_types_of_columns(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png", "1.png")
    path = write(
        tmp_path / "pairs.parquet",
        id=[5, 6, 7],
        image_path=pa.array(["0.png", "1.png", "none.png"]).dictionary_encode(),
        TEXT=pa.array(["one", "two", "three"], pa.large_string()),
        poisoned=pa.array([1.0, None, 0.0]),
        class_name=pa.array(["cat", None, ""]),
    )
    found = read(path)
    assert found.captions == {"5": "one", "6": "two"}
    assert found.rows[0]["image"] == str(tmp_path / "0.png")
    assert [(row["poisoned"], row["label"]) for row in found.rows] == [(True, "cat"), (None, None)]
    assert [(s.key, s.where, s.reason) for s in found.skips] == [
        ("7", "pairs.parquet row 2", "missing image")
    ]


def test_shards_number_their_rows_on_and_batches_stay_small(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png")
    for shard in range(2):
        captions = [f"caption {shard} {i}" for i in range(9000)]
        write(tmp_path / f"{shard}.parquet", 500, image=["0.png"] * 9000, caption=captions)
    found = read(tmp_path)
    assert [row["key"] for row in found.rows] == [f"{i:09d}" for i in range(18_000)]
    assert found.rows[9001]["caption"] == "caption 1 1"


@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct"])
@pytest.mark.parametrize("rows_with_nothing", [(), (3, 8)])
def test_pictures_inside(tmp_path: Path, kind: str, rows_with_nothing: tuple[int, ...]) -> None:
    cells = [None if i in rows_with_nothing else picture_bytes(i) for i in range(10)]
    columns: dict[str, Any] = {"key": [f"k{i}" for i in range(10)], "caption": [f"c{i}" for i in range(10)]}
    if kind == "struct":
        columns["image"] = [{"bytes": cell, "path": f"{i}.png"} for i, cell in enumerate(cells)]
        write_pictures(tmp_path, *(f"{i}.png" for i in rows_with_nothing[:1]))
    else:
        columns |= {"url": ["http://x"] * 10, "jpg": pa.array(cells, getattr(pa, kind)())}
    found = read(write(tmp_path / "a.parquet", 4, **columns))
    for row in found.rows:
        data = read_image_bytes(PicturePlace.from_pair(row))
        number = int(row["key"][1:])
        assert data == (cells[number] or picture_bytes(0))  # the struct's path leads to a file
    outside = rows_with_nothing[1:] if kind == "struct" else rows_with_nothing
    assert [(s.key, s.reason) for s in found.skips] == [(f"k{i}", "missing image") for i in outside]
    assert len(found.rows) == 10 - len(outside)


def test_a_named_column_of_pictures(tmp_path: Path) -> None:
    cells = {name: [picture_bytes(value)] for name, value in (("image", 1), ("thumb", 2))}
    path = write(tmp_path / "a.parquet", caption=["c"], **cells)
    for name, value in ((None, 1), ("image", 1), ("thumb", 2)):
        row = read(path, image_col=name).rows[0]
        assert read_image_bytes(PicturePlace.from_pair(row)) == picture_bytes(value)
    assert read(path).rows[0]["image_size"] == -1


def test_lists_of_captions(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png")
    captions = [["a", "b"], [], None, ["c", " "], ["d"] * 5]
    columns = {"key": list("vwxyz"), "image": ["0.png"] * 5}
    path = write(tmp_path / "a.parquet", **columns, captions=captions)
    first = read(path)
    assert first.captions == {"v": "a", "y": "c", "z": "d"}
    assert [(s.key, s.reason) for s in first.skips] == [("w", "empty caption"), ("x", "empty caption")]
    every = read(path, captions="all")
    assert list(every.captions) == ["v#0", "v#1", "y#0", *(f"z#{i}" for i in range(5))]
    assert [s.key for s in every.skips] == ["w", "x", "y#1"]
    both = write(tmp_path / "b.parquet", **columns, captions=captions, caption=list("ABCDE"))
    assert read(both).captions["v"] == "A"
    assert read(both, captions="all").captions["v#0"] == "a"


def test_text_that_is_not_utf8_and_other_rows_that_are_no_pairs(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png")
    captions = [b"fine", "caf\xe9".encode("latin-1"), b"a\0b", b" ", None]
    raw = pa.array(captions, pa.binary())
    large = raw.cast(pa.large_binary())
    columns = [
        raw,
        large,
        pa.Array.from_buffers(pa.string(), 5, raw.buffers()),
        pa.Array.from_buffers(pa.large_string(), 5, large.buffers()),
    ]
    for number, column in enumerate(columns):
        path = write(tmp_path / f"{number}.parquet", image=["0.png"] * 5, caption=column, key=list("abcde"))
        found = read(path)
        assert found.captions == {"a": "fine"}
        assert [(s.key, s.reason) for s in found.skips] == [
            ("b", "not UTF-8"),
            ("c", "caption holds NUL bytes"),
            ("d", "empty caption"),
            ("e", "empty caption"),
        ]


def test_ready_embeddings(tmp_path: Path) -> None:
    image, text = vectors(6), vectors(6, seed=1)
    broken = image.copy()
    broken[1, 2], broken[2, 0], broken[3] = np.nan, -np.inf, 0
    lists: list[Any] = broken.tolist()
    lists[4] = None
    path = write(
        tmp_path / "a.parquet",
        key=list("abcdef"),
        caption=list("uvwxyz"),
        image_path=["x.jpg"] * 6,
        image_embedding=lists,
        TEXT_EMBEDDING=text.tolist(),
    )
    found = read(path)
    assert list(found.captions) == ["a", "f"]
    np.testing.assert_array_equal(found.image_emb, image[[0, 5]])
    np.testing.assert_array_equal(found.text_emb, text[[0, 5]])
    assert [(s.key, s.reason) for s in found.skips] == [
        ("b", "NaN in embedding"),
        ("c", "NaN in embedding"),
        ("d", "zero embedding"),
        ("e", "missing embedding"),
    ]
    assert [row["image"] for row in found.rows] == [None, None]  # no such file here
    write_pictures(tmp_path, "x.jpg")
    assert read(path).rows[0]["image"] == str(tmp_path / "x.jpg")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_ready_embeddings_out_of_range(tmp_path: Path) -> None:
    values = [[1e30, 1.0], [3e38, 3e38], [1e-35, 0.0], [1e300, 0.0], [0.6, 0.8]]
    path = write(
        tmp_path / "a.parquet",
        key=list("abcde"),
        caption=list("vwxyz"),
        image_embedding=values,
        text_embedding=[[1.0, 0.0]] * 5,
    )
    found = read(path)
    assert list(found.captions) == ["a", "e"]
    assert [(s.key, s.reason) for s in found.skips] == [
        ("b", "embedding out of range"),
        ("c", "embedding out of range"),
        ("d", "NaN in embedding"),
    ]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_ready_embeddings_of_fixed_size(tmp_path: Path, dtype: type) -> None:
    values = vectors(5).astype(dtype)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 4)
    path = write(tmp_path / "a.parquet", caption=list("abcde"), img_emb=fixed, text_emb=fixed)
    found = read(path)
    assert found.image_emb is not None
    assert found.image_emb.dtype == (np.float16 if dtype == np.float16 else np.float32)
    np.testing.assert_array_equal(found.image_emb, values.astype(np.float32))


def test_embeddings_of_different_widths_are_refused(tmp_path: Path) -> None:
    def shard(name: str, width: int, text_width: int = 4) -> None:
        columns = {"image_embedding": vectors(3, width), "text_embedding": vectors(3, text_width)}
        write(tmp_path / name, caption=list("abc"), **{k: v.tolist() for k, v in columns.items()})

    shard("0.parquet", 4)
    shard("1.parquet", 6)
    with pytest.raises(SourceError, match=r"0\.parquet.* has 4.*1\.parquet.* has 6"):
        read(tmp_path)
    write(tmp_path / "1.parquet", caption=["a"], image=["x"])
    with pytest.raises(SourceError, match=r"0\.parquet and .*1\.parquet"):
        read(tmp_path)
    ragged = [[1.0, 2.0], [1.0]]
    path = write(tmp_path / "2.parquet", caption=["a", "b"], image_embedding=ragged, text_embedding=ragged)
    with pytest.raises(SourceError, match="row 1 has 1"):
        read(path)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"caption": ["a"], "image": ["x"]}, {"caption_col": "alt"}, "'alt'.*caption, image"),
        ({"caption": [1], "image": ["x"]}, {}, "'caption' holds int64"),
        ({"caption": ["a"], "image": [[1]]}, {}, "'image' holds list"),
        ({"caption": ["a"], "url": ["http://x"]}, {}, "img2dataset"),
        ({"caption": ["a"], "image": ["http://x"]}, {}, "img2dataset"),
        ({"image": ["a"]}, {}, "no caption column"),
        ({"caption": ["a"], "size": [1]}, {}, "no image column"),
    ],
)
def test_unusable_tables_are_refused(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, str], words: str
) -> None:
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(SourceError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], ["c"]], names=["caption", "caption", "image"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="several columns named 'caption'"):
        read(tmp_path)


def test_a_parquet_that_was_cut_or_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", image=["0.png"] * 9999, caption=[f"{i * 7919}" for i in range(9999)])
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(SourceError, match=r"a\.parquet is not a whole Parquet file"):
        read(path)
    path.write_bytes(content[:2000] + bytes(20_000) + content[22_000:])
    with pytest.raises(SourceError, match=r"a\.parquet is damaged"):
        read(path)


def test_files_below_linked_and_of_other_columns(tmp_path: Path) -> None:
    cells = [picture_bytes(value) for value in range(6)]
    root = tmp_path / "set"
    write(root / "a.parquet", image=cells[:1], text=["a"], caption=["made a"])
    write(root / "more" / "b.parquet", image=cells[1:2], text=["b"])
    write(tmp_path / "elsewhere" / "c.parquet", image=[{"bytes": cells[2], "path": None}], text=[b"c"])
    (root / "link").symlink_to(tmp_path / "elsewhere")
    write(root / "sizes.parquet", key=["a"], width=[3])
    found = read(root)
    assert [row["caption"] for row in found.rows] == ["made a", "b", "c"]
    for row, data in zip(found.rows, cells, strict=False):
        assert read_image_bytes(PicturePlace.from_pair(row)) == data
    assert found.examples == {
        "further caption column": ["'text' of a.parquet, which is read from 'caption'"],
        "table without pairs": ["sizes.parquet"],
    }
    assert found.told["notes"] == [
        "the caption is read from different columns: 'caption' in a.parquet, 'text' in more/b.parquet; "
        "--caption-col names one for all files"
    ]
    named = read(root, caption_col="text")
    assert [row["caption"] for row in named.rows] == ["a", "b", "c"]
    assert not named.told["notes"]


def test_which_column_is_read_where_several_could_be(tmp_path: Path) -> None:
    columns = {name: [name] for name in ("title", "alt_text", "caption")}
    path = write(
        tmp_path / "a.parquet", image=[picture_bytes()], img=[picture_bytes()], file=["x"], **columns
    )
    found = read(path)
    assert found.rows[0]["caption"] == "caption"
    assert found.unread == {"further caption column": 2, "further image column": 2}


def test_columns_that_are_called_as_facts_and_hold_something_else(tmp_path: Path) -> None:
    columns = {"image": [picture_bytes()], "caption": ["a"]}
    path = write(tmp_path / "a.parquet", **columns, label=[[1, 2]], target=[{"x": 1}], key=[[1]])
    found = read(path)
    assert (found.captions, found.rows[0]["label"]) == ({"000000000": "a"}, None)
    assert len(found.told["notes"]) == 3
    for wrong in ({"poisoned": [[1]]}, {"kind": [[1]]}):
        with pytest.raises(SourceError, match="holds list"):
            read(write(tmp_path / "b.parquet", **columns, **wrong), label_col=next(iter(wrong)))


def test_of_a_list_the_first_caption_that_is_not_blank_is_taken(tmp_path: Path) -> None:
    captions = [["", "b", "c"], [None, " ", "d"], ["e"], [" "]]
    path = write(tmp_path / "a.parquet", image=[picture_bytes()] * 4, captions=captions)
    found = read(path)
    assert found.captions == {"000000000": "b", "000000001": "d", "000000002": "e"}
    assert found.reasons == ["empty caption"]
    assert found.unread == {"further caption": 1}


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_texts_that_are_too_long_for_what_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    write_pictures(tmp_path, "0.png")
    reasons = {
        "image": "missing image",
        "caption": "caption too long",
        "key": "key too long",
        "label": "label too long",
    }
    if pa.types.is_binary(kind):
        del reasons["image"]  # such a column holds pictures
    for name, reason in reasons.items():
        values = {one: pa.array(["0.png"] * 2) for one in ("image", "caption", "label")}
        values |= {"key": pa.array(["a", "b"]), name: pa.array(["x" * ((1 << 20) + 1), "0.png"]).cast(kind)}
        found = read(write(tmp_path / "a.parquet", **values))
        assert (len(found.rows), found.reasons) == (1, [reason])


def test_as_many_rows_are_read_at_once_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, "0.png")
    monkeypatch.setattr(parquet_bounds, "BATCH_BYTES", 1000)
    short = write(tmp_path / "short.parquet", image=["0.png"] * 100, caption=[f"c {i}" for i in range(100)])
    repeated = write(tmp_path / "repeated.parquet", image=["0.png"] * 100, caption=["x" * 300] * 100)
    mixed = write(tmp_path / "mixed.parquet", image=["0.png"] * 4, caption=["a", "y" * 3000, "b", "c"])
    sizes = []
    for path in (short, repeated, mixed):
        file = pq.ParquetFile(path)
        sizes.append(parquet_bounds.batch_rows(file, path, ["image", "caption"]))
        assert len(read(path).rows) == file.metadata.num_rows
    assert sizes[0] > 20
    assert sizes[1] == 1000 // 300  # a text of the dictionary may stand in every row
    assert sizes[2] == 1


def test_row_groups_of_texts_that_are_too_long_are_skipped_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, "0.png")
    for name, value in (("MOST_GROUP_BYTES", 10_000), ("MAX_CAPTION_BYTES", 1000)):
        monkeypatch.setattr(parquet_bounds, name, value)
    captions = ["a", "b", "x" * 30_000, "c", "d", "e"]
    columns = {"image": ["0.png"] * 6, "caption": captions, "image_embedding": vectors(6).tolist()}
    path = write(tmp_path / "a.parquet", 2, **columns)
    found = read(path)
    assert [row["caption"] for row in found.rows] == ["a", "b", "d", "e"]
    assert [row["key"] for row in found.rows] == ["000000000", "000000001", "000000004", "000000005"]
    assert [(s.where, s.reason) for s in found.skips] == [
        ("a.parquet row 2", "caption too long"),
        ("a.parquet row 3", "caption too long"),
    ]
    ready = read(write(tmp_path / "b.parquet", 2, **columns, text_embedding=vectors(6).tolist()))
    assert ready.image_emb is not None
    assert len(ready.image_emb) == len(ready.rows) == 4
