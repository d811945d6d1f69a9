"""Pairs that cannot be embedded or scored stay in the audit, are told, and come back with their embedding."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.report import text
from cfbd_core.cli import main
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.mapping import Lineage, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.errors import AuditError
from cfbd_core.store import Database
from tests.store.older import make_older
from tests.toy import WIDTH, ToyEncoder, write_toy_source

PARAMS = EmbedParams(shard_size=8, batch_size=4, workers=2)
SPLIT = SplitParams(q=3, k=1)
PAIRS = 24


@pytest.fixture(scope="module")
def mapping(tmp_path_factory) -> str:
    """The file of some F for the toy encoder."""
    path = tmp_path_factory.mktemp("mapping") / "f.safetensors"
    rows = np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32)
    lineage = Lineage(ToyEncoder.id, ToyEncoder.sha256, "noise")
    train_mapping(rows, rows, lineage, FitParams(epochs=1)).save(path)
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory, mapping) -> Path:
    """A folder with a source, an audit of it that was split, and a copy of both beside."""
    folder: Path = tmp_path_factory.mktemp("unscored") / "made"
    audit = Audit.create(folder / "audit")
    audit.ingest(write_toy_source(folder / "pairs", PAIRS))
    audit.embed(ToyEncoder(), PARAMS)
    audit.score(mapping)
    audit.split(SPLIT)
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


@pytest.fixture
def audit(made) -> Audit:
    """An audit that was split, as it was made, and its source with it."""
    shutil.rmtree(made)
    shutil.copytree(made.with_name("copy"), made)
    return Audit.open(made / "audit")


def damage(audit: Audit, row: int, value: float) -> None:
    """Write a value all over the image embedding of a row."""
    number, place = divmod(row, 8)
    path = audit.shards.image_path(number)
    shard = np.load(path)
    shard[place] = value
    np.save(path, shard)


def keys_of(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["key"] for row in csv.DictReader(file)]


# --- score -------------------------------------------------------------------------------------------------------


def test_pairs_with_a_damaged_embedding_stay_are_told_and_come_back(audit, mapping, tmp_path):
    damage(audit, 9, np.nan)
    damage(audit, 20, 0)
    result = audit.score(mapping)
    assert (result["pairs"], result["unscored"]) == (PAIRS - 2, 2)
    audit.split(SPLIT)
    report = audit.report()
    assert (report["pairs"], report["unscored"], report["flagged"] + report["kept"]) == (PAIRS, 2, PAIRS - 2)
    assert "not scored 2, neither kept nor removed: no usable embedding (e.g. key '0009'" in text(report)
    assert audit.validation_report()["unscored"][0]["pairs"] == 2
    audit.export(tmp_path / "kept.csv")
    every = audit.export(tmp_path / "all.csv", "all")
    assert not {"0009", "0020"} & set(keys_of(tmp_path / "kept.csv"))
    assert len(keys_of(tmp_path / "all.csv")) == PAIRS
    assert every["counts"]["neither"] == 2

    encoder = ToyEncoder()
    audit.embed(encoder, PARAMS)
    assert encoder.images_encoded == 16  # the two shards alone
    assert audit.score(mapping)["unscored"] == 0
    audit.split(SPLIT)
    assert audit.report()["unscored"] == 0


def test_a_pair_that_came_back_is_told_until_it_is_scored(audit, mapping):
    picture = Path(audit.pairs()["image"][5].as_py())
    whole = picture.read_bytes()
    audit.shards.clear()
    shutil.rmtree(audit.folder / "pictures")  # nothing is known of the picture any more
    picture.write_bytes(whole[:40])
    audit.embed(ToyEncoder(), PARAMS)
    audit.score(mapping)
    audit.split(SPLIT)
    picture.write_bytes(whole)
    audit.embed(ToyEncoder(), PARAMS)
    (reason,) = audit.report()["unscored_reasons"]
    assert (reason["pairs"], reason["reason"]) == (1, "embedded since the last scoring")
    audit.score(mapping)
    assert audit.validation_report()["unscored"] == []


def test_a_mapping_that_is_trained_on_the_pairs_is_not_ruined_by_a_damaged_one(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(60))
    audit.embed(ToyEncoder(), PARAMS)
    damage(audit, 3, np.nan)
    assert audit.score("self")["unscored"] == 1


def test_where_no_embedding_is_usable_one_line_says_so(audit, mapping):
    for row in range(PAIRS):
        damage(audit, row, np.nan)
    for spec in (mapping, "self"):
        with pytest.raises(AuditError, match="not one pair has a usable embedding; run `cfbd embed` again"):
            audit.score(spec)
    assert audit.state.pair_count() == PAIRS


# --- embed -------------------------------------------------------------------------------------------------------


def test_a_pair_whose_picture_is_mended_comes_back_with_its_decision(tmp_path, toy_source, mapping):
    source = toy_source(PAIRS)
    picture = source.parent / "0003.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:50])
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    audit.decide(pa.table({"key": ["0003"], "decision": ["remove"]}))
    audit.embed(ToyEncoder(), PARAMS)
    assert audit.state.pair_count() == PAIRS - 1
    (reason,) = audit.validation_report()["reasons"]
    assert (reason["stage"], reason["pairs"], reason["examples"][0]["key"]) == ("embed", 1, "0003")
    assert audit.embed(None, PARAMS)["encoder"] == "toy"  # nothing to do: no encoder is loaded

    picture.write_bytes(whole)
    audit.embed(ToyEncoder(), PARAMS)
    audit.score(mapping)
    pairs = audit.pairs()
    assert pairs["row"].to_pylist() == list(range(PAIRS))
    assert pairs["consistency"].null_count == 0
    assert pairs["decision"][3].as_py() == "remove"
    assert audit.validation_report()["skipped"] == 0


def test_a_picture_that_still_fails_is_not_tried_again(tmp_path, toy_source):
    class Refusing(ToyEncoder):
        def transform(self, picture):
            if picture.size == (32, 32):
                raise ValueError("not this one")
            return super().transform(picture)

    source = toy_source(PAIRS)
    from PIL import Image

    Image.new("RGB", (32, 32)).save(source.parent / "0007.png")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    audit.embed(Refusing(), PARAMS)
    (reason,) = audit.validation_report()["reasons"]
    assert reason["reason"] == "failed transform"
    again = Refusing()
    audit.embed(again, PARAMS)
    assert again.images_encoded == 0
    assert audit.validation_report()["reasons"] == [reason]


def test_an_audit_of_an_older_version_takes_pairs_aside_too(tmp_path, toy_source):
    source = toy_source(PAIRS)
    (source.parent / "0003.png").write_bytes(b"no picture")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    make_older(audit.folder / "audit.duckdb", 3)
    older = Audit.open(audit.folder)
    assert older.validation_report()["unscored"] == []
    older.embed(ToyEncoder(), PARAMS)
    assert (older.state.pair_count(), older.validation_report()["skipped"]) == (PAIRS - 1, 1)
    with Database(audit.folder / "audit.duckdb").reading() as connection:
        assert connection.execute("SELECT key FROM set_aside").fetchall() == [("0003",)]


# --- damaged files ---------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def of_another_type(path: Path) -> None:
    np.save(path, np.zeros((8, WIDTH))) if path.suffix == ".npy" else path.write_text('{"pairs": "x"}')


def of_another_shape(path: Path) -> None:
    np.save(path, np.zeros((7, WIDTH), np.float16)) if path.suffix == ".npy" else path.write_text("[]")


def of_objects(path: Path) -> None:
    objects = np.array([{}] * 8, object)
    np.save(path, objects, allow_pickle=True) if path.suffix == ".npy" else path.write_text("[" * 10_000)


DAMAGES = (cut, emptied, gone, of_another_type, of_another_shape, of_objects)


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["img_emb_0001.npy", "text_emb_0001.npy", "stats_0001.json"])
def test_a_damaged_shard_is_named_with_the_way_out_which_makes_it_anew(audit, mapping, name, harm):
    before = {path.name: path.read_bytes() for path in audit.shards.folder.glob("*.npy")}
    harm(audit.shards.folder / name)
    with pytest.raises(AuditError, match=rf"{name}.*run `cfbd embed` again") as caught:
        audit.score(mapping)
    assert "\n" not in str(caught.value)
    encoder = ToyEncoder()
    audit.embed(encoder, PARAMS)
    assert encoder.images_encoded == 8
    assert {path.name: path.read_bytes() for path in audit.shards.folder.glob("*.npy")} == before
    assert audit.score(mapping)["unscored"] == 0


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
def test_damaged_digests_stop_what_compares_by_them_and_come_back_from_the_shards(audit, tmp_path, harm):
    path = audit.shards.pictures.digest_path
    before = path.read_bytes()
    harm(path)
    if harm is not gone:  # else the shards' own hashes serve
        with pytest.raises(AuditError, match=r"digests.npy.*run `cfbd embed` again"):
            audit.export(tmp_path / "all.csv", "all")
        path.unlink()
    audit.export(tmp_path / "all.csv", "all")
    audit.embed(ToyEncoder(), PARAMS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
def test_damaged_hashes_of_a_shard_are_made_anew(audit, tmp_path, harm):
    path = audit.shards.hash_path(1)
    before = path.read_bytes()
    harm(path)
    audit.export(tmp_path / "all.csv", "all")
    audit.embed(ToyEncoder(), PARAMS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
def test_without_usable_stamps_pictures_are_read(audit, tmp_path, harm):
    harm(audit.shards.pictures.stamp_path)
    record = audit.export(tmp_path / "all.csv", "all")
    assert record["compared_with_what_was_embedded"] == {"not known": 0, "read": 24, "unchanged": 0}


def test_a_damaged_plan_is_known_from_the_audit(audit):
    (audit.shards.folder / "plan.json").write_text('{"encoder": "toy", "rows": -1}')
    assert audit.embed(None, PARAMS)["encoder"] == "toy"
    assert audit.shards.are_whole()


def test_a_pair_that_is_set_aside_takes_its_score_and_verdict_with_it(tmp_path, toy_source, mapping):
    audit = Audit.create(tmp_path / "audit")  # a source that was copied is compared before anything else
    audit.ingest(toy_source(PAIRS))
    audit.embed(ToyEncoder(), PARAMS)
    picture = Path(audit.pairs()["image"][9].as_py())
    picture.unlink()
    damage(audit, 8, np.nan)  # its shard is made again
    audit.score(mapping)
    audit.split(SPLIT)
    audit.embed(ToyEncoder(), PARAMS)
    with audit.files.database.reading() as connection:
        for table in ("scores", "verdicts", "unscored"):
            query = f"SELECT count(*) FROM {table} WHERE row NOT IN (SELECT row FROM pairs)"
            assert connection.execute(query).fetchall() == [(0,)], table
    assert audit.split(SPLIT)["params"]["q"] == 3
    assert audit.split(replace(SPLIT, collapse_duplicates=True))["params"]["q"] == 3


# --- decisions ---------------------------------------------------------------------------------------------------


def test_a_pair_that_is_set_aside_can_be_decided_and_its_decision_comes_back_with_it(
    tmp_path, toy_source, mapping
):
    source = toy_source(PAIRS)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    picture = Path(audit.pairs()["image"][5].as_py())
    whole = picture.read_bytes()
    picture.write_bytes(whole[:40])
    audit.embed(ToyEncoder(), PARAMS)
    assert (audit.state.pair_count(), audit.state.most_keys()) == (PAIRS - 1, PAIRS)
    every = tmp_path / "decisions.csv"
    every.write_text("key,decision\n" + "".join(f"{row:04d},remove\n" for row in range(PAIRS)))
    assert main(["decide", "--audit", str(audit.folder), "--from", str(every)]) == 0
    picture.write_bytes(whole)
    audit.embed(ToyEncoder(), PARAMS)
    assert audit.pairs(where="decision = 'remove'").num_rows == PAIRS
    every.write_text("key,decision\n0005,remove\nnobody,keep\n")
    assert main(["decide", "--audit", str(audit.folder), "--from", str(every)]) == 2


# --- embeddings that came ready ----------------------------------------------------------------------------------


@pytest.fixture
def ready(tmp_path, mapping) -> tuple[Audit, Path, pa.Table]:
    """An audit of embeddings that came with their captions, its source, and what is in it."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "key": [f"{number:02d}" for number in range(PAIRS)],
            "caption": [f"caption {number}" for number in range(PAIRS)],
            "image_embedding": list(rng.normal(size=(PAIRS, WIDTH)).astype(np.float32)),
            "text_embedding": list(rng.normal(size=(PAIRS, WIDTH)).astype(np.float32)),
        }
    )
    pq.write_table(table, tmp_path / "ready.parquet")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "ready.parquet")
    audit.score(mapping)
    return audit, tmp_path / "ready.parquet", table


def test_damaged_ready_embeddings_come_back_from_their_source(ready, mapping):
    audit, source, _ = ready
    damage(audit, 7, np.nan)
    assert audit.score(mapping)["unscored"] == 1
    audit.ingest(source)
    assert audit.score(mapping)["unscored"] == 0


def test_other_embeddings_do_not_come_in_the_place_of_those_that_were_scored(ready):
    audit, source, table = ready
    other = table.set_column(2, "image_embedding", [table["image_embedding"].to_pylist()[::-1]])
    pq.write_table(other, source)
    with pytest.raises(AuditError, match="embeddings in it, or beside it, changed since they were ingested"):
        audit.ingest(source)
    audit.shards.clear()
    with pytest.raises(AuditError, match="changed since they were ingested"):
        audit.ingest(source)
