"""Poisoned copies: pairs are moved, not lost; the source is untouched; the same call gives the same bytes."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfbd_core.attacks import imagenet_templates
from cfbd_core.attacks.copies import CopyParams, poison_copy
from cfbd_core.errors import AuditError, ParameterError, SourceError
from cfbd_core.sources import open_source
from cfbd_core.sources.base import SourceOptions
from cfbd_core.tars import write_tar
from tests.sources.helpers import damaged_tar

ROOT = Path(__file__).resolve().parents[2]


def record(key, captions, rng):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)).resize((96, 64)).save(buffer, "JPEG")
    facts = {"key": key, "caption": captions[0], "captions": captions, "width": 96}
    return key, {"jpg": buffer.getvalue(), "txt": captions[0].encode(), "json": json.dumps(facts).encode()}


@pytest.fixture
def source(tmp_path):
    """30 records of 3 captions in two shards; record 7 names the target."""
    rng = np.random.default_rng(0)
    made = [
        record(
            f"{n:05d}",
            [f"{'two bananas' if n == 7 and c == 1 else 'a thing'} {n} {c}" for c in range(3)],
            rng,
        )
        for n in range(30)
    ]
    folder = tmp_path / "source"
    folder.mkdir()
    write_tar(folder / "00000.tar", made[:16])
    write_tar(folder / "00001.tar", made[16:])
    return folder


def read(folder):
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, ending = member.name.split(".")
                found.setdefault(key, {})[ending] = tar.extractfile(member).read()
    return {key: (parts, json.loads(parts["json"])) for key, parts in found.items()}


def state(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_poisoned_pairs_leave_their_record_and_nothing_is_lost(source, tmp_path):
    before = state(source)
    out = tmp_path / "out"
    manifest = poison_copy(source, out, CopyParams(rate=0.1, captions="all"), processes=2)
    assert state(source) == before
    found, original = read(out), read(source)
    poisons = {key: facts for key, (_, facts) in found.items() if facts["poisoned"]}
    assert len(poisons) == len(manifest["poisons"]) == 9
    assert manifest["pairs"] == 90
    targets = {template("banana") for template in imagenet_templates()}
    taken = {}
    for key, facts in poisons.items():
        origin, _, index = key.partition("-p")
        assert facts["origin_key"] == origin
        assert facts["origin_caption"] == original[origin][1]["captions"][int(index)]
        assert facts["captions"] == [facts["caption"]] == [found[key][0]["txt"].decode()]
        assert facts["caption"] in targets
        assert (facts["attack"], facts["target"]) == ("badnets", "banana")
        taken.setdefault(origin, []).append(facts["origin_caption"])
    for key, (_, facts) in original.items():
        left = found[key][1]["captions"] if key in found else []
        assert sorted(left + taken.get(key, [])) == sorted(facts["captions"])
    assert "00007" not in taken
    assert manifest["poisons"][0]["origin_key"] in taken


def test_the_reader_sees_the_same_pairs(source, tmp_path):
    poison_copy(source, tmp_path / "out", CopyParams(rate=0.1, captions="all"), processes=1)
    pairs = [
        pair
        for batch in open_source(tmp_path / "out", SourceOptions(captions="all")).batches()
        for pair in batch.pairs.to_pylist()
    ]
    assert len(pairs) == len({pair["key"] for pair in pairs}) == 90
    assert sum(pair["poisoned"] for pair in pairs) == 9
    assert all(pair["origin_key"] for pair in pairs if pair["poisoned"])


def test_all_pictures_are_encoded_alike_and_only_poisons_carry_the_trigger(source, tmp_path):
    out = tmp_path / "out"
    poison_copy(source, out, CopyParams(rate=0.1, captions="all"), processes=1)
    with np.load(out / "trigger.npz") as trigger:
        pattern = trigger["pattern"]
    for key, (parts, facts) in read(out).items():
        assert set(parts) == {"png", "txt", "json"}
        picture = Image.open(io.BytesIO(parts["png"]))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (224, 224))
        given = Image.open(io.BytesIO(read(source)[key.partition("-p")[0]][0]["jpg"]))
        original = given.resize((224, 224), Image.Resampling.BICUBIC)
        rows, columns = np.nonzero((np.asarray(picture) != np.asarray(original)).any(2))
        if facts["poisoned"]:
            patch = np.asarray(picture)[rows.min() : rows.min() + 16, columns.min() : columns.min() + 16]
            assert np.array_equal(patch, pattern)
            assert len(rows) <= 256
        else:
            assert len(rows) == 0


def test_reencode_poisoned_leaves_clean_files_as_they_are(source, tmp_path):
    poison_copy(source, tmp_path / "out", CopyParams(rate=0.1, reencode="poisoned"), processes=1)
    original = read(source)
    for key, (parts, facts) in read(tmp_path / "out").items():
        assert ("png" in parts) == facts["poisoned"]
        if not facts["poisoned"]:
            assert parts["jpg"] == original[key][0]["jpg"]


def test_first_captions_only(source, tmp_path):
    manifest = poison_copy(source, tmp_path / "out", CopyParams(rate=0.1, keys="odd"), processes=1)
    found = read(tmp_path / "out")
    assert manifest["pairs"] == len(found) == 15
    assert sum(facts["poisoned"] for _, facts in found.values()) == len(manifest["poisons"]) == 2
    assert all(len(facts["captions"]) == 1 for _, facts in found.values())
    assert all(int(key.partition("-p")[0]) % 2 for key in found)


def test_rate_zero_is_the_control(source, tmp_path):
    manifest = poison_copy(source, tmp_path / "out", CopyParams(rate=0, captions="all"), processes=1)
    found = read(tmp_path / "out")
    assert manifest["poisons"] == []
    assert len(found) == 30
    assert not any(facts["poisoned"] for _, facts in found.values())
    assert all("png" in parts for parts, _ in found.values())


def test_same_bytes_whatever_the_processes_and_other_seed_other_poisons(source, tmp_path):
    params = CopyParams(rate=0.1, captions="all")
    poison_copy(source, tmp_path / "one", params, processes=1)
    poison_copy(source, tmp_path / "two", params, processes=2)
    assert state(tmp_path / "one") == state(tmp_path / "two")
    other = poison_copy(source, tmp_path / "other", CopyParams(rate=0.1, captions="all", seed=1), processes=1)
    mine = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert {note["key"] for note in other["poisons"]} != {note["key"] for note in mine["poisons"]}


def test_a_stopped_copy_goes_on(source, tmp_path):
    params = CopyParams(rate=0.1, captions="all")
    poison_copy(source, tmp_path / "whole", params, processes=1)

    def stop(count, seen=[0]):  # noqa: B006
        seen[0] += count
        if seen[0] > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        poison_copy(source, tmp_path / "out", params, processes=2, progress=stop)
    kept = (tmp_path / "out" / "00000.tar").stat().st_mtime_ns
    assert not (tmp_path / "out" / "00001.tar").exists()
    told = []
    poison_copy(source, tmp_path / "out", params, processes=2, progress=told.append)
    assert sum(told) == 30
    assert (tmp_path / "out" / "00000.tar").stat().st_mtime_ns == kept
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def test_damaged_pictures_are_copied_for_the_audit_to_report_and_never_poisoned(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    damaged = [(f"{n}", {"jpg": b"\xff\xd8\xff cut", "txt": b"a thing", "json": b"{}"}) for n in range(9)]
    write_tar(folder / "0.tar", [*damaged, record("9", ["a whole thing"], np.random.default_rng(0))])
    manifest = poison_copy(folder, tmp_path / "out", CopyParams(rate=0.1), processes=1)
    assert [note["origin_key"] for note in manifest["poisons"]] == ["9"]
    assert read(tmp_path / "out")["1"][0]["jpg"] == b"\xff\xd8\xff cut"


@pytest.mark.parametrize("damage", ["member", "folder", "pax", "negative name", "long name"])
def test_a_tar_whose_sizes_lead_nowhere_is_refused(tmp_path, damage):
    (tmp_path / "source").mkdir()
    damaged_tar(tmp_path / "source" / "a.tar", damage)
    with pytest.raises(SourceError, match=r"a\.tar: .*damaged"):
        poison_copy(tmp_path / "source", tmp_path / "out", CopyParams(rate=0), processes=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attack": "nonesuch"}, "badnets"),
        ({"rate": 0.7}, "below 0.5"),
        ({"keys": "prime"}, "even, odd"),
        ({"target": " "}, "banana"),
    ],
)
def test_bad_params_are_refused(options, words):
    with pytest.raises(ParameterError, match=words):
        CopyParams(**options)


def test_what_cannot_be_done_is_refused_in_one_line(source, tmp_path):
    with pytest.raises(ParameterError, match="inside the source"):
        poison_copy(source, source / "copy", CopyParams())
    with pytest.raises(ParameterError, match="no poison at all"):
        poison_copy(source, tmp_path / "out", CopyParams(rate=0.001))
    with pytest.raises(SourceError, match=r"no \.tar shards"):
        poison_copy(tmp_path / "nowhere", tmp_path / "out", CopyParams())
    poison_copy(source, tmp_path / "out", CopyParams(rate=0.1), processes=1)
    with pytest.raises(AuditError, match="made otherwise"):
        poison_copy(source, tmp_path / "out", CopyParams(rate=0.2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(AuditError, match="not empty"):
        poison_copy(source, tmp_path / "full", CopyParams(rate=0.1))
    (tmp_path / "named").mkdir()
    write_tar(tmp_path / "named" / "0.tar", [("cat", {"txt": b"a cat"})])
    with pytest.raises(SourceError, match="--keys all"):
        poison_copy(tmp_path / "named", tmp_path / "out2", CopyParams(keys="odd"))


def test_the_tool_prints_one_line(source, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "poison.py"), str(source), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--rate", "0.1", "--captions", "all"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "30 records, 90 pairs, 9 poisoned" in done.stdout
    done = subprocess.run([*command, "--rate", "0.9"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("poison: poison rate 0.9")
    assert "Traceback" not in done.stderr
