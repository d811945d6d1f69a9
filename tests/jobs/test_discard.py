"""A folder is deleted where nothing is lost with it, and nowhere else."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

from cfbd_core import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.errors import AuditError
from cfbd_core.jobs.discard import discard, what_it_holds
from cfbd_core.machine.files import one_job
from tests.toy import ToyEncoder


@pytest.fixture
def ingested(tmp_path, toy_source) -> Audit:
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(20))
    return audit


def test_what_an_ingest_made_is_deleted(ingested, tmp_path):
    (ingested.folder / "runs" / "ingest").mkdir(parents=True)
    (ingested.folder / "audit.duckdb.wal").touch()
    assert what_it_holds(ingested.folder) is None
    discard(ingested.folder)
    assert not ingested.folder.exists()
    assert (tmp_path / "pairs" / "pairs.csv").is_file()


def test_so_is_a_folder_of_an_ingest_that_was_killed(tmp_path):
    for name, files in {"a": [], "b": ["audit.lock"], "c": ["audit.lock", "audit.duckdb.new"]}.items():
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            (folder / file).touch()
        discard(folder)
        assert not folder.exists()


def embed(audit: Audit) -> None:
    audit.embed(ToyEncoder(), EmbedParams(batch_size=8))


def decide(audit: Audit) -> None:
    audit.decide(pa.table({"key": ["0003"], "decision": ["keep"], "note": ["mine"]}))


def score(audit: Audit) -> None:
    embed(audit)
    with audit.files.database.writing() as connection:
        connection.execute("INSERT INTO meta VALUES ('mapping', '{}')")
    audit.shards.clear()


def train(audit: Audit) -> None:
    (audit.folder / "runs" / "train-all-plain-mini").mkdir(parents=True)
    (audit.folder / "runs" / "train-all-plain-mini" / "run.json").write_text("{}")


def spoil(audit: Audit) -> None:
    (audit.folder / "audit.duckdb").write_bytes(b"no database" * 100)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (embed, "embeddings"),
        (decide, "decisions"),
        (score, "scores"),
        (spoil, "not readable as an audit"),
        (lambda audit: (audit.folder / "notes.txt").write_text("mine"), "notes.txt"),
        (lambda audit: (audit.folder / "source").mkdir(), "source"),
        (lambda audit: np.save(audit.folder / "mapping.npy", np.zeros(1)), "mapping.npy"),
        (train, "a training run"),
    ],
    ids=["embeddings", "decisions", "scores", "damaged", "notes", "source", "mapping", "training"],
)
def test_what_holds_something_stays(ingested, make, told):
    make(ingested)
    before = sorted(ingested.folder.rglob("*"))
    assert told in what_it_holds(ingested.folder)
    with pytest.raises(AuditError, match=f"would be lost .*{told}"):
        discard(ingested.folder)
    assert sorted(ingested.folder.rglob("*")) == before


def test_hashes_of_pictures_alone_are_no_result(ingested):
    embed(ingested)
    shutil.rmtree(ingested.folder / "embeddings")
    assert (ingested.folder / "pictures" / "digests.npy").is_file()
    assert what_it_holds(ingested.folder) is None


def test_names_can_be_given_that_may_go_too(ingested):
    (ingested.folder / "source").mkdir()
    (ingested.folder / "source" / "00000.tar").touch()
    discard(ingested.folder, frozenset({"source"}))
    assert not ingested.folder.exists()


def test_while_a_job_runs_nothing_is_deleted(ingested):
    with one_job(ingested.folder, "embed"), pytest.raises(AuditError, match="embed is running"):
        discard(ingested.folder)
    assert ingested.state.pair_count() == 20


def test_a_link_to_an_audit_is_not_followed(ingested, tmp_path):
    (tmp_path / "link").symlink_to(ingested.folder)
    with pytest.raises(AuditError, match="would be lost"):
        discard(tmp_path / "link")
    assert ingested.state.pair_count() == 20
