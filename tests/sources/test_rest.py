"""Whatever lies beside what is read is counted by kind and named, whichever reader reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.sources.helpers import picture_bytes, read, record, write_pictures, write_tar


def test_tables_pictures_texts_and_archives_beside_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", record("k", "one"))
    write_pictures(tmp_path, "loose.jpg")
    names = ("loose.txt", "00000.parquet", "00000_stats.json", "other.parquet", "p.csv", "m.jsonl", "a.zip")
    for name in (*names, "x.tar.zst", "v.npy", "s.arrow", "p.heic", "README.md", "_x.tar"):
        (tmp_path / name).touch()
    assert read(tmp_path).unread == {
        "table beside its shard": 2,
        "file of another format": 3,
        "picture in no record": 1,
        "text file": 1,
        "archive": 2,
        "file of a format that is not read": 2,
        "picture of a kind that is not read": 1,
        "other file": 1,
        "hidden file": 1,
    }


def test_pictures_that_no_row_names_are_counted_also_in_linked_folders(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_pictures(root, "0.jpg", "1.jpg", "sub/2.jpg", "sub/3.jpg")
    write_pictures(tmp_path / "linked", "4.jpg", "5.jpg")
    (root / "link").symlink_to(tmp_path / "linked")
    rows = ("0.jpg", "sub/2.jpg", "link/4.jpg", str(tmp_path / "linked" / "5.jpg"))
    (root / "pairs.csv").write_text("image,caption\n" + "".join(f"{name},x\n" for name in rows))
    found = read(root)
    assert len(found.rows) == 4
    assert found.unread == {"picture in no record": 2}
    assert found.examples["picture in no record"] == ["1.jpg", "sub/3.jpg"]
    assert read(root / "pairs.csv").unread == {}  # only what was named is looked at


def test_of_files_that_a_pattern_names_those_of_another_format_are_counted(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", record("k", "one"))
    (tmp_path / "b.csv").write_text("image,caption\n")
    assert read(f"{tmp_path}/*").examples == {"file of another format": ["b.csv"]}


def test_a_table_without_pairs_is_named_among_others_and_refused_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.jpg")
    (tmp_path / "pairs.csv").write_text("image,caption\n0.jpg,one\n")
    (tmp_path / "sizes.csv").write_text("image,width\n0.jpg,8\n")
    (tmp_path / "urls.csv").write_text("image,caption\nhttp://x/0.jpg,one\n")
    found = read(tmp_path)
    assert [row["caption"] for row in found.rows] == ["one"]
    assert found.examples == {"table without pairs": ["sizes.csv", "urls.csv"]}


def test_an_img2dataset_folder_of_files_and_its_tables(tmp_path: Path) -> None:
    write_pictures(tmp_path / "00000", "000000000.jpg")
    (tmp_path / "00000" / "000000000.txt").write_text("one")
    (tmp_path / "00000" / "000000001.json").write_text("{}")  # its download failed
    pq.write_table(pa.table({"key": ["000000000"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    found = read(tmp_path)
    assert found.captions == {"00000/000000000": "one"}
    assert found.unread == {"table beside its shard": 2, "json without a picture": 1}


def test_a_gzipped_shard_among_others_is_a_skip(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "a.tar", record("k", "one")).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "c.tar").write_bytes(gzip.compress(plain))  # whatever it is called
    found = read(tmp_path)
    assert found.captions == {"k": "one"}
    assert [(s.where, s.reason) for s in found.skips] == [
        ("b.tar.gz", "compressed tar"),
        ("c.tar", "compressed tar"),
    ]
    assert "gunzip" in found.skips[0].detail


def test_pictures_beside_ready_embeddings_are_not_missed(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.jpg")
    (tmp_path / "notes.md").touch()
    columns = {"caption": ["a"], "image_embedding": [[1.0, 0.0]], "text_embedding": [[0.0, 1.0]]}
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    assert read(tmp_path).unread == {"other file": 1}


def test_pictures_within_tables_and_beside_them(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [picture_bytes()], "text": ["a"]}), tmp_path / "p.parquet")
    write_pictures(tmp_path, "other.jpg")
    assert read(tmp_path).unread == {"picture in no record": 1}


def test_what_tells_of_a_poisoned_copy_is_one_kind(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", record("k", "one"))
    for name in ("manifest.json", "contact_sheet.png", "ATTRIBUTION.txt"):
        (tmp_path / name).touch()
    assert read(tmp_path).unread == {"other file": 1, "picture in no record": 1, "text file": 1}
    (tmp_path / "trigger.npz").touch()
    assert read(tmp_path).unread == {"file that tells of a poisoned copy": 4}
