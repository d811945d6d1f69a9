from __future__ import annotations

import csv
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cfbd_core.audit import Audit
from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.errors import ParameterError
from tests.toy import ToyEncoder

POISONED = tuple(range(5, 400, 33))


@pytest.fixture
def audit(tmp_path, toy_source) -> Audit:
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(400, POISONED))
    audit.embed(ToyEncoder(), EmbedParams(batch_size=32))
    audit.score("self")
    audit.split(SplitParams(q=8, k=2))
    return audit


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_kept_and_removed_are_all(audit, tmp_path):
    keys = {}
    for subset in ("kept", "removed", "all"):
        audit.export(tmp_path / f"{subset}.csv", subset)
        keys[subset] = [row["key"] for row in read_csv(tmp_path / f"{subset}.csv")]
    assert sorted(keys["kept"] + keys["removed"]) == sorted(keys["all"])
    assert len(keys["all"]) == 400
    assert len(keys["removed"]) == audit.report()["flagged"] > 0


def test_the_csv_has_the_promised_columns_and_every_path_opens(audit, tmp_path):
    record = audit.export(tmp_path / "clean.csv")
    rows = read_csv(tmp_path / "clean.csv")
    promised = ["key", "image", "caption", "consistency", "z", "subset", "verdict", "decision"]
    assert set(promised) <= set(rows[0])
    assert all(row["verdict"] == "clean" for row in rows)
    for row in rows[:5]:
        with Image.open(row["image"]) as picture:
            assert picture.size == (16, 16)
    assert record["pairs"] == len(rows)
    sidecar = json.loads((tmp_path / "clean.csv.json").read_text())
    assert sidecar["embedding"]["encoder"] == "toy"
    assert sidecar["params"]["q"] == 8
    assert "--csv-caption-key caption" in sidecar["open_clip"]


def test_a_decision_overrules_the_verdict_and_survives_a_new_split(audit, tmp_path):
    removed = audit.pairs("final = 'removed'", limit=1)["key"][0].as_py()
    kept = audit.pairs("final = 'kept'", limit=1)["key"][0].as_py()
    audit.decide(pa.table({"key": [removed, kept], "decision": ["keep", "remove"], "note": ["fine", ""]}))
    audit.split(SplitParams(q=10, k=2))
    audit.export(tmp_path / "clean.csv")
    keys = {row["key"] for row in read_csv(tmp_path / "clean.csv")}
    assert removed in keys
    assert kept not in keys
    audit.decide(pa.table({"key": [kept], "decision": [""], "note": [""]}))
    assert audit.pairs(f"key = '{kept}'")["final"][0].as_py() == "kept"


def test_a_decision_about_an_unknown_key_stores_nothing(audit):
    known = audit.pairs(limit=1)["key"][0].as_py()
    with pytest.raises(ParameterError, match="'nobody' is not in the audit"):
        audit.decide(pa.table({"key": [known, "nobody"], "decision": ["remove", "keep"], "note": ["", ""]}))
    assert audit.pairs("decision <> ''").num_rows == 0


def test_captions_are_exported_as_they_are_unless_asked_for_a_spreadsheet(tmp_path, picture_file):
    nasty = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2", 'a "quoted", line\nbreak', "plain", "مرحبا <b>"]
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption"])
        writer.writerows([str(index), picture_file.name, caption] for index, caption in enumerate(nasty))
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "pairs.csv")
    batches = list(audit._export_batches("all"))
    from cfbd_core.export import export

    export(iter(batches), tmp_path / "plain.csv", "csv", {})
    assert [row["caption"] for row in read_csv(tmp_path / "plain.csv")] == nasty
    export(iter(batches), tmp_path / "safe.csv", "csv", {}, spreadsheet_safe=True)
    safe = [row["caption"] for row in read_csv(tmp_path / "safe.csv")]
    assert safe == [f"'{caption}" if caption[0] in "=+@-" else caption for caption in nasty]


def test_parquet_and_webdataset_hold_the_same_pairs(audit, tmp_path):
    audit.export(tmp_path / "clean.parquet")
    audit.export(tmp_path / "clean_tars")
    table = pq.read_table(tmp_path / "clean.parquet")
    from_parquet = dict(zip(table["key"].to_pylist(), table["caption"].to_pylist(), strict=True))
    from_tars = {}
    for path in sorted((tmp_path / "clean_tars").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                if member.name.endswith(".txt"):
                    from_tars[member.name[:-4]] = data.decode()
                elif member.name.endswith(".png"):
                    Image.open(io.BytesIO(data)).verify()
    assert from_tars == from_parquet
    again = Audit.create(tmp_path / "again")
    assert again.ingest(tmp_path / "clean_tars")["pairs"] == len(from_tars)


def test_images_inside_tars_are_written_out_once(audit, tmp_path):
    audit.export(tmp_path / "tars", "all")
    again = Audit.create(tmp_path / "again")
    again.ingest(tmp_path / "tars")
    again.embed(ToyEncoder(), EmbedParams(batch_size=32))
    again.score("self")
    again.split(SplitParams(q=8, k=2))
    again.export(tmp_path / "out.csv", "all")
    paths = [row["image"] for row in read_csv(tmp_path / "out.csv")]
    assert len({*paths}) == 400 == len(list((tmp_path / "out.csv.images").iterdir()))
    Image.open(paths[0]).verify()


def test_an_unknown_ending_is_refused(audit, tmp_path):
    with pytest.raises(ParameterError, match=r"\.csv or \.parquet"):
        audit.export(tmp_path / "clean.xlsx")
    assert not (tmp_path / "clean.xlsx").exists()
