"""``cfbd export``: what it tells, and a dry run that tells what is then written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main


@pytest.fixture
def audit(own) -> Audit:
    own.split(SplitParams(k=3, q=20))
    return own


def cfbd(audit, *words) -> int:
    return main(["export", "--audit", str(audit.folder), *map(str, words)])


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("out.csv", ["--subset", "kept"]),
        ("out.csv", ["--where", "text=a"]),
        ("out.parquet", ["--subset", "removed"]),
    ],
)
def test_a_dry_run_tells_what_is_then_written(audit, tmp_path, capsys, chosen, name):
    audit.decide(pa.table({"key": audit.pairs(limit=7)["key"], "decision": ["remove"] * 7}))
    before = sorted(tmp_path.iterdir())
    assert cfbd(audit, "--out", tmp_path / name, *chosen, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(tmp_path.iterdir()) == before
    assert told.pop("dry_run")
    assert cfbd(audit, "--out", tmp_path / name, *chosen, "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert told.items() <= written.items()
    assert written["pairs"] > 0


def test_a_dry_run_says_so_and_is_refused_where_the_export_is(audit, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text("mine")
    assert cfbd(audit, "--out", tmp_path / "out.csv", "--dry-run") == 0
    assert "pairs would be written to" in capsys.readouterr().out
    for words, told in (
        (["--out", tmp_path / "mine.csv"], "a file that is no export"),
        (["--out", tmp_path / "tars", "--relative-paths"], "holds its pictures"),
        (["--out", tmp_path / "out.parquet", "--pandas-safe"], "for CSV only"),
    ):
        assert cfbd(audit, *words, "--dry-run") == 2
        err = capsys.readouterr().err
        assert told in err
        assert err.count("\n") == 1


def test_an_export_of_nothing_says_so(audit, tmp_path, capsys):
    keys = audit.pairs()["key"]
    audit.decide(pa.table({"key": keys, "decision": ["remove"] * len(keys)}))
    for name in ("out.csv", "out.parquet", "tars"):
        assert cfbd(audit, "--out", tmp_path / name) == 0
        assert "warning: no pairs: the export is empty" in capsys.readouterr().out


def test_captions_that_pandas_misreads_and_pairs_without_pictures_are_told(tmp_path, capsys):
    vectors = np.random.default_rng(0).normal(size=(48, 8)).tolist()
    texts = ["NA", "a dog", "None", *(f"cat {n}" for n in range(45))]
    table = {"caption": texts, "image_embedding": vectors, "text_embedding": vectors}
    pq.write_table(pa.table(table), tmp_path / "pairs.parquet")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "pairs.parquet")
    audit.score("self")
    audit.split(SplitParams(k=1, q=2))
    assert cfbd(audit, "--out", tmp_path / "out.csv", "--subset", "all") == 0
    out = capsys.readouterr().out
    assert "warning: 48 pairs are without a picture, which open_clip's CSV loader stops at" in out
    assert "warning: 2 captions are missing values (nan) to pandas" in out
    assert cfbd(audit, "--out", tmp_path / "safe.csv", "--subset", "all", "--pandas-safe") == 0
    assert "to pandas" not in capsys.readouterr().out
    with (tmp_path / "safe.csv").open(encoding="utf-8", newline="") as file:
        assert [row["caption"] for row in csv.DictReader(file)][:2] == ["\u00a0NA", "a dog"]


def test_pairs_without_a_verdict_are_told_where_they_are_left_out(audit, tmp_path, capsys):
    with audit.files.database.writing() as connection:
        connection.execute(
            "DELETE FROM verdicts WHERE row IN (SELECT row FROM verdicts ORDER BY row LIMIT 3)"
        )
    assert cfbd(audit, "--out", tmp_path / "out.csv") == 0
    told = "warning: 6 pairs have no verdict, and are neither kept nor removed"  # three have no score, either
    assert told in capsys.readouterr().out
    assert cfbd(audit, "--out", tmp_path / "all.csv", "--subset", "all") == 0
    assert "no verdict" not in capsys.readouterr().out
