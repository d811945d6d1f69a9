"""When a source is read again, what is remembered of it, and how it is found at another place."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.export import PairsToWrite
from cfbd_core.audit.export import write as write_export
from cfbd_core.audit.parts import EmbeddingsHash
from cfbd_core.cli import main
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.mapping import Lineage, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.errors import AuditError, SourceError
from cfbd_core.machine.stamps import NO_STAMP, is_unchanged, stamp_of
from cfbd_core.sources import SourceOptions, open_source
from cfbd_core.store import queries
from tests.changed.sources import COUNT, KINDS, pair, touched, write
from tests.explored import scored_audit
from tests.toy import ToyEncoder

PARAMS = EmbedParams(shard_size=4, batch_size=4, workers=1)


def ingested(folder: Path, kind: str = "csv", options: SourceOptions | None = None) -> tuple[Audit, Path]:
    write(kind, folder / "source", [pair(number) for number in range(COUNT)])
    audit = Audit.create(folder / "audit")
    audit.ingest(folder / "source", options)
    return audit, folder / "source"


@pytest.fixture
def readings(monkeypatch) -> list[str]:
    """How often a source was read to be compared."""
    from cfbd_core.audit import source_state

    told: list[str] = []
    read = source_state.read_parts

    def counted(source, *others):
        told.append(source.name)
        return read(source, *others)

    monkeypatch.setattr(source_state, "read_parts", counted)
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_nobody_wrote_to_is_not_read_again(tmp_path, kind, readings):
    audit, source = ingested(tmp_path, kind)
    audit.check_source()
    assert "again" not in audit.ingest(source)
    assert readings == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_touched_is_read_once_and_remembered(tmp_path, kind, readings):
    audit, source = ingested(tmp_path, kind)
    touched(kind, source)
    audit.check_source()
    audit.check_source()
    assert len(readings) == 1
    touched(kind, source)
    assert "touched" in audit.ingest(source)["again"]
    assert "again" not in audit.ingest(source)
    assert len(readings) == 2


def test_a_file_whose_size_and_time_were_kept_is_looked_into_all_the_same(tmp_path, readings):
    audit, source = ingested(tmp_path, "parquet")
    path = source / "pairs.parquet"
    before, status = path.read_bytes(), path.stat()
    one, other = pair(1).caption.encode(), pair(2).caption.encode()
    path.write_bytes(before.replace(one, b"#" * 24).replace(other, one).replace(b"#" * 24, other))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(
        SourceError, match=r"pairs.parquet: changed since it was ingested \(pair 1, .* another caption"
    ):
        audit.check_source()


def test_of_several_tars_the_one_that_changed_is_named(tmp_path):
    audit, source = ingested(tmp_path, "tars")
    touched("tars", source)
    path = source / "00001.tar"
    path.write_bytes(path.read_bytes().replace(pair(9).caption.encode(), b"another caption".ljust(24, b".")))
    with pytest.raises(SourceError, match="00001.tar: changed"):
        audit.check_source()


def test_an_audit_without_stamps_is_known_by_sizes_and_times_alone_at_first(tmp_path, readings):
    audit, source = ingested(tmp_path, "tars")
    with duckdb.connect(str(audit.folder / "audit.duckdb")) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'stamps'")
    audit = Audit.open(audit.folder)
    audit.check_source()
    assert readings == []
    touched("tars", source)
    audit.check_source()
    assert readings == ["webdataset"]
    write("tars", source, [pair(number) for number in reversed(range(COUNT))])
    with pytest.raises(SourceError, match="00000.tar: changed"):
        audit.check_source()


def test_pictures_of_a_table_are_found_below_another_image_root(tmp_path):
    write("csv", tmp_path / "here", [pair(number) for number in range(COUNT)])
    pictures = shutil.move(tmp_path / "here" / "img", tmp_path / "pictures" / "img")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "here", SourceOptions(image_root=Path(pictures).parent))
    shutil.move(tmp_path / "pictures", tmp_path / "disk" / "pictures")
    with pytest.raises(AuditError, match="12 images are not there .*`cfbd ingest NEWPLACE"):
        audit.embed(ToyEncoder(), PARAMS)
    told = audit.ingest(tmp_path / "here", SourceOptions(image_root=tmp_path / "disk" / "pictures"))
    assert "found again" in told["again"]
    audit.embed(ToyEncoder(), PARAMS)
    assert audit.state.pair_count() == COUNT
    assert "again" not in audit.ingest(
        tmp_path / "here"
    )  # a root that was given once need not be given again


def test_a_picture_that_moved_alone_is_not_found_by_another_of_its_name(tmp_path):
    audit, source = ingested(tmp_path)
    (source / "img" / "more").mkdir()
    (source / "img" / "0003.png").rename(source / "img" / "more" / "0003.png")
    lines = (source / "pairs.csv").read_text().replace("img/0003.png", "img/more/0003.png")
    (source / "pairs.csv").write_text(lines)
    with pytest.raises(AuditError, match="another picture"):
        audit.ingest(source)


def test_a_table_that_was_deleted_after_its_ingest_stops_nothing(tmp_path):
    audit, source = ingested(tmp_path)
    (source / "pairs.csv").unlink()
    audit.embed(ToyEncoder(), PARAMS)
    assert audit.state.pair_count() == COUNT


def test_the_command_line_tells_in_one_line_and_where_a_source_was_found(tmp_path, capsys):
    audit, source = ingested(tmp_path, "tars")
    write("tars", source, [pair(number) for number in reversed(range(COUNT))])
    assert main(["embed", "--audit", str(audit.folder)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{source / '00000.tar'}: changed since it was ingested" in line
    write("tars", tmp_path / "elsewhere", [pair(number) for number in range(COUNT)])
    assert main(["ingest", str(tmp_path / "elsewhere"), "--audit", str(audit.folder)]) == 0
    assert "found again at" in capsys.readouterr().out


def test_stamps_tell_a_write_and_a_rename_even_where_the_time_is_set_back(tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    held, status = stamp_of(path), path.stat()
    assert is_unchanged(path, held)
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not is_unchanged(path, held)
    held = stamp_of(path)
    (tmp_path / "other").write_text("six")
    os.utime(tmp_path / "other", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "other").replace(path)
    assert not is_unchanged(path, held)
    path.unlink()
    assert stamp_of(path) == NO_STAMP
    assert not is_unchanged(path, NO_STAMP)


def test_the_hash_of_ready_embeddings_does_not_depend_on_the_batches(tmp_path):
    audit = scored_audit(tmp_path / "made", scored=False)
    (batch,) = (one for one in open_source(audit.state.source() or "").batches() if one.pairs.num_rows)
    whole, parts = EmbeddingsHash(), EmbeddingsHash()
    whole.update(batch)
    for part in (slice(0, 100), slice(100, None)):
        batch_part = type(batch)(batch.pairs, [], batch.image_emb[part], batch.text_emb[part])
        parts.update(batch_part)
    assert whole.hexdigest() == parts.hexdigest() != EmbeddingsHash().hexdigest()


# --- exports that only name pictures ---------------------------------------------------------------------------------


@pytest.fixture
def split(tmp_path) -> tuple[Audit, Path]:
    """An audit with embeddings and, in place of scores and a split, what an export asks for."""
    audit, source = ingested(tmp_path)
    audit.embed(ToyEncoder(), PARAMS)
    return audit, source


def named(audit: Audit, out: Path, **options) -> dict[str, int]:
    pairs = PairsToWrite(iter(audit.pairs().to_batches()), {"audit": "a"})
    record = write_export(audit.files, pairs, out, "csv", **options)
    return dict(record["compared_with_what_was_embedded"])


def test_a_table_names_unchanged_files_without_reading_them(split, tmp_path):
    audit, source = split
    assert named(audit, tmp_path / "a.csv") == {"unchanged": COUNT, "read": 0, "not known": 0}
    for path in (source / "img").iterdir():
        os.utime(path)
    assert named(audit, tmp_path / "b.csv") == {"unchanged": 0, "read": COUNT, "not known": 0}


def test_a_file_that_changed_or_is_gone_stops_the_table_unless_it_need_not_be_verified(split, tmp_path):
    audit, source = split
    picture = source / "img" / "0005.png"
    picture.write_bytes(pair(4).picture)
    with pytest.raises(
        SourceError, match="key '0005': its picture in .*0005.png' changed since it was embedded"
    ):
        named(audit, tmp_path / "a.csv")
    picture.unlink()
    with pytest.raises(SourceError, match="0005.png' cannot be read .missing file.*cfbd ingest NEWPLACE"):
        named(audit, tmp_path / "a.csv")
    assert named(audit, tmp_path / "a.csv", verify=False) == {"not compared": COUNT, "not known": 0}
    with (tmp_path / "a.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == COUNT


def test_what_was_embedded_by_an_older_version_is_read(split, tmp_path):
    audit, _ = split
    shutil.rmtree(audit.folder / "pictures")
    assert named(audit, tmp_path / "a.csv")["read"] == COUNT
    for path in audit.shards.folder.glob("hashes_*.npy"):
        path.unlink()
    assert named(audit, tmp_path / "b.csv") == {"not known": COUNT}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_that_changed_places_under_the_same_captions_stop_jobs_that_read_none(tmp_path, kind):
    audit, source = ingested(tmp_path, kind)
    audit.embed(ToyEncoder(), PARAMS)
    pairs = [pair(number) for number in range(COUNT)]
    swapped = [one._replace(picture=other.picture) for one, other in zip(pairs, reversed(pairs), strict=True)]
    write(kind, source, swapped)
    if kind == "csv":  # its pictures are no files of the source: whoever reads one compares it
        touched(kind, source)
    with pytest.raises(SourceError, match="changed since it was ingested .key .0+.: another picture"):
        audit.embed(None, PARAMS)
    with pytest.raises(AuditError, match="another picture"):
        audit.ingest(source)
    write(kind, source, pairs)
    assert audit.embed(None, PARAMS)["rows"] == COUNT


def ready(path: Path, pictures: list[bytes]) -> None:
    rng = np.random.default_rng(0)
    vectors = [list(rng.normal(size=(COUNT, 4)).astype(np.float32)) for _ in range(2)]
    columns = {"image_embedding": vectors[0], "text_embedding": vectors[1], "jpg": pictures}
    pq.write_table(pa.table({"caption": [f"c {row}" for row in range(COUNT)]} | columns), path)


def test_pictures_beside_ready_embeddings_are_known_from_the_ingest(tmp_path):
    pictures = [pair(number).picture for number in range(COUNT)]
    ready(tmp_path / "ready.parquet", pictures)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "ready.parquet")
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    lineage = Lineage("", "", "noise")
    train_mapping(rows, rows, lineage, FitParams(epochs=1)).save(tmp_path / "f.safetensors")
    audit.score(str(tmp_path / "f.safetensors"))
    audit.split(SplitParams(q=3, k=1))
    assert audit.export(tmp_path / "all.csv", "all")["warnings"] == []
    ready(tmp_path / "ready.parquet", pictures[::-1])
    for work in (lambda: audit.export(tmp_path / "b", "all", "webdataset"), audit.check_source):
        with pytest.raises(SourceError, match="another picture"):
            work()
    ready(tmp_path / "ready.parquet", pictures)
    shutil.rmtree(audit.folder / "pictures")
    (warning,) = audit.export(tmp_path / "c.csv", "all")["warnings"]
    assert warning.startswith("12 pictures are exported as now there: what they were")


def test_an_audit_whose_source_is_a_pipe_or_a_device_is_told_at_once(tmp_path):
    audit, _ = ingested(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with audit.files.database.writing() as connection:
            held = queries.get_meta(connection, "source")
            queries.set_meta(connection, "source", held | {"files": [str(path)], "paths": [str(path)]})
            queries.forget_meta(connection, "stamps")
        with pytest.raises(SourceError, match="is a pipe or a device"):
            audit.check_source()
