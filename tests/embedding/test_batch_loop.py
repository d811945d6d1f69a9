from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.batch_loop import find_batch_size
from cfbd_core.errors import AuditError, EncoderError, SourceError
from tests.toy import ToyEncoder, toy_picture

PARAMS = EmbedParams(shard_size=16, batch_size=4)


def embedded(folder: Path, source: Path, encoder: ToyEncoder, params: EmbedParams = PARAMS) -> Audit:
    audit = Audit.open_or_create(folder)
    audit.ingest(source)
    audit.embed(encoder, params)
    return audit


def contents(audit: Audit) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(audit.shards.folder.glob("*.npy"))}


def test_every_pair_gets_the_embedding_of_its_image_and_its_caption(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(50), ToyEncoder())
    pairs = audit.pairs()
    encoder = ToyEncoder()
    from PIL import Image

    images = np.concatenate(audit.shards.images())
    texts = np.concatenate(audit.shards.texts())
    for row, path, caption in zip(
        *(pairs[name].to_pylist() for name in ("row", "image", "caption")), strict=True
    ):
        with Image.open(path) as picture:
            alone = encoder.encode_images(encoder.transform(picture)[None])[0]
        np.testing.assert_allclose(images[row], alone, atol=1e-3)
        np.testing.assert_allclose(texts[row], encoder.encode_texts([caption])[0], atol=1e-3)
    assert images.dtype == np.float16


KILLED = """
import sys
from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from tests.toy import ToyEncoder
audit = Audit.create(sys.argv[1])
audit.ingest(sys.argv[2])
audit.embed(ToyEncoder(seconds=0.05), EmbedParams(shard_size=16, batch_size=4))
"""


def test_killed_at_any_moment_and_resumed_equals_an_unbroken_run(tmp_path, toy_source):
    source = toy_source(120)
    whole = embedded(tmp_path / "whole", source, ToyEncoder())
    for shards_before_the_kill in (1, 4):
        folder = tmp_path / f"killed{shards_before_the_kill}"
        job = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(source)])
        marker = folder / "embeddings" / f"stats_{shards_before_the_kill - 1:04d}.json"
        deadline = time.monotonic() + 60
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        job.send_signal(signal.SIGKILL)
        job.wait()
        assert not (folder / "embeddings" / "stats_0007.json").exists(), "it was killed too late to test"
        encoder = ToyEncoder()
        resumed = embedded(folder, source, encoder)
        assert 0 < encoder.images_encoded <= 120 - 16 * shards_before_the_kill
        assert contents(resumed) == contents(whole)


def test_the_same_bytes_are_encoded_once_also_across_shards(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["key,image,caption"]
    for index in range(40):
        toy_picture("red", np.random.default_rng(index % 5)).save(folder / f"{index}.png")
        lines.append(f"{index},{index}.png,caption {index % 7}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    encoder = ToyEncoder()
    audit = embedded(tmp_path / "audit", folder / "pairs.csv", encoder)
    assert (encoder.images_encoded, encoder.captions_encoded) == (5, 7)
    images, texts = np.concatenate(audit.shards.images()), np.concatenate(audit.shards.texts())
    assert all((images[index] == images[index % 5]).all() for index in range(40))
    assert all((texts[index] == texts[index % 7]).all() for index in range(40))


def test_an_unreadable_image_is_skipped_with_its_reason_and_nothing_is_read_from_its_row(
    tmp_path, toy_source
):
    source = toy_source(40)
    (source.parent / "0003.png").write_bytes((source.parent / "0003.png").read_bytes()[:60])
    (source.parent / "0007.png").write_bytes(b"not a picture")
    lines = source.read_text().splitlines()
    caption = lines[4].split(",")[2]  # of key 0003
    lines[31] = ",".join(["0030", "0030.png", caption, "0"])  # again in the second shard
    source.write_text("\n".join(lines))
    audit = embedded(tmp_path / "audit", source, ToyEncoder())
    keys = audit.pairs()["key"].to_pylist()
    assert len(keys) == 38
    assert not {"0003", "0007"} & set(keys)
    reasons = {reason["reason"]: reason for reason in audit.validation_report()["reasons"]}
    assert {example["key"] for reason in reasons.values() for example in reason["examples"]} == {
        "0003",
        "0007",
    }
    texts = np.concatenate(audit.shards.texts())
    assert not texts[3].any()
    np.testing.assert_allclose(texts[30], ToyEncoder().encode_texts([caption])[0], atol=1e-3)


def test_when_no_image_can_be_read_the_audit_says_so(tmp_path, toy_source):
    source = toy_source(5)
    for picture in source.parent.glob("*.png"):
        picture.write_bytes(b"not a picture")
    with pytest.raises(AuditError, match="not one image could be read"):
        embedded(tmp_path / "audit", source, ToyEncoder())


def test_images_that_vanish_stop_the_job_and_it_goes_on_when_they_are_back(tmp_path, toy_source):
    source = toy_source(60)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    away = source.parent / "away"
    away.mkdir()
    for index in range(20, 40):
        (source.parent / f"{index:04d}.png").rename(away / f"{index:04d}.png")
    with pytest.raises(AuditError, match="20 images are not there any more"):
        audit.embed(ToyEncoder(), PARAMS)
    for picture in away.iterdir():
        picture.rename(source.parent / picture.name)
    audit.embed(ToyEncoder(), PARAMS)
    assert audit.state.pair_count() == 60
    assert contents(audit) == contents(embedded(tmp_path / "whole", source, ToyEncoder()))


FEW_FILES = """
import resource, sys
from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from tests.toy import ToyEncoder
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
audit = Audit.create(sys.argv[1])
audit.ingest(sys.argv[2])
audit.embed(ToyEncoder(), EmbedParams(shard_size=4, batch_size=4, workers=2))
audit.score("self")
audit.split()
print(audit.report()["pairs"])
"""


def test_thousands_of_repeats_and_shards_need_few_open_files(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["key,image,caption"]
    for index in range(800):
        if index < 80:
            toy_picture("red", np.random.default_rng(index)).save(folder / f"{index}.png")
        lines.append(f"{index},{index % 80}.png,caption {index % 150}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    job = [sys.executable, "-c", FEW_FILES, str(tmp_path / "audit"), str(folder / "pairs.csv")]
    shown = subprocess.run(job, capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "800", shown.stderr[-500:]


def test_a_missing_hash_file_or_broken_stats_are_made_again(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(60), ToyEncoder())
    before = contents(audit)
    audit.shards.hash_path(1).unlink()
    audit.shards.stats_path(2).write_text("{half")
    encoder = ToyEncoder()
    audit.embed(encoder, PARAMS)
    assert contents(audit) == before
    assert 0 < encoder.images_encoded <= 32


def test_a_picture_that_was_replaced_is_told_after_the_embeddings_are_deleted(tmp_path, toy_source):
    source = toy_source(30)
    audit = embedded(tmp_path / "audit", source, ToyEncoder())
    audit.shards.clear()
    picture = sorted(source.parent.rglob("*.png"))[3]
    before = picture.read_bytes()
    toy_picture("blue", np.random.default_rng(99)).save(picture)
    with pytest.raises((AuditError, SourceError), match=f"{picture.name}.* (changed since|is not the one)"):
        audit.embed(ToyEncoder(sha256="1" * 64), PARAMS)
    picture.write_bytes(before)
    assert "not_compared" not in audit.embed(ToyEncoder(sha256="1" * 64), PARAMS)


def test_where_nothing_is_known_of_the_pictures_a_new_embedding_says_so(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(30), ToyEncoder())
    audit.shards.clear()
    shutil.rmtree(audit.folder / "pictures")
    assert audit.embed(ToyEncoder(), PARAMS)["not_compared"] == 30
    assert audit.embed(ToyEncoder(), PARAMS).get("not_compared") is None


@pytest.mark.parametrize("name", ["digests.npy", "stamps.npy"])
@pytest.mark.parametrize("harm", ["cut", "gone", "text"])
def test_damage_of_what_is_known_of_pictures_is_mended_by_the_embeddings(tmp_path, toy_source, name, harm):
    audit = embedded(tmp_path / "audit", toy_source(30), ToyEncoder())
    path, rows = audit.folder / "pictures" / name, np.arange(30)
    before = audit.shards.image_hashes(rows)
    path.write_bytes({"cut": path.read_bytes()[:-8], "text": b"hello"}.get(harm, b""))
    if harm == "gone":
        path.unlink()
    elif name == "digests.npy":
        with pytest.raises(AuditError, match="digests.npy: damaged .*cfbd embed` again"):
            audit.shards.image_hashes(rows)
    assert "not_compared" not in audit.embed(ToyEncoder(), PARAMS)
    assert audit.shards.image_hashes(rows).tolist() == before.tolist()
    assert (before != b"").all()


def test_another_encoder_is_refused_and_the_audit_stays_as_it_was(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(30), ToyEncoder())
    before = contents(audit)
    with pytest.raises(AuditError, match="holds embeddings of toy"):
        audit.embed(ToyEncoder(sha256="1" * 64), PARAMS)
    assert contents(audit) == before


def test_deleted_embeddings_are_made_again_and_old_scores_go(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(60), ToyEncoder())
    audit.score("self")
    audit.shards.clear()
    audit.embed(ToyEncoder(sha256="1" * 64), PARAMS)
    assert audit.pairs()["consistency"].null_count == 60


def test_nan_from_an_encoder_is_an_error_not_a_score(tmp_path, toy_source):
    class Broken(ToyEncoder):
        def encode_images(self, images):
            return super().encode_images(images) * np.nan

    with pytest.raises(EncoderError, match="NaN"):
        embedded(tmp_path / "audit", toy_source(10), Broken())


def test_the_batch_size_is_kept_in_the_plan(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(10), ToyEncoder(), EmbedParams(shard_size=16))
    plan = json.loads((audit.shards.folder / "plan.json").read_text())
    assert plan["batch_size"] == find_batch_size(ToyEncoder())


def test_a_damaged_shard_is_named(tmp_path, toy_source):
    audit = embedded(tmp_path / "audit", toy_source(30), ToyEncoder())
    audit.shards.image_path(1).write_bytes(b"broken")
    with pytest.raises(AuditError, match="img_emb_0001.npy"):
        audit.score("self")
