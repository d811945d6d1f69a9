from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cfbd_core.audit import export as export_step
from cfbd_core.audit.audit import Audit
from cfbd_core.audit.export import spooled_subset
from cfbd_core.cli import main
from cfbd_core.config import EmbedParams, SplitParams
from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.export import COLUMNS, Origin, export
from tests.sources.helpers import picture_bytes, write_tar
from tests.sources.helpers import read as read_source
from tests.toy import ToyEncoder, write_toy_source

POISONED = tuple(range(5, 400, 33))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a source of pairs, its audit and a copy of both beside."""
    folder: Path = tmp_path_factory.mktemp("export") / "made"
    audit = Audit.create(folder / "audit")
    audit.ingest(write_toy_source(folder / "pairs", 400, POISONED))
    audit.embed(ToyEncoder(), EmbedParams(batch_size=32))
    audit.score("self")
    audit.split(SplitParams(q=8, k=2))
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


@pytest.fixture
def audit(made) -> Audit:
    """The audit as it was made, and its source with it."""
    shutil.rmtree(made)
    shutil.copytree(made.with_name("copy"), made)
    return Audit.open(made / "audit")


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


def test_a_split_that_someone_else_has_applied_meanwhile_is_not_exported(
    audit, tmp_path, capsys, monkeypatch
):
    out, mine = tmp_path / "clean.csv", SplitParams(q=8, k=2).id
    command = ["export", "--audit", str(audit.folder), "--out", str(out), "--split", mine]
    assert main(command) == 0
    out.unlink()
    (tmp_path / "clean.csv.json").unlink()
    report = export_step.report
    monkeypatch.setattr(
        export_step,
        "report",
        lambda files, split: report(files, split) | {"late": audit.split(SplitParams(q=9, k=2))},
    )
    with pytest.raises(ParameterError, match="another now"):  # applied while the export was at work
        audit.export(out, split=mine)
    capsys.readouterr()
    assert main(command) == 2
    told = capsys.readouterr().err
    assert f"the audit's split is another now ({SplitParams(q=9, k=2).id})" in told
    assert told.count("\n") == 1
    assert main([*command, "--where", "text=banana"]) == 2
    assert not out.exists()


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
    with spooled_subset(audit.files, "all") as spooled:
        batches = list(spooled)
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


def test_neither_the_source_nor_the_audit_is_overwritten(audit):
    source = audit.folder.with_name("pairs") / "pairs.csv"
    before = source.read_bytes()
    for out in (source, audit.folder / "clean.csv"):
        with pytest.raises(ParameterError):
            audit.export(out)
    assert source.read_bytes() == before
    assert not (audit.folder / "clean.csv").exists()


def test_an_earlier_export_of_the_same_audit_is_overwritten_and_nothing_else(audit, tmp_path):
    out = tmp_path / "out.csv"
    audit.export(out, "all")
    audit.export(out, "removed")
    assert len(read_csv(out)) == audit.report()["flagged"]
    shutil.copytree(audit.folder, tmp_path / "other")
    other = Audit.open(tmp_path / "other")
    before = out.read_bytes()
    with pytest.raises(ParameterError, match=rf"^--out {out}: would overwrite the export of another audit"):
        other.export(out)
    out.unlink()  # its sidecar alone is still that audit's
    with pytest.raises(ParameterError, match="another audit"):
        other.export(out)
    audit.export(out, "removed")
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "record", [None, "", "[]", '{"audit": "AUDIT"}', '{"out": "mine.csv", "captions": []}']
)
def test_a_file_that_no_export_wrote_is_not_overwritten(audit, tmp_path, record):
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    if record is not None:
        out.with_name("mine.csv.json").write_text(record.replace("AUDIT", str(audit.folder)))
    with pytest.raises(ParameterError, match="a file that is no export; give another name"):
        audit.export(out)
    assert out.read_text() == "mine"


def test_a_file_where_the_sidecar_would_go_is_not_overwritten(audit, tmp_path):
    (tmp_path / "captions.parquet.json").write_text("[]")
    with pytest.raises(ParameterError, match=r"captions\.parquet\.json that is no export"):
        audit.export(tmp_path / "captions.parquet")
    assert (tmp_path / "captions.parquet.json").read_text() == "[]"


def test_an_unknown_ending_is_refused(audit, tmp_path):
    with pytest.raises(ParameterError, match=r"\.csv or \.parquet"):
        audit.export(tmp_path / "clean.xlsx")
    assert not (tmp_path / "clean.xlsx").exists()


def pairs(*rows):
    """A batch of ``audit_pairs``: rows of (key, image, offset, size), the caption tells the key."""
    columns = {name: pa.nulls(len(rows), pa.string()) for name in COLUMNS}
    keys, images, offsets, sizes = zip(*rows, strict=True)
    columns |= {"key": pa.array(keys), "image": pa.array(images)}
    columns |= {"caption": pa.array([f"about {key}" for key in keys])}
    columns |= {"image_offset": pa.array(offsets, pa.int64()), "image_size": pa.array(sizes, pa.int64())}
    return iter([pa.RecordBatch.from_pydict(columns)])


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_vanished_picture_is_named_and_nothing_is_left_behind(tmp_path, picture_file):
    rows = [("here", str(picture_file), None, None), ("gone", str(tmp_path / "gone.png"), None, None)]
    with pytest.raises(SourceError, match=r"key 'gone': .*gone\.png.*missing file.*cfbd decide"):
        export(pairs(*rows), tmp_path / "new" / "out", "webdataset", {})
    tar = write_tar(tmp_path / "a.tar", [("0.png", picture_bytes())])
    rows = [("here", str(tar), 512, len(picture_bytes())), ("cut", str(tar), 10**6, 9)]
    before = names(tmp_path)
    for kind in ("csv", "parquet"):
        with pytest.raises(SourceError, match="key 'cut': .*truncated image"):
            export(pairs(*rows), tmp_path / f"out.{kind}", kind, {})
    assert names(tmp_path) == before


def test_a_failed_export_leaves_the_pictures_of_an_earlier_one(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("0.png", picture_bytes())])
    good = ("here", str(tar), 512, len(picture_bytes()))
    export(pairs(good), tmp_path / "out.csv", "csv", {})
    kept = names(tmp_path)
    with pytest.raises(SourceError):
        export(pairs(good, ("cut", str(tar), 10**6, 9)), tmp_path / "out.csv", "csv", {})
    assert names(tmp_path) == kept


def test_a_file_that_is_no_picture_is_never_packed(tmp_path):
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(SourceError, match="key 'k': its image .*id_rsa' is no picture"):
        export(pairs(("k", str(secret), None, None)), tmp_path / "out", "webdataset", {})
    with pytest.raises(SourceError, match="no picture"):
        export(pairs(("k", str(secret), 0, 20)), tmp_path / "out.csv", "csv", {})
    assert names(tmp_path) == ["id_rsa"]


def test_a_hostile_table_with_ready_embeddings_cannot_carry_files_out(tmp_path, picture_file):
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    vectors = np.random.default_rng(0).normal(size=(12, 8))
    table = {
        "key": [f"k{n}" for n in range(12)],
        "caption": [f"caption {n}" for n in range(12)],
        "image": [str(picture_file)] * 11 + [str(secret)],
        "image_embedding": vectors.tolist(),
        "text_embedding": vectors.tolist(),
    }
    pq.write_table(pa.table(table), tmp_path / "pairs.parquet")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "pairs.parquet")
    with (
        spooled_subset(audit.files, "all") as batches,
        pytest.raises(SourceError, match="key 'k11'.*no picture"),
    ):
        export(batches, tmp_path / "out", "webdataset", {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_places_that_cannot_be_written_are_refused_in_one_line(tmp_path, picture_file, kind):
    row = ("k", str(picture_file), None, None)
    folder = tmp_path / f"folder.{kind}"
    folder.mkdir()
    (tmp_path / f"busy.{kind}.json").mkdir()
    cases = {
        folder: "is a folder",
        picture_file / f"out.{kind}": "cannot be written",
        tmp_path / f"{'x' * 250}.{kind}": "cannot be written",
        tmp_path / f"busy.{kind}": "json is a folder",
        Path("/dev/null"): "device",
    }
    before = names(tmp_path)
    for out, words in cases.items():
        with pytest.raises(ParameterError, match=words) as caught:
            export(pairs(row), out, kind, {})
        assert str(caught.value).startswith(f"--out {out}: ")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


def test_webdataset_takes_a_new_folder_that_is_not_called_tar(tmp_path, picture_file):
    row = ("k", str(picture_file), None, None)
    for out, words in {
        tmp_path / "clean.tar": "without .tar",
        tmp_path / "clean.TAR.gz": "without .tar",
        tmp_path: "exists already",
        picture_file / "below": "cannot be written",
    }.items():
        with pytest.raises(ParameterError, match=words):
            export(pairs(row), out, "webdataset", {})


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_spreadsheet_safe_is_for_csv(tmp_path, picture_file, kind):
    row = ("k", str(picture_file), None, None)
    with pytest.raises(ParameterError, match="--spreadsheet-safe is for CSV only"):
        export(pairs(row), tmp_path / f"out.{kind}", kind, {}, spreadsheet_safe=True)


def test_protected_files_and_folders_are_not_written(tmp_path, picture_file):
    row = ("k", str(picture_file), None, None)
    source, audit = tmp_path / "source", tmp_path / "audit"
    for folder in (source, audit):
        folder.mkdir()
    (source / "pairs.csv").write_text("mine")
    (source / "other.csv.json").write_text("mine")
    (source / "out.csv.images").mkdir()
    (tmp_path / "link").symlink_to(audit)
    (source / "link.csv").symlink_to(source / "pairs.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    origin = Origin([source / "pairs.csv", source / "other.csv.json", source / "out.csv.images", audit])
    before = names(tmp_path)
    for out in (
        source / "pairs.csv",
        source / ".." / "source" / "pairs.csv",
        source / "link.csv",
        source / "other.csv",  # its sidecar
        source / "out.csv",  # its pictures
        audit / "new" / "out.csv",
        tmp_path / "link" / "out.csv",
    ):
        with pytest.raises(ParameterError, match="never changed"):
            export(pairs(row), out, "csv", {}, origin=origin)
    with pytest.raises(ParameterError, match="never changed"):
        export(pairs(row), audit / "tars", "webdataset", {}, origin=origin)
    assert names(tmp_path) == before
    export(pairs(row), source / "clean.csv", "csv", {}, origin=origin)
    export(pairs(row), tmp_path / "loop.csv", "csv", {}, origin=origin)


def test_keys_with_dots_and_slashes_stay_apart_and_come_back(tmp_path, picture_file):
    keys = ["a.b", "a/b", "a_b", "a%2Eb", "./x", ".hidden", "100%", "naïve #0", "back\\slash", "y" * 300]
    export(pairs(*((key, str(picture_file), None, None) for key in keys)), tmp_path / "o", "webdataset", {})
    found = read_source(tmp_path / "o")
    assert not found.skips
    assert found.captions == {key: f"about {key}" for key in keys}
    with tarfile.open(tmp_path / "o" / "00000.tar") as tar:
        stems = {name.rpartition(".")[0] for name in tar.getnames()}
    assert {"a%2Eb", "a%2Fb", "a_b", "a%252Eb", "naïve #0"} <= stems
