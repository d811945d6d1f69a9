from __future__ import annotations

import json
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.config import EmbedParams
from cfbd_core.errors import AuditError, CfbdError, ParameterError, SourceError
from cfbd_core.sources import SourceOptions
from tests.toy import ToyEncoder

POISONED = tuple(range(5, 600, 37))
SPLIT = SplitParams(q=8, k=2)


def audited(folder, source, params: SplitParams = SPLIT) -> Audit:
    audit = Audit.open_or_create(folder)
    audit.ingest(source)
    audit.embed(ToyEncoder(), EmbedParams(shard_size=100, batch_size=32))
    audit.score("self")
    audit.split(params)
    return audit


def test_planted_poison_is_found_and_reported_with_strong_evidence(tmp_path, toy_source):
    report = audited(tmp_path / "audit", toy_source(600, POISONED)).report()
    assert report["pairs"] == 600 == report["flagged"] + report["kept"]
    assert report["benign"] + report["poisoned"] + report["suspicious"] == 600
    assert report["truth"]["tpr"] == 1.0
    assert report["truth"]["fpr"] <= 0.005
    assert report["truth"] == report["truth_final"]
    assert report["evidence"]["level"] == "strong"
    assert report["params"]["gamma_z"] is not None
    json.dumps(report, allow_nan=False)


def test_clean_pairs_give_no_evidence(tmp_path, toy_source):
    report = audited(tmp_path / "audit", toy_source(600)).report()
    assert report["evidence"]["level"] == "none"
    assert report["flagged"] <= 3
    assert report["truth"]["auroc_z"] is None
    assert report["truth"]["tpr"] is None


def test_the_result_does_not_depend_on_the_order_of_the_rows(tmp_path, toy_source):
    source = toy_source(300, POISONED[:8])
    header, *lines = source.read_text().splitlines()
    shuffled = source.with_name("shuffled.csv")
    shuffled.write_text("\n".join([header, *np.random.default_rng(3).permutation(lines)]))
    first, second = (
        audited(tmp_path / name, path).pairs(order_by="key").to_pandas()
        for name, path in (("first", source), ("second", shuffled))
    )
    # F is trained here and numbers its images by row, so scores agree only nearly.
    assert (first["verdict"] == second["verdict"]).all()
    np.testing.assert_allclose(first["consistency"], second["consistency"], atol=0.1)


def test_every_step_can_be_called_again(tmp_path, toy_source):
    source = toy_source(200, POISONED[:5])
    first = audited(tmp_path / "audit", source).report()
    again = audited(tmp_path / "audit", source).report()
    assert first == again


def test_steps_in_the_wrong_order_name_the_missing_one(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    for step, missing in (
        (lambda: audit.embed(ToyEncoder()), "cfbd ingest"),
        (audit.score, "cfbd embed"),
        (audit.split, "cfbd score"),
        (audit.report, "cfbd split"),
    ):
        with pytest.raises(AuditError, match=missing):
            step()


def test_fewer_pairs_than_q_or_k_are_refused(tmp_path, toy_source):
    audit = audited(tmp_path / "audit", toy_source(60))
    before = audit.report()
    with pytest.raises(ParameterError, match="60 scored pairs"):
        audit.split(SplitParams(q=61))
    assert audit.report() == before


def test_too_few_pairs_to_train_f_are_refused(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(6))
    audit.embed(ToyEncoder())
    with pytest.raises(CfbdError, match="too few"):
        audit.score("self")


def test_an_audit_of_another_source_is_refused_and_the_same_source_is_not_read_twice(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    first = audit.ingest(toy_source(20))
    assert audit.ingest(tmp_path / "pairs" / "pairs.csv") == first
    with pytest.raises(AuditError, match="already holds"):
        audit.ingest(toy_source(30, name="others"))
    assert audit.state.pair_count() == 20


def test_a_failing_ingest_leaves_the_audit_as_it_was(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    empty = tmp_path / "empty.csv"
    empty.write_text("image,caption\nnowhere.png,a dog\n")
    with pytest.raises(SourceError, match="none of its 1 records is usable"):
        audit.ingest(empty)
    assert audit.state.pair_count() == 0
    assert audit.ingest(toy_source(20))["pairs"] == 20


def test_a_duplicate_key_is_skipped_and_told(tmp_path, toy_source):
    source = toy_source(20)
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines, lines[4], lines[4]]))
    audit = Audit.create(tmp_path / "audit")
    found = audit.ingest(source)
    assert (found["pairs"], found["skipped"]) == (20, 2)
    assert found["reasons"][0]["reason"] == "duplicate key"
    assert found["reasons"][0]["examples"][0]["key"] == "0003"


def test_a_folder_with_something_else_and_a_newer_audit_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AuditError, match="not empty"):
        Audit.create(tmp_path)
    with pytest.raises(AuditError, match="no audit here"):
        Audit.open(tmp_path)
    Audit.create(tmp_path / "audit")
    with duckdb.connect(str(tmp_path / "audit" / "audit.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(AuditError, match="newer version"):
        Audit.open(tmp_path / "audit")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "audit.duckdb").write_bytes(b"not a database" * 100)
    with pytest.raises(AuditError, match="not readable as an audit"):
        Audit.open(tmp_path / "other")


def test_a_busy_file_is_waited_for_and_then_told(tmp_path, monkeypatch):
    monkeypatch.setattr("cfbd_core.store.database.BUSY_SECONDS", 0.3)
    audit = Audit.create(tmp_path / "audit")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            f"c = duckdb.connect({str(tmp_path / 'audit' / 'audit.duckdb')!r})\n"
            "print('held', flush=True)\nsys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(AuditError, match="another process has had the audit open"):
        audit.state.pair_count()
    holder.communicate()
    assert audit.state.pair_count() == 0


def test_ready_embeddings_are_audited_without_an_encoder(tmp_path):
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((120, 24)).astype(np.float32) for _ in range(2))
    columns = {
        "key": [f"{index:03d}" for index in range(120)],
        "caption": [f"caption {index}" for index in range(120)],
        "image_embedding": pa.FixedSizeListArray.from_arrays(pa.array(image.ravel()), 24),
        "text_embedding": pa.FixedSizeListArray.from_arrays(pa.array(text.ravel()), 24),
    }
    pq.write_table(pa.table(columns), tmp_path / "ready.parquet")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "ready.parquet", SourceOptions())
    assert audit.embed()["width"] == 24
    with pytest.raises(AuditError, match="ready embeddings"):
        audit.embed("mini")
    audit.score("self")
    audit.split(SplitParams(q=10, k=2))
    assert audit.report()["pairs"] == 120
    stored = np.concatenate(audit.shards.images()).astype(np.float32)
    np.testing.assert_allclose(stored, image / np.linalg.norm(image, axis=1, keepdims=True), atol=1e-3)


def ready_table(path, image, text, **columns):
    n, width = image.shape
    table = {
        "key": [f"{index:03d}" for index in range(n)],
        "caption": [f"caption {index}" for index in range(n)],
        "image_embedding": pa.FixedSizeListArray.from_arrays(pa.array(image.ravel()), width),
        "text_embedding": pa.FixedSizeListArray.from_arrays(pa.array(text.ravel()), width),
    }
    pq.write_table(pa.table(table | columns), path)
    return path


def test_deleted_ready_embeddings_come_back_from_their_source(tmp_path):
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((80, 16)).astype(np.float32) for _ in range(2))
    image[7] *= 1e25  # its square is too large for single precision
    source = ready_table(tmp_path / "ready.parquet", image, text)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    audit.score("self")
    audit.split(SplitParams(q=5, k=2))
    report = audit.report()
    assert report["flagged"] + report["kept"] == report["pairs"] == 80
    before = np.concatenate(audit.shards.images())
    audit.shards.clear()
    with pytest.raises(AuditError, match="ingest"):
        audit.embed()
    audit.ingest(source)
    audit.embed()
    np.testing.assert_array_equal(np.concatenate(audit.shards.images()), before)
    audit.score("self")


def test_another_caption_option_for_the_same_source_is_named(tmp_path, toy_source):
    source = toy_source(20)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    with pytest.raises(AuditError, match="--captions first, not all"):
        audit.ingest(source, SourceOptions(captions="all"))


def test_an_audit_with_its_pictures_inside_can_be_moved(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    toy_source(40).parent.rename(tmp_path / "audit" / "source")
    audit.ingest(tmp_path / "audit" / "source" / "pairs.csv")
    (tmp_path / "audit").rename(tmp_path / "moved")
    moved = Audit.open(tmp_path / "moved")
    moved.embed(ToyEncoder())
    assert moved.state.pair_count() == 40
    assert moved.pairs(limit=1)["image"][0].as_py().startswith(str(tmp_path / "moved"))


def test_the_f_trained_on_an_audit_is_kept_and_used_again(tmp_path, toy_source, monkeypatch):
    audit = audited(tmp_path / "audit", toy_source(100))
    before = audit.pairs()["consistency"].to_pylist()
    monkeypatch.setattr("cfbd_core.audit.scoring.train_mapping", None)
    audit.score("self")
    assert audit.pairs()["consistency"].to_pylist() == before


def test_pairs_by_condition_and_order(tmp_path, toy_source):
    audit = audited(tmp_path / "audit", toy_source(100))
    table = audit.pairs("consistency > 0", "consistency DESC", limit=7)
    values = table["consistency"].to_pylist()
    assert len(values) == 7
    assert values == sorted(values, reverse=True)
    with pytest.raises(ParameterError, match="no_such_column"):
        audit.pairs("no_such_column = 1")


def test_two_processes_at_once_the_second_is_refused_and_nothing_is_lost(tmp_path, toy_source):
    source = toy_source(60)
    folder = tmp_path / "audit"
    slow = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from cfbd_core import Audit\n"
            "from cfbd_core.config import EmbedParams\n"
            "from tests.toy import ToyEncoder\n"
            f"audit = Audit.create({str(folder)!r})\n"
            f"audit.ingest({str(source)!r})\n"
            "class Slow(ToyEncoder):\n"
            "    def encode_images(self, images):\n"
            "        print('embedding', flush=True)\n"
            "        sys.stdin.readline()\n"
            "        return super().encode_images(images)\n"
            "audit.embed(Slow(), EmbedParams(batch_size=60))\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert slow.stdout is not None
    slow.stdout.readline()
    audit = Audit.open(folder)
    with pytest.raises(AuditError, match=r"embed \(process \d+\) is running"):
        audit.embed(ToyEncoder())
    assert audit.state.pair_count() == 60  # reading is possible meanwhile
    audit.delete_if_empty()
    slow.communicate(b"go on\n")
    assert slow.returncode == 0
    assert audit.shards.are_whole()


def test_a_folder_of_other_things_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AuditError, match="not empty"):
        Audit.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB; needs root on Linux."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("room", [0, 5_000, 20_000])
def test_a_full_disk_is_told_in_one_line_and_the_job_goes_on_after_it_has_room(small_disk, toy_source, room):
    audit = Audit.create(small_disk / "audit")
    audit.ingest(toy_source(600))
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="space"):
        while file.write(b"0" * 65536):
            file.flush()
    with filler.open("rb+") as file:
        file.truncate(filler.stat().st_size - room)
    with pytest.raises(AuditError, match="disk is full") as told:
        audit.embed(ToyEncoder(), EmbedParams(shard_size=100, batch_size=32))
    assert "\n" not in str(told.value)
    filler.unlink()
    audit.embed(ToyEncoder(), EmbedParams(shard_size=100, batch_size=32))
    assert audit.shards.are_whole()
    assert audit.state.pair_count() == 600


def test_the_settings_of_the_stored_split_come_back(scored, own):
    assert scored.state.applied_params() is None
    params = SplitParams(k=2, q=9, gamma=0.7, gamma_z=0.4, gamma_z_rule="manual", recheck=False)
    own.split(params)
    assert Audit.open(own.folder).state.applied_params() == params


def test_a_glance_tells_what_its_parts_do(own: Audit) -> None:
    assert own.state.glance() == (own.state.score_version(), True, None, {})
    own.split(SplitParams(k=2, q=20))
    own.views.save("mine", {"show": "all"})
    parts = own.state.score_version(), own.state.is_scored(), own.state.applied_params(), own.views.saved()
    assert own.state.glance() == parts


def test_folders_with_letters_of_patterns_serve_as_others_and_those_that_cannot_are_told(
    tmp_path, toy_source
):
    source = toy_source(12)
    audit = Audit.create(tmp_path / "g[1]*" / "a")
    assert audit.ingest(source)["pairs"] == 12
    with pytest.raises(AuditError, match="a path with '\\?' cannot be used"):
        Audit.create(tmp_path / "a?").ingest(source)
