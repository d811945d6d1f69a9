"""Every job on a source that was changed in seven ways since it was read: stopped with one line, or right."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.mapping import Lineage, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.errors import CfbdError, EncoderError
from cfbd_core.html_report import write_html_report
from cfbd_core.pictures.digests import content_hash
from cfbd_core.pictures.images import CHANGED
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.training.sets import TrainingSet
from cfbd_core.workbench.explorer import Explorer
from tests.changed.sources import CHANGES, COUNT, KINDS, cut, moved, moved_to, pair, touched, write
from tests.toy import WIDTH, ToyEncoder

PARAMS = EmbedParams(shard_size=4, batch_size=4, workers=1)
HELD = {pair(number).key: pair(number) for number in range(COUNT)}
NAMES = ("ingested", "half", "done")
WORDS = ("changed", "cannot be read", "not there any more", "no such file", "is not a whole", "NEWPLACE")


class Stages(NamedTuple):
    """A source and three audits of it: ingested, embedded by half, and split."""

    source: Path
    ingested: Audit
    half: Audit
    done: Audit


class _Stops(ToyEncoder):
    def encode_images(self, images):
        if self.images_encoded >= 4:
            raise EncoderError("enough")
        return super().encode_images(images)


@pytest.fixture(scope="module")
def mapping(tmp_path_factory) -> str:
    """The file of some F for the toy encoder: what it makes of pictures does not matter here."""
    path = tmp_path_factory.mktemp("mapping") / "f.safetensors"
    rows = np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32)
    lineage = Lineage(ToyEncoder.id, ToyEncoder.sha256, "noise")
    train_mapping(rows, rows, lineage, FitParams(epochs=1)).save(path)
    return str(path)


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory, mapping) -> Path:
    """A folder with audits of a source of each kind, and a copy of it beside."""
    folder: Path = tmp_path_factory.mktemp(request.param) / "made"
    write(request.param, folder / "source", [pair(number) for number in range(COUNT)])
    audits = [Audit.create(folder / name) for name in NAMES]
    for audit in audits:
        audit.ingest(folder / "source")
    _, half, done = audits
    with pytest.raises(EncoderError):
        half.embed(_Stops(), PARAMS)
    done.embed(ToyEncoder(), PARAMS)
    done.score(mapping)
    done.split(SplitParams(q=3, k=1))
    shutil.copytree(folder, folder.with_name("copy"))
    return folder


@pytest.fixture
def stages(made) -> Stages:
    """What :func:`made` made, as it was: touched, but not otherwise changed."""
    for left in made.parent.iterdir():
        if left.name != "copy":
            shutil.rmtree(left)
    shutil.copytree(made.with_name("copy"), made)
    return Stages(made / "source", *(Audit.open(made / name) for name in NAMES))


def kind_of(stages: Stages) -> str:
    return {"webdataset": "tars"}.get(form := stages.done.state.steps()["source"]["format"], form)


# --- jobs: each gives the pairs that it tells of, as (key, caption, picture) -----------------------------------------

Told = Iterator[tuple[str, str, bytes]]


def embed(audit: Audit) -> Told:
    audit.embed(ToyEncoder(), PARAMS)
    held = audit.pairs()
    encoder, texts = ToyEncoder(), np.concatenate(audit.shards.texts())
    digests = audit.shards.image_hashes(held["row"].to_numpy()).tolist()
    by_digest = {content_hash(one.picture).rstrip(b"\0"): one.picture for one in HELD.values()}
    for row, key, caption, digest in zip(
        *(held[name].to_pylist() for name in ("row", "key", "caption")), digests, strict=True
    ):
        np.testing.assert_allclose(texts[row], encoder.encode_texts([caption])[0], atol=1e-3)
        yield key, caption, by_digest.get(digest, b"another picture")


def export_table(ending: str) -> Callable[[Audit], Told]:
    def job(audit: Audit) -> Told:
        out = audit.folder.with_name(f"clean.{ending}")
        try:
            audit.export(out, "all")
            if ending == "csv":
                with out.open(newline="") as file:
                    rows = list(csv.DictReader(file))
            else:
                rows = pq.read_table(out).to_pylist()
            yield from [(row["key"], row["caption"], Path(row["image"]).read_bytes()) for row in rows]
        finally:
            for left in audit.folder.parent.glob("clean*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    return job


def export_webdataset(audit: Audit) -> Told:
    out = audit.folder.with_name("clean")
    try:
        audit.export(out, "all")
        for path in out.glob("*.tar"):
            with tarfile.open(path) as tar:
                files = {member.name: tar.extractfile(member).read() for member in tar}
            for name, data in files.items():
                if name.endswith(".json"):
                    facts = json.loads(data)
                    yield facts["key"], facts["caption"], files[name.replace(".json", ".png")]
    finally:
        shutil.rmtree(out, ignore_errors=True)
        out.with_name("clean.json").unlink(missing_ok=True)


def train(audit: Audit) -> Told:
    pairs = TrainingSet.from_audit(audit, "all")
    for row, (key, caption) in enumerate(zip(pairs.keys, pairs.captions, strict=True)):
        yield key, caption, pairs.encoded(row)


def score_and_split(audit: Audit) -> Told:
    audit.score(audit.state.steps()["mapping"]["name"])
    audit.split(SplitParams(q=3, k=1))
    assert audit.pairs()["consistency"].null_count == 0
    yield from ()


def ingest(audit: Audit) -> Told:
    audit.ingest(audit.state.source() or "")
    yield from ()


JOBS: dict[str, Callable[[Audit], Told]] = {
    "export csv": export_table("csv"),
    "export parquet": export_table("parquet"),
    "export webdataset": export_webdataset,
    "train": train,
    "score and split": score_and_split,
    "ingest": ingest,
}


def outcome(job: Callable[[Audit], Told], audit: Audit) -> str:
    """ "stopped" with one line, "right", or what is wrong."""
    try:
        told = list(job(audit))
    except CfbdError as error:
        line = str(error)
        return "stopped" if "\n" not in line and "/" in line and any(word in line for word in WORDS) else line
    wrong = [key for key, *rest in told if list(HELD[key.lstrip("0").zfill(4)][1:]) != rest]
    return f"other pairs: {wrong}" if wrong else "right"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_job_is_stopped_with_one_line_or_is_right(stages, change):
    change(kind_of(stages), stages.source)
    found = {name: outcome(job, stages.done) for name, job in JOBS.items()}
    reads = "right" if change is touched else "stopped"
    wanted = dict.fromkeys(JOBS, reads) | {"score and split": "right"}
    if "picture" in change.__name__ or (change is cut and kind_of(stages) == "folder"):
        wanted["ingest"] = found["ingest"]  # the pairs are the same; pictures are compared when they are read
        assert found["ingest"] in ("right", "stopped")
    assert found == wanted


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_embedding_that_goes_on_is_stopped_or_what_was_embedded_stays_right(stages, change):
    change(kind_of(stages), stages.source)
    found = outcome(embed, stages.half)
    if change is touched:
        assert found == "right"
    elif "picture" in change.__name__ or (change is cut and kind_of(stages) == "folder"):
        assert found in ("right", "stopped")  # the picture that was changed is not read again
    else:
        assert found == "stopped"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_embedded_for_the_first_time_are_the_pairs_that_were_ingested(stages, change):
    change(kind_of(stages), stages.source)
    found = outcome(embed, stages.ingested)
    if "picture" in change.__name__:  # nobody has read the old one
        assert found in ("stopped", "other pairs: ['0003']", "other pairs: ['000000003']")
    elif change is touched or (change is cut and kind_of(stages) == "folder"):
        assert found == "right"
    else:
        assert found == "stopped"


def test_a_source_that_moved_is_found_again_by_its_new_place(stages):
    moved(kind_of(stages), stages.source)
    for audit in stages[1:]:
        told = audit.ingest(moved_to(stages.source))["again"]
        assert "found again" in told
    assert {outcome(embed, audit) for audit in (stages.ingested, stages.half)} == {"right"}
    assert {name: outcome(job, stages.done) for name, job in JOBS.items()} == dict.fromkeys(JOBS, "right")
    pairs = stages.done.pairs().to_pylist()
    assert all(
        thumbnail.data for thumbnail in Thumbnails(stages.done.folder).of_pairs(stages.done.shards, pairs)
    )


def test_another_source_is_not_taken_for_one_that_moved(stages, tmp_path):
    others = [pair(number)._replace(caption=pair(number + 1).caption) for number in range(COUNT)]
    write(kind_of(stages), tmp_path / "other", others)
    with pytest.raises(CfbdError, match="already holds .* another caption"):
        stages.done.ingest(tmp_path / "other")
    assert outcome(export_webdataset, stages.done) == "right"


@pytest.mark.parametrize("change", CHANGES[3:5], ids=lambda change: change.__name__)
def test_a_view_says_that_a_picture_changed_and_shows_no_other(stages, change):
    change(kind_of(stages), stages.source)
    found = Thumbnails(stages.done.folder).of_pairs(stages.done.shards, stages.done.pairs().to_pylist())
    shifted = (
        kind_of(stages) == "tars" and "as_old" not in change.__name__
    )  # what lay behind it lies elsewhere now
    assert (found[3].data, found[3].reason) == (None, CHANGED)
    assert all(one.data for number, one in enumerate(found) if number != 3) or shifted
    assert all(one.data or one.reason == CHANGED or shifted for one in found)
    made = write_html_report(Explorer(stages.done), stages.done.folder.with_name("report.html"))
    assert made["out"]


def test_a_thumbnail_that_was_kept_of_another_picture_is_not_shown(stages):
    pairs = stages.done.pairs().to_pylist()
    Thumbnails(stages.done.folder).of_pairs(stages.done.shards, pairs)
    CHANGES[4](kind_of(stages), stages.source)
    kept = Thumbnails(stages.done.folder).of_pairs(
        stages.done.shards, pairs
    )  # size and time are those of before
    assert [one.reason for one in kept] == [CHANGED if number == 3 else "" for number in range(len(kept))]
