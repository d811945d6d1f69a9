"""Sets from audits, exports and arrays; what of them cannot be trained on is in test_cli_train."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from cfbd_core import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.errors import ParameterError, SourceError, TrainingError
from cfbd_core.training import sets
from cfbd_core.training.place import check_place
from cfbd_core.training.sets import TrainingSet
from tests.toy import ToyEncoder
from tests.training.tiny import toy_set


def test_arrays_are_their_pictures():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    pairs = TrainingSet.from_arrays(images, ["one", "two", "three"])
    assert (len(pairs), pairs.keys, pairs.captions) == (3, ["0", "1", "2"], ["one", "two", "three"])
    assert np.array_equal(np.asarray(pairs.picture(1)), images[1])


@pytest.mark.parametrize(
    "images", [np.zeros((3, 8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)]
)
def test_arrays_of_another_shape_are_refused(images):
    with pytest.raises(TrainingError, match="with 3 captions; give uint8"):
        TrainingSet.from_arrays(images, ["one", "two", "three"])


def test_the_fingerprint_changes_with_the_pairs():
    pairs = toy_set(10)
    changed = pairs.arrays.copy()
    changed[0, 0, 0, 0] ^= 1
    others = [
        TrainingSet.from_arrays(changed, pairs.captions),
        TrainingSet.from_arrays(pairs.arrays, [*pairs.captions[:-1], "another"]),
        TrainingSet.from_arrays(pairs.arrays, pairs.captions, [f"k{i}" for i in range(10)]),
    ]
    assert len({pairs.fingerprint(), *(other.fingerprint() for other in others)}) == 4
    assert TrainingSet.from_arrays(pairs.arrays, pairs.captions).fingerprint() == pairs.fingerprint()


def test_a_source_gives_its_pairs_and_is_protected(toy_source):
    source = toy_source(12)
    pairs = TrainingSet.from_data(source)
    assert len(pairs) == 12
    assert pairs.about == {"audit": None, "data": str(source), "subset": None}
    assert source in pairs.protected
    assert pairs.picture(3).size == (16, 16)
    assert TrainingSet.from_data(source).fingerprint() == pairs.fingerprint()
    with pytest.raises(SourceError):
        TrainingSet.from_data(source.parent / "none.csv")


def test_other_pictures_under_the_same_names_are_another_set_and_a_copy_is_the_same(toy_source, tmp_path):
    source = toy_source(12)
    pairs = TrainingSet.from_data(source)
    copied = shutil.copytree(source.parent, tmp_path / "copied", copy_function=shutil.copyfile)
    assert TrainingSet.from_data(copied / source.name).fingerprint() == pairs.fingerprint()
    path = copied / "0003.png"
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # as long as before
    assert TrainingSet.from_data(copied / source.name).fingerprint() != pairs.fingerprint()
    path.unlink()
    assert TrainingSet.from_data(copied / source.name).fingerprint() != pairs.fingerprint()


def test_it_reports_how_many_pictures_were_read_each_once(toy_source, monkeypatch):
    monkeypatch.setattr(sets, "PICTURES_AT_A_TIME", 5)
    source = toy_source(12)
    rows = source.read_text().splitlines()
    source.write_text("\n".join([*rows, *(f"again-{row}" for row in rows[1:])]) + "\n")
    reports: list[tuple[str, int, int | None]] = []
    pairs = TrainingSet.from_data(source)
    assert pairs.fingerprint(lambda *report: reports.append(report)) == pairs.fingerprint()
    assert (len(pairs), reports) == (24, [("pictures hashed", done, 12) for done in (5, 10, 12)])


def test_an_audits_pictures_are_told_by_what_was_embedded(toy_source, tmp_path, monkeypatch):
    source = toy_source(40)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(source)
    before = TrainingSet.from_audit(audit, "all").fingerprint()
    audit.embed(ToyEncoder(), EmbedParams(shard_size=16))
    shutil.rmtree(source.parent)
    reports: list[tuple[str, int, int | None]] = []
    assert TrainingSet.from_audit(audit, "all").fingerprint(lambda *report: reports.append(report)) == before
    assert reports == []
    keys = ["0030", "0003", "0017"]
    assert TrainingSet.from_audit(audit, "all", keys).hashes == [
        TrainingSet.from_audit(audit, "all").hashes[int(key)] for key in keys
    ]
    audit.shards.clear()
    assert TrainingSet.from_audit(audit, "all").fingerprint() == before
    assert TrainingSet.from_audit(audit, "all").not_compared == 0
    shutil.rmtree(audit.folder / "pictures")
    assert TrainingSet.from_audit(audit, "all").not_compared == 40


def test_a_source_without_pairs_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("key,image,caption\n")
    with pytest.raises(TrainingError, match="holds no pairs"):
        TrainingSet.from_data(tmp_path / "empty.csv")


def test_a_picture_that_is_gone_is_told_with_its_key(toy_source):
    source = toy_source(12)
    pairs = TrainingSet.from_data(source)
    (source.parent / "0003.png").unlink()
    with pytest.raises(TrainingError, match="pair 0003: its picture cannot be read \\(missing file"):
        pairs.picture(3)


def test_an_audit_without_pairs_or_pictures_is_refused(tmp_path, own):
    with pytest.raises(TrainingError, match="the audit has no pairs"):
        TrainingSet.from_audit(Audit.create(tmp_path / "empty"), "all")
    with pytest.raises(TrainingError, match="key-000 has no picture, only a ready embedding"):
        TrainingSet.from_audit(own, "all")
    with pytest.raises(ParameterError, match="--subset most"):
        TrainingSet.from_audit(own, "most")


def test_a_picture_keeps_its_colours(tmp_path):
    Image.new("RGB", (9, 7), (10, 200, 30)).save(tmp_path / "a.png")
    (tmp_path / "pairs.csv").write_text("key,image,caption\nk,a.png,green\n")
    assert TrainingSet.from_data(tmp_path / "pairs.csv").picture(0).getpixel((4, 4)) == (10, 200, 30)


@pytest.fixture
def pictures_below(tmp_path):
    """A table with its pictures in a folder beside it."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a" / "1.png")
    table = tmp_path / "kept.csv"
    table.write_text("key,image,caption\nk,images/a/1.png,black\n")
    return table


def test_a_run_may_lie_beside_a_table_but_not_among_its_pictures(pictures_below):
    home, pairs = pictures_below.parent, TrainingSet.from_data(pictures_below)
    check_place(home / "runs" / "a", pairs)
    for inside in ("run", "b/run"):
        with pytest.raises(ParameterError, match="lies inside the source .*images/a"):
            check_place(home / "images" / "a" / inside, pairs)


def test_pictures_beside_their_table_forbid_no_folder_beside_them(toy_source):
    source = toy_source(5)
    check_place(source.parent / "runs" / "a", TrainingSet.from_data(source))


def test_an_audits_pictures_are_protected_and_its_own_runs_are_not(pictures_below):
    home = pictures_below.parent
    audit = Audit.create(home / "audit")
    audit.ingest(pictures_below)
    pairs = TrainingSet.from_audit(audit, "all")
    check_place(home / "runs" / "a", pairs)
    with pytest.raises(ParameterError, match="lies inside the source"):
        check_place(home / "images" / "a" / "run", pairs)

    (home / "images" / "a" / "1.txt").write_text("black")
    within = Audit.create(home / "images" / "audit")
    within.ingest(home / "images")
    pairs = TrainingSet.from_audit(within, "all")
    check_place(within.folder / "runs" / "a", pairs)
    with pytest.raises(ParameterError, match="lies inside the source"):
        check_place(home / "images" / "a" / "run", pairs)
    beside = Audit.create(home / "beside")
    beside.ingest(home / "images")
    with pytest.raises(ParameterError, match="lies inside the source"):
        check_place(home / "images" / "run", TrainingSet.from_audit(beside, "all"))
