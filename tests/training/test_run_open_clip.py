"""``--engine open_clip``: the same folder as our own loop leaves, whatever the pairs come from."""

from __future__ import annotations

import csv
import importlib.util
import json

import numpy as np
import pandas
import pytest
from PIL import Image

from cfbd_core.errors import ParameterError, TrainingError
from cfbd_core.training.run import train
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.tracking import read_metrics
from cfbd_core.training.with_open_clip import engine
from cfbd_core.training.with_open_clip.run import _reads_alike, train_with_open_clip, write_csv
from tests.sources.helpers import picture_bytes, record, write_tar
from tests.training.tiny import tiny_params, toy_set

INSTALLED = all(importlib.util.find_spec(name) for name in engine.PACKAGES)
needs_packages = pytest.mark.skipif(
    not INSTALLED, reason="needs webdataset and braceexpand (requirements.txt)"
)


def test_every_picture_becomes_a_file_that_a_csv_names(tmp_path, toy_source):
    for pairs in (toy_set(5), TrainingSet.from_data(toy_source(5))):
        path = tmp_path / "out" / "pairs.csv"
        path.parent.mkdir(exist_ok=True)
        write_csv(pairs, path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [(row["key"], row["caption"]) for row in rows] == list(
            zip(pairs.keys, pairs.captions, strict=True)
        )
        for number, row in enumerate(rows):
            assert np.array_equal(np.asarray(Image.open(row["image"])), np.asarray(pairs.picture(number)))


def test_a_csv_is_read_as_it_is_only_where_open_clip_train_reads_the_same_pairs_of_it(toy_source):
    source = toy_source(5)
    header, *rows = source.read_text().splitlines()
    whole = [row.replace(",0", f",{source.parent}/0", 1) for row in rows]
    for lines, alike in (
        ([header, *rows], False),  # open_clip_train takes paths from where it is at work
        ([header, *whole], True),
        (
            [header, *whole, f"x,{source.parent}/gone.png,a caption,0", f"y,{source.parent}/0001.png,,0"],
            False,
        ),
        ([header.replace("image", "filepath"), *whole], False),
    ):
        source.write_text("\n".join(lines) + "\n")
        assert _reads_alike(source, TrainingSet.from_data(source)) is alike


def test_captions_that_pandas_takes_for_something_else_are_read_from_a_csv_of_our_own(tmp_path, toy_source):
    source = toy_source(5)
    header, *rows = source.read_text().splitlines()
    whole = [row.replace(",0", f",{source.parent}/0", 1).split(",") for row in rows]
    for at, odd in enumerate(("NA", "007")):
        whole[at][2] = odd
    source.write_text("\n".join([header, *map(",".join, whole)]) + "\n")
    pairs = TrainingSet.from_data(source)
    assert list(pairs.captions[:2]) == ["NA", "007"]
    assert not _reads_alike(source, pairs)
    write_csv(pairs, tmp_path / "pairs.csv")
    table = pandas.read_csv(tmp_path / "pairs.csv")
    assert [caption.strip() for caption in table["caption"]] == list(pairs.captions)


def test_tars_are_read_as_they_are_only_where_open_clip_train_reads_every_record(tmp_path):
    (tmp_path / "tars").mkdir()
    text = [("b.txt", b"a cat"), ("c/d.TXT", b"a cow"), ("c/d.JPEG", picture_bytes(2, "JPEG"))]
    for picture, alike in (("b.webp", True), ("b.gif", False)):
        members = [*record("a", "a dog"), (picture, picture_bytes(1, picture[2:].upper())), *text]
        write_tar(tmp_path / "tars" / "0.tar", members)
        pairs = TrainingSet.from_data(tmp_path / "tars")
        assert len(pairs) == 3
        assert _reads_alike(tmp_path / "tars", pairs) is alike


@needs_packages
@pytest.mark.slow
def test_relative_paths_train_and_seconds_are_those_of_all_sessions(model, tmp_path, toy_source):
    run, params = tmp_path / "run", tiny_params(model, workers=1, epochs=1)
    pairs = TrainingSet.from_data(toy_source(16))
    assert train_with_open_clip(pairs, run, params)["steps"] == 2
    (run / "result.json").unlink()
    (run / "open_clip" / "seconds.json").write_text('{"seconds": 1000.0}')
    assert train_with_open_clip(pairs, run, params)["seconds"] > 1000


@needs_packages
@pytest.mark.slow
def test_it_leaves_what_our_own_loop_leaves(model, tmp_path):
    run, params = tmp_path / "run", tiny_params(model, workers=1, log_every=1)
    reports = []
    result = train_with_open_clip(
        toy_set(),
        run,
        params,
        evaluate=lambda encoder: {"ca": float(encoder.width), "asr": None},
        progress=lambda *report: reports.append(report),
    )
    own = train(toy_set(), tmp_path / "own", params)
    assert result.keys() == own.keys()
    assert (result["steps"], result["ca"]) == (10, 16.0)
    assert reports[-1] == ("train", 80, 80)
    lines = read_metrics(run)
    assert [line["step"] for line in lines if line["kind"] == "step"] == [*range(1, 11)]
    assert lines[-1]["kind"] == "eval"
    assert lines[0].keys() == read_metrics(tmp_path / "own")[0].keys()
    assert {"run.json", "result.json", "metrics.jsonl", "metrics.duckdb", "model"} <= {
        p.name for p in run.iterdir()
    }
    assert json.loads((run / "run.json").read_text())["engine"] == "open_clip"
    assert train_with_open_clip(toy_set(), run, params) == result
    with pytest.raises(TrainingError, match="holds another run"):
        train(toy_set(), run, params)
    (run / "result.json").unlink()  # killed at its end: no step is left to make
    again = train_with_open_clip(toy_set(), run, params)
    assert (again["loss"], again["pairs_per_s"], again["ca"]) == (result["loss"], result["pairs_per_s"], None)


@needs_packages
def test_what_it_cannot_do_is_refused_and_leaves_nothing(model, tmp_path):
    run = tmp_path / "run"
    for wrong, said in (
        ({"defense": "cleanclip"}, "--engine own"),
        ({"steps": 3}, "--epochs"),
        ({"batch_size": 64}, "fewer"),
    ):
        with pytest.raises((TrainingError, ParameterError), match=said):
            train_with_open_clip(toy_set(), run, tiny_params(model, workers=1, **wrong))
        assert not run.exists()
    run.mkdir()
    for _ in range(2):
        with pytest.raises(TrainingError, match="--engine own"):
            train_with_open_clip(toy_set(), run, tiny_params(model, workers=1, defense="cleanclip"))
        assert {path.name for path in run.iterdir()} <= {"audit.lock"}
