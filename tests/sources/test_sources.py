from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cfbd_core.errors import CfbdError, ParameterError, SourceError
from cfbd_core.sources import FORMATS, Skip, SourceOptions, fingerprint, open_source
from cfbd_core.sources.vectors import embedding_faults
from tests.sources.helpers import read, record, write_pictures, write_tar


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.tar", "https://x/y.csv", "s3://bucket/a.parquet"])
def test_places_that_do_not_exist(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(source)
    assert str(caught.value).startswith(f"{source}: ")
    assert "\n" not in str(caught.value)


def test_nothing_that_matches_names_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").touch()
    for source in (tmp_path, tmp_path / "a.xyz"):
        with pytest.raises(SourceError) as caught:
            open_source(source)
        assert [name for name in FORMATS if f"{name}: " not in str(caught.value)] == []


def test_options_are_checked() -> None:
    for options in ({"captions": "some"}, {"image_root": "nowhere"}):
        with pytest.raises(CfbdError):
            SourceOptions(**options)
    with pytest.raises(ParameterError, match="webdataset"):
        open_source(".", SourceOptions(format="zip"))


def test_a_named_format_wins_over_the_file_name_and_over_the_folders_other_files(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png")
    (tmp_path / "pairs.dat").write_text("image,caption\n0.png,one\n")
    assert read(tmp_path / "pairs.dat", format="csv").captions == {"000000000": "one"}
    (tmp_path / "pairs.csv").write_text("image,caption\n0.png,two\n")
    write_tar(tmp_path / "a.tar", record("k", "three"))
    assert read(tmp_path).captions == {"k": "three"}
    assert read(tmp_path, format="csv").captions == {"000000000": "two"}
    with pytest.raises(SourceError, match="looked for parquet"):
        read(tmp_path, format="parquet")


def test_a_folder_with_brackets_in_its_name_is_no_glob(tmp_path: Path) -> None:
    folder = tmp_path / "set[1]"
    folder.mkdir()
    write_tar(folder / "a.tar", record("k", "one"))
    assert read(folder).captions == {"k": "one"}


def test_a_source_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.tar")
    write_tar(path, record("k", "one"))
    with pytest.raises(SourceError, match="rename"):
        open_source(path)


def test_fingerprint_follows_names_sizes_and_times_but_not_the_place(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    for name in ("a.tar", "b.tar"):
        write_tar(first / name, record(name, "x"))
    shutil.copytree(first, tmp_path / "second")  # copies the times too
    before = fingerprint(open_source(first))
    assert fingerprint(open_source(tmp_path / "second")) == before
    assert fingerprint(open_source(first / "a.tar")) != before
    os.utime(first / "b.tar", ns=(0, 0))
    assert fingerprint(open_source(first)) != before


def test_skips_are_always_text() -> None:
    skip = Skip("k", "caf\udce9.jpg", "missing image", "caf\udce9")
    assert (skip.where, skip.detail) == ("caf?.jpg", "caf?")


def test_skips_cannot_steer_a_terminal() -> None:
    skip = Skip("k\x1b[2J", "a\nb\u202e.jpg", "missing image", "naïve 猫 \x9b31m\ttab")
    assert skip.key == "k\\x1b[2J"
    assert skip.where == "a\\nb\\u202e.jpg"
    assert skip.detail == "naïve 猫 \\x9b31m\\ttab"
    assert Skip(None, "w", "r").key is None


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.sampled_from(
            [0.0, -0.0, 1.0, -2.5, 1e-7, np.nan, -np.nan, np.inf, -np.inf, 65504.0, -65504.0]
        ),
    )
)
def test_embedding_faults_agree_with_numpy(values: np.ndarray) -> None:
    broken, zero, _ = embedding_faults(values)
    np.testing.assert_array_equal(broken, ~np.isfinite(values).all(axis=1))
    np.testing.assert_array_equal(zero, (values == 0).all(axis=1))


def test_embeddings_whose_length_cannot_be_told_are_out_of_range() -> None:
    lengths = [1e-38, 1e-31, 1e-29, 1.0, 1e30, 2.9e38]
    values = np.array([[length, 0.0, 0.0] for length in lengths] + [[3e38] * 3, [1e-31] * 3], np.float32)
    broken, zero, out = embedding_faults(values)
    assert not broken.any()
    assert not zero.any()
    assert out.tolist() == [True, True, False, False, False, False, True, True]
    assert not embedding_faults(np.array([[65504.0] * 512, [6e-8] * 512], np.float16))[2].any()
