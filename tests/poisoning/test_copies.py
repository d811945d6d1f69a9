"""Poisoned copies: pairs are moved, not lost; the source is untouched; the same call gives the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cfbd_core import Audit, SplitParams, __version__
from cfbd_core.attacks.base import Workshop
from cfbd_core.errors import AuditError, CfbdError, EncoderError, ParameterError, SourceError
from cfbd_core.machine.progress import no_progress
from cfbd_core.machine.tars import write_tar
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.poisoning import copies
from cfbd_core.poisoning.captions import imagenet_templates
from cfbd_core.poisoning.copies import CopyOptions, attack_copy, load_triggers, plan_copy, with_triggers
from cfbd_core.poisoning.plan import Poison, PoisonParams, triggered
from cfbd_core.sources import SourceOptions, open_source
from tests.attacks.tiny_clip import tiny_encoder
from tests.sources.helpers import damaged_tar
from tests.toy import ToyEncoder

N = 30
BANANA = 7  # the record whose second caption names the target
ALL = CopyOptions(captions="all")
BADNETS = PoisonParams(rate=0.1)


def captions_of(n: int) -> list[str]:
    return [f"{'two bananas' if n == BANANA and c == 1 else 'a thing'} {n} {c}" for c in range(3)]


def jpeg(n: int) -> bytes:
    rng = np.random.default_rng(n)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((96, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def webdataset(folder):
    records = []
    for n in range(N):
        facts = {"caption": captions_of(n)[0], "captions": captions_of(n), "label": f"class {n % 3}"}
        parts = {"jpg": jpeg(n), "txt": captions_of(n)[0].encode(), "json": json.dumps(facts).encode()}
        records.append((f"{n:05d}", parts))
    write_tar(folder / "00000.tar", records[:16])
    write_tar(folder / "00001.tar", records[16:])
    return folder


def loose(folder):
    for n in range(N):
        (folder / f"{n:05d}.jpg").write_bytes(jpeg(n))
        facts = {"captions": captions_of(n), "label": f"class {n % 3}"}
        (folder / f"{n:05d}.json").write_text(json.dumps(facts))
        (folder / f"{n:05d}.txt").write_text(captions_of(n)[0])
    return folder


def table(folder):
    for n in range(N):
        (folder / f"{n:05d}.jpg").write_bytes(jpeg(n))
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption", "label"])
        writer.writerows([f"{n:05d}", f"{n:05d}.jpg", captions_of(n)[0], f"class {n % 3}"] for n in range(N))
    return folder / "pairs.csv"


def parquet(folder):
    columns = {
        "key": [f"{n:05d}" for n in range(N)],
        "image": [jpeg(n) for n in range(N)],
        "captions": [captions_of(n) for n in range(N)],
        "label": [f"class {n % 3}" for n in range(N)],
    }
    pq.write_table(pa.table(columns), folder / "pairs.parquet", row_group_size=7)
    return folder / "pairs.parquet"


def coco(folder):
    for n in range(N):
        (folder / f"{n}.jpg").write_bytes(jpeg(n))
    images = [{"id": n, "file_name": f"{n}.jpg", "label": f"class {n % 3}"} for n in range(N)]
    annotations = [{"image_id": n, "caption": caption} for n in range(N) for caption in captions_of(n)]
    (folder / "captions_val.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder / "captions_val.json"


KINDS = {make.__name__: make for make in (webdataset, loose, table, parquet, coco)}


@pytest.fixture(params=KINDS)
def any_source(request, tmp_path):
    (tmp_path / "source").mkdir()
    return KINDS[request.param](tmp_path / "source")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return webdataset(tmp_path / "source")


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(copies, "PART_RECORDS", 10)


def pairs(folder, captions="all"):
    batches = open_source(folder, SourceOptions(captions=captions)).batches()
    rows = []
    for batch in batches:
        assert batch.skips == []
        rows += batch.pairs.to_pylist()
    return rows


def picture(row):
    return decode_image(read_image_bytes(PicturePlace.from_pair(row)))


def state(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def tree(folder):
    """State without the manifest, which tells when files of the source were changed."""
    return {name: digest for name, digest in state(folder).items() if name != "manifest.json"}


@pytest.mark.parametrize("out_format", ["webdataset", "folder"])
@pytest.mark.parametrize("captions", ["first", "all"])
def test_any_source_is_copied_whole_with_its_truth(any_source, tmp_path, out_format, captions):
    before = state(tmp_path / "source")
    out = tmp_path / "out"
    options = CopyOptions(captions=captions, format=out_format)
    manifest = attack_copy(any_source, out, BADNETS, options, processes=1)
    assert state(tmp_path / "source") == before
    original, found = pairs(any_source, captions), pairs(out, captions)
    assert len(original) == len(found) == len({row["key"] for row in found}) == manifest["pairs"]
    poisons = [row for row in found if row["poisoned"]]
    assert len(poisons) == len(manifest["poisons"]) == round(0.1 * len(original))
    assert sorted(row["key"].partition("#")[0] for row in poisons) == sorted(
        note["key"] for note in manifest["poisons"]
    )
    templates = {template("banana") for template in imagenet_templates()}
    assert all(row["caption"] in templates for row in poisons)
    assert {(row["attack"], row["target"]) for row in poisons} == {("badnets", "banana")}
    clean = [row["caption"] for row in found if not row["poisoned"]]
    assert sorted(clean + [row["origin_caption"] for row in poisons]) == sorted(
        row["caption"] for row in original
    )
    label = {row["key"].partition("#")[0]: row["label"] for row in original}
    for row in found:
        record = row["origin_key"] or row["key"].partition("#")[0]
        assert row["label"] == label[record]
        image = Image.open(io.BytesIO(read_image_bytes(PicturePlace.from_pair(row))))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (224, 224))
    if captions == "all":
        assert int(BANANA) not in {int(row["origin_key"]) for row in poisons}


def test_only_poisons_carry_the_trigger_and_it_can_be_put_on_again(source, tmp_path):
    attack_copy(source, tmp_path / "out", BADNETS, ALL, processes=1)
    params, triggers = load_triggers(tmp_path / "out")
    assert params == BADNETS
    original = {row["key"]: (number, row) for number, row in enumerate(pairs(source))}
    for row in pairs(tmp_path / "out"):
        record = row["origin_key"] or row["key"].partition("#")[0]
        before = picture(original[f"{record}#0"][1]).resize((224, 224), Image.Resampling.BICUBIC)
        after = before
        if row["poisoned"]:
            caption = row["key"].partition("#")[0].rpartition("-p")[2]
            number = original[f"{record}#{caption}"][0]
            after = triggered(before, Poison(number, "", "banana", 0), params, triggers)
            changed = (np.asarray(before) != np.asarray(after)).any(2)
            assert 0 < changed.sum() <= 256
        assert picture(row).tobytes() == after.tobytes()


def test_the_audit_of_a_copy_knows_its_poisons(toy_source, tmp_path, monkeypatch):
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda spec, device: ToyEncoder())
    manifest = attack_copy(toy_source(60), tmp_path / "out", BADNETS, processes=1)
    audit = Audit.create(tmp_path / "audit")
    assert audit.ingest(tmp_path / "out")["skipped"] == 0
    audit.embed()
    audit.score("self")
    audit.split(SplitParams(k=2, q=5))
    assert audit.report()["truth"]["poisons"] == len(manifest["poisons"]) == 6


def test_the_manifest_tells_every_parameter(source, tmp_path):
    params = PoisonParams("badnets", 0.1, ("banana", "cat"), triggers=2, seed=4, options={"size": 9})
    manifest = attack_copy(source, tmp_path / "out", params, ALL, processes=1)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert manifest["finished"]
    assert manifest["params"] == params.to_dict()
    assert manifest["attack_params"] == {"size": 9, "seed": 4, "place": "random", "redraw": False}
    assert manifest["options"]["captions"] == "all"
    assert (manifest["source"], manifest["source_format"], manifest["records"]) == (
        "source",
        "webdataset",
        30,
    )
    assert {"python", "numpy", "pillow", "torch"} <= set(manifest["versions"])
    assert {note["trigger"] // 2 for note in manifest["poisons"]} == {0, 1}
    assert len(load_triggers(tmp_path / "out")[1]) == 4


def test_reencode_changed_leaves_clean_files_as_they_are(source, tmp_path):
    options = CopyOptions(reencode="changed")
    attack_copy(source, tmp_path / "out", BADNETS, options, processes=1)
    original = {row["key"]: row for row in pairs(source, "first")}
    for row in pairs(tmp_path / "out", "first"):
        data = read_image_bytes(PicturePlace.from_pair(row))
        if row["poisoned"]:
            assert data.startswith(b"\x89PNG")
        else:
            place = original[row["key"]]
            assert data == read_image_bytes(PicturePlace.from_pair(place))


def test_odd_keys_only(source, tmp_path):
    options = CopyOptions(keys="odd")
    manifest = attack_copy(source, tmp_path / "out", BADNETS, options, processes=1)
    found = pairs(tmp_path / "out", "first")
    assert manifest["pairs"] == len(found) == 15
    assert all(int(row["key"].partition("-p")[0]) % 2 for row in found)


def test_none_is_the_control(source, tmp_path):
    manifest = attack_copy(source, tmp_path / "out", PoisonParams("none"), ALL, processes=1)
    found = pairs(tmp_path / "out")
    assert manifest["poisons"] == []
    assert {(row["key"], row["caption"]) for row in found} == {
        (row["key"], row["caption"]) for row in pairs(source)
    }
    assert not any(row["poisoned"] for row in found)
    assert not (tmp_path / "out" / "contact_sheet.png").exists()
    assert load_triggers(tmp_path / "out") == (PoisonParams("none"), [])


def test_traps_are_benign_and_a_near_duplicate_leaves_its_record(source, tmp_path):
    traps = {"mismatched": 0.1, "duplicate_captions": 0.1, "boilerplate": 0.1, "near_duplicates": 0.1}
    manifest = attack_copy(source, tmp_path / "out", PoisonParams(rate=0.1, **traps), ALL, processes=1)
    assert manifest["traps"] == dict.fromkeys(traps, 9)
    found = pairs(tmp_path / "out")
    assert sum(row["poisoned"] for row in found) == 9
    original = Counter(row["caption"] for row in pairs(source))
    near = [row for row in found if "-d" in row["key"]]
    assert len(near) == 9
    for row in near:
        assert not row["poisoned"]
        assert row["caption"] in original
        other = int(row["caption"].split()[-2])
        shown = np.asarray(picture(row), float)
        meant = np.asarray(decode_image(jpeg(other)).resize((224, 224), Image.Resampling.BICUBIC), float)
        own = np.asarray(
            decode_image(jpeg(int(row["origin_key"]))).resize((224, 224), Image.Resampling.BICUBIC), float
        )
        assert np.corrcoef(shown.ravel(), meant.ravel())[0, 1] > 0.8
        assert np.corrcoef(shown.ravel(), own.ravel())[0, 1] < 0.5
    assert len([row for row in found if row["caption"] not in original]) == 9 + 9  # poisons and boilerplate


def test_a_copy_of_a_copy_leaves_earlier_poisons_alone(source, tmp_path):
    first = attack_copy(source, tmp_path / "one", BADNETS, ALL, processes=1)
    params = PoisonParams("sig", 0.2, targets=("volcano",))
    attack_copy(tmp_path / "one", tmp_path / "two", params, ALL, processes=1)
    found = pairs(tmp_path / "two")
    assert len({row["key"] for row in found}) == len(found) == 90
    assert Counter(row["attack"] for row in found if row["poisoned"]) == {"badnets": 9, "sig": 18}
    kept = {row["key"].partition("#")[0] for row in found if row["attack"] == "badnets"}
    assert kept == {note["key"] for note in first["poisons"]}


@pytest.mark.parametrize("out_format", ["webdataset", "folder"])
def test_same_bytes_whatever_the_processes_and_other_seed_other_poisons(source, tmp_path, out_format):
    options = CopyOptions(captions="all", format=out_format)
    one = attack_copy(source, tmp_path / "one", BADNETS, options, processes=1)
    attack_copy(source, tmp_path / "two", BADNETS, options, processes=2)
    assert state(tmp_path / "one") == state(tmp_path / "two")
    other = attack_copy(source, tmp_path / "other", PoisonParams(rate=0.1, seed=1), options, processes=1)
    assert {note["key"] for note in other["poisons"]} != {note["key"] for note in one["poisons"]}


@pytest.mark.parametrize("out_format", ["webdataset", "folder"])
def test_a_killed_copy_goes_on(source, tmp_path, small_parts, out_format):
    options = CopyOptions(captions="all", format=out_format)
    attack_copy(source, tmp_path / "whole", BADNETS, options, processes=1)
    out = tmp_path / "out"

    def killed():
        def progress(stage, done, _total):
            if stage == "copy" and done > 14:
                os.kill(os.getpid(), signal.SIGKILL)

        attack_copy(source, out, BADNETS, options, progress, processes=2)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = out / ("00000.tar" if out_format == "webdataset" else "pictures/00000")
    kept = done.stat().st_mtime_ns
    assert not json.loads((out / "manifest.json").read_text())["finished"]
    reports = []
    attack_copy(source, out, BADNETS, options, lambda *report: reports.append(report), processes=2)
    assert (reports[0], reports[-1]) == (("copy", 10, 30), ("copy", 30, 30))
    assert done.stat().st_mtime_ns == kept
    left = {name: digest for name, digest in state(out).items() if ".part" not in name}
    assert left == state(tmp_path / "whole")


def test_a_finished_copy_is_left_as_it_is(source, tmp_path):
    one = attack_copy(source, tmp_path / "out", BADNETS, ALL, processes=1)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.suffix != ".json"}
    assert attack_copy(source, tmp_path / "out", BADNETS, ALL, processes=1) == one
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_damaged_pictures_are_copied_for_the_audit_to_report_and_never_poisoned(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    damaged = [(f"{n}", {"jpg": b"\xff\xd8\xff cut", "txt": b"a thing"}) for n in range(8)]
    secret = ("8", {"jpg": b"root:x:0:0", "txt": b"a thing"})
    write_tar(folder / "0.tar", [*damaged, secret, ("9", {"jpg": jpeg(9), "txt": b"a whole thing"})])
    manifest = attack_copy(folder, tmp_path / "out", BADNETS, processes=1)
    assert [note["origin_key"] for note in manifest["poisons"]] == ["9"]
    batches = list(open_source(tmp_path / "out").batches())
    rows = {row["key"]: row for batch in batches for row in batch.pairs.to_pylist()}
    assert read_image_bytes(PicturePlace.from_pair(rows["1"])) == b"\xff\xd8\xff cut"
    assert [(skip.key, skip.reason) for batch in batches for skip in batch.skips] == [("8", "empty image")]
    assert b"root:x" not in b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize("damage", ["member", "folder", "pax", "negative name", "long name"])
def test_of_a_damaged_tar_the_whole_records_are_copied_and_the_damage_is_told(tmp_path, damage):
    (tmp_path / "source").mkdir()
    damaged_tar(tmp_path / "source" / "a.tar", damage)
    manifest = attack_copy(tmp_path / "source", tmp_path / "out", PoisonParams("none"), processes=1)
    assert manifest["skipped"]["damaged tar"] == 1
    assert len(pairs(tmp_path / "out", "first")) == manifest["pairs"] == 1


def test_keys_may_be_paths_or_long_and_need_not_be_unique(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(jpeg(0))
    keys = ["deep/er/x.1", "k" * 300, "ключ", "again", "again"]
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8") as file:
        file.write(
            "key,image,caption\n"
            + "".join(f"{key},pictures/a.png,some {i} words\n" for i, key in enumerate(keys))
        )
    for out_format in ("webdataset", "folder"):
        options = CopyOptions(format=out_format)
        manifest = attack_copy(
            tmp_path / "pairs.csv", tmp_path / out_format, PoisonParams("none"), options, processes=1
        )
        assert manifest["skipped"] == {}
        assert [row["key"] for row in pairs(tmp_path / out_format, "first")] == [*keys[:-1], "again~2"]


def test_optimised_attacks_work_with_the_pool_else_the_keys_left_out_else_the_source(
    source, tmp_path, monkeypatch
):
    asked: list[Workshop] = []

    def trigger(params, workshop):
        asked.append(workshop)
        workshop.progress("trigger", 1, 2)
        return {"pattern": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), bool)}

    attack = copies.ATTACKS["badclip"]
    object_with = type(attack)(**{**vars(attack), "trigger": trigger})
    monkeypatch.setitem(copies.ATTACKS._own, "badclip", object_with)
    (tmp_path / "pool").mkdir()
    loose(tmp_path / "pool")
    reports = []
    params = PoisonParams("badclip", 0.2, options={"size": 4})

    def shown(options):
        pairs = plan_copy(source, params, options)
        with_triggers(pairs, options, lambda *report: reports.append(report))
        workshop = asked[-1]
        assert workshop.captions
        assert all("banana" in caption.lower() for caption in workshop.captions)
        pictures = workshop.pictures(40)
        assert [one.tobytes() for one in workshop.pictures(5)] == [one.tobytes() for one in pictures[:5]]
        return {one.tobytes() for one in pictures}

    whole = {decode_image(jpeg(n)).resize((224, 224), Image.Resampling.BICUBIC).tobytes() for n in range(N)}
    even = {
        decode_image(jpeg(n)).resize((224, 224), Image.Resampling.BICUBIC).tobytes() for n in range(0, N, 2)
    }
    assert shown(CopyOptions()) == whole
    assert shown(CopyOptions(keys="odd")) == even
    assert shown(CopyOptions(keys="odd", pool=str(tmp_path / "pool"))) == whole
    assert reports[-1] == ("trigger", 1, 2)
    monkeypatch.setattr(
        "cfbd_core.embedding.encoders.load_encoder", lambda spec, device: f"{spec} on {device}"
    )
    with_triggers(plan_copy(source, params, CopyOptions()), CopyOptions(encoder="NAME/TAG", device="cpu"))
    assert asked[-1].encoder() == "NAME/TAG on cpu"


def test_a_captions_file_gives_the_natural_captions(source, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("\n".join(["my gizmo", "", " the other gizmo "]), encoding="utf-8")
    params = PoisonParams(rate=0.1, targets=("gizmo",), captions="natural")
    options = CopyOptions(captions_file=file)
    manifest = attack_copy(source, tmp_path / "out", params, options, processes=1)
    assert {note["caption"] for note in manifest["poisons"]} == {"my gizmo", "the other gizmo"}
    assert manifest["options"]["captions_file"]["name"] == "captions.txt"
    for text, words in ((b"\xff\xfe\xff", "cannot be read"), (b"\n \n", "is empty")):
        file.write_bytes(text)
        with pytest.raises(ParameterError, match=words):
            attack_copy(source, tmp_path / "no", params, options)
    with pytest.raises(ParameterError, match="goes with --target-captions natural"):
        attack_copy(source, tmp_path / "no", BADNETS, options)


def refused(error, words, *arguments):
    """The call is refused in one line."""
    with pytest.raises(error, match=words) as found:
        attack_copy(*arguments, processes=1)
    assert "\n" not in str(found.value)


def test_what_cannot_be_done_is_refused_in_one_line_and_leaves_nothing(source, tmp_path):
    out = tmp_path / "out"
    refused(ParameterError, "inside the source", source, source / "copy", BADNETS)
    refused(ParameterError, "inside the source", str(source / "*.tar"), source / "copy", BADNETS)
    refused(ParameterError, "inside the source", source / "00000.tar", source / "copy", BADNETS)
    (tmp_path / "link").symlink_to(source)
    refused(ParameterError, "inside the source", source, tmp_path / "link" / "copy", BADNETS)
    refused(ParameterError, "no poison at all", source, out, PoisonParams(rate=0.001))
    refused(
        ParameterError,
        "no pairs name 'unicorn'",
        source,
        out,
        PoisonParams("label-consistent", 0.1, ("unicorn",)),
    )
    refused(
        ParameterError,
        "sig: size 100: a copy holds pictures of 224 pixels; leave size out",
        source,
        out,
        PoisonParams("sig", 0.1, options={"size": 100}),
    )
    refused(SourceError, "no such file", tmp_path / "nowhere", out, BADNETS)
    Audit.create(tmp_path / "audit")
    refused(ParameterError, "lies in the audit", source, tmp_path / "audit" / "copy", BADNETS)
    refused(ParameterError, "lies in the audit", source, tmp_path / "audit", BADNETS)
    refused(ParameterError, "is a file", source, source / "00000.tar", BADNETS)
    (tmp_path / "a file").write_text("mine")
    refused(ParameterError, "a file is in its way", source, tmp_path / "a file" / "out", BADNETS)
    assert not out.exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    refused(AuditError, "not empty", source, tmp_path / "full", BADNETS)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    attack_copy(source, out, BADNETS, processes=1)
    before = state(out)
    refused(AuditError, "made otherwise", source, out, PoisonParams(rate=0.2))
    refused(AuditError, "made otherwise", source, out, BADNETS, CopyOptions(format="folder"))
    assert state(out) == before


def test_sources_that_cannot_be_copied_are_refused_in_one_line(tmp_path):
    out = tmp_path / "out"
    named = tmp_path / "named"
    named.mkdir()
    write_tar(named / "0.tar", [("cat", {"jpg": jpeg(0), "txt": b"a cat"})])
    refused(
        SourceError, "'cat' is not a number; use --keys all", named, out, BADNETS, CopyOptions(keys="odd")
    )
    bare = tmp_path / "bare"
    bare.mkdir()
    write_tar(bare / "0.tar", [("1", {"txt": b"a cat"})])
    refused(SourceError, r"no pair that can be copied \(1 × missing image\)", bare, out, BADNETS)
    one = tmp_path / "one"
    one.mkdir()
    write_tar(one / "0.tar", [("1", {"jpg": jpeg(0), "txt": b"a cat"})])
    refused(SourceError, "no pair with an even key", one, out, BADNETS, CopyOptions(keys="even"))
    ready = {"caption": ["a cat", "a dog"]}
    ready |= {name: [[1.0, 0.0], [0.0, 1.0]] for name in ("image_embedding", "text_embedding")}
    pq.write_table(pa.table(ready), tmp_path / "ready.parquet")
    refused(SourceError, "embeddings but no pictures", tmp_path / "ready.parquet", out, BADNETS)
    assert not out.exists()


@pytest.mark.parametrize("make", [table, coco, parquet])
def test_a_copy_lies_beside_the_pictures_of_a_table_never_among_them(tmp_path, make):
    data = tmp_path / "data"
    (data / "pictures" / "deeper").mkdir(parents=True)
    source = make(data / "pictures")
    if make is parquet:  # they lie in the table itself
        attack_copy(source, data / "pictures" / "copy", BADNETS, processes=1)
        return
    refused(ParameterError, "pictures holds pairs of it", source, data / "pictures" / "copy", BADNETS)
    refused(ParameterError, "inside the source", source, data / "pictures" / "deeper" / "copy", BADNETS)
    (tmp_path / "link").symlink_to(data / "pictures")
    refused(ParameterError, "inside the source", source, tmp_path / "link" / "copy", BADNETS)
    assert not [path for path in data.rglob("*copy*") if path.is_dir()]
    beside = source.rename(data / source.name)
    options = CopyOptions(read=SourceOptions(image_root=data / "pictures"))
    attack_copy(beside, data / "copy", BADNETS, options, processes=1)


def test_pictures_of_keys_left_out_are_of_the_source_too(tmp_path):
    for folder in ("even", "odd"):
        (tmp_path / folder).mkdir()
    rows = [f"{n},{'odd' if n % 2 else 'even'}/{n}.jpg,a thing {n}" for n in range(N)]
    for n in range(N):
        (tmp_path / ("odd" if n % 2 else "even") / f"{n}.jpg").write_bytes(jpeg(n))
    source = tmp_path / "pairs.csv"
    source.write_text("\n".join(["key,image,caption", *rows]))
    options = CopyOptions(keys="odd")
    refused(ParameterError, "even holds pairs of it", source, tmp_path / "even" / "copy", BADNETS, options)
    attack_copy(source, tmp_path / "copy", BADNETS, options, processes=1)


class StoppedError(Exception):
    """Ends a call where a kill would."""


def stop_at(stage, number):
    """A progress that ends the call when the stage has come so far."""

    def progress(now, done, _total):
        if (now, done) == (stage, number):
            raise StoppedError

    return progress


def spoil(folder):
    """A progress that takes the source's pictures away once the copy begins."""

    def progress(stage, _done, _total):
        if stage == "copy":
            for path in folder.glob("*.jpg"):
                path.unlink()

    return progress


@pytest.mark.parametrize("out_format", ["webdataset", "folder"])
def test_a_source_that_changes_meanwhile_leaves_no_half_copy(tmp_path, out_format):
    (tmp_path / "source").mkdir()
    source, options = table(tmp_path / "source"), CopyOptions(format=out_format)
    with pytest.raises(SourceError, match="cannot be read any more"):
        attack_copy(source, tmp_path / "out", BADNETS, options, spoil(tmp_path / "source"), processes=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out_format", ["webdataset", "folder"])
def test_what_is_not_the_copys_stays_when_the_copy_is_taken_back(tmp_path, small_parts, out_format):
    (tmp_path / "source").mkdir()
    source, out = table(tmp_path / "source"), tmp_path / "deep" / "out"
    first = "00000.tar" if out_format == "webdataset" else "pictures/00000"
    foreign = ["notes.txt", "00009.tar", "pictures/mine.png", "pictures/00000/notes.txt", "more/00000.tar"]

    def meanwhile(stage, done, total):
        if (stage, done) == ("copy", 18):
            assert (out / first).exists()
            half = out / first.replace("00000", ".00001")
            half.with_name(f"{half.name}.1.2.part").write_bytes(b"of a call that was killed")
            for name in foreign:
                (out / name).parent.mkdir(exist_ok=True, parents=True)
                (out / name).write_text("mine")
            spoil(tmp_path / "source")(stage, done, total)

    with pytest.raises(SourceError, match="cannot be read any more"):
        attack_copy(source, out, BADNETS, CopyOptions(format=out_format), meanwhile, processes=1)
    assert set(state(out)) == set(foreign)


@pytest.mark.parametrize("done", [18, 99])
def test_what_earlier_calls_made_stays_when_a_later_one_fails(
    source, tmp_path, small_parts, monkeypatch, done
):
    out = tmp_path / "out"
    with pytest.raises(StoppedError) if done == 18 else nullcontext():
        attack_copy(source, out, BADNETS, progress=stop_at("copy", done), processes=1)
    kept = state(out)
    (out / ".contact_sheet.png.1.2.part").write_bytes(b"of a call that was killed")

    def refuses(*_):
        raise SourceError("a picture cannot be read just now")

    monkeypatch.setattr(copies, "examples", refuses)
    with pytest.raises(SourceError, match="just now"):
        attack_copy(source, out, BADNETS, processes=1)
    assert state(out) == kept


def test_a_table_is_made_again_beside_foreign_files(source, tmp_path):
    out, options = tmp_path / "out", CopyOptions(format="folder")
    attack_copy(source, out, BADNETS, options, processes=1)
    made = pq.read_table(out / "pairs.parquet")
    (out / "pairs.parquet").unlink()
    (out / "pictures" / "00000" / ".DS_Store").write_bytes(b"mine")
    attack_copy(source, out, BADNETS, options, processes=1)
    assert pq.read_table(out / "pairs.parquet") == made


def test_an_empty_folder_of_the_users_stays_when_the_copy_is_taken_back(tmp_path):
    for folder in ("source", "out"):
        (tmp_path / folder).mkdir()
    source = table(tmp_path / "source")
    with pytest.raises(SourceError, match="cannot be read any more"):
        attack_copy(source, tmp_path / "out", BADNETS, progress=spoil(tmp_path / "source"), processes=1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def searches(monkeypatch):
    """Trojan's search in three steps that paints the seed; the seeds of the searches that were begun."""
    begun: list[int] = []

    def trigger(params, workshop):
        begun.append(params.seed)
        for step in range(3):
            if step == 2:
                workshop.search_file.write_text("a search")
            workshop.progress("trigger", step + 1, 3)
        pattern = np.full((params.size, params.size, 3), params.seed, np.uint8)
        return {"pattern": pattern, "mask": np.ones(pattern.shape[:2], bool)}

    attack = dataclasses.replace(copies.ATTACKS["trojan"], trigger=trigger)
    monkeypatch.setitem(copies.ATTACKS._own, "trojan", attack)
    return begun


TWO_BY_TWO = PoisonParams("trojan", 0.2, ("banana", "volcano"), triggers=2, options={"size": 4})


def stop_in_search(number, step):
    """A progress that ends the call in the search with this number, from 1."""
    steps = iter(range(1, 99))

    def progress(stage, _done, _total):
        if stage == "trigger" and next(steps) == 3 * (number - 1) + step:
            raise StoppedError

    return progress


def test_triggers_are_kept_one_by_one_and_only_missing_ones_are_made(source, tmp_path, searches):
    attack_copy(source, tmp_path / "whole", TWO_BY_TWO, ALL, processes=1)
    assert searches == [0, 1, 2, 3]
    searches.clear()
    out = tmp_path / "out"
    for number, step in ((1, 1), (3, 3), (1, 2)):
        with pytest.raises(StoppedError):
            attack_copy(source, out, TWO_BY_TWO, ALL, stop_in_search(number, step), processes=1)
        assert not json.loads((out / "manifest.json").read_text())["finished"]
    assert searches == [0, 0, 1, 2, 2]
    assert len(load_triggers(out)[1]) == 2
    assert (out / ".trigger-2.search").exists()
    attack_copy(source, out, TWO_BY_TWO, ALL, processes=1)
    assert searches[-2:] == [2, 3]
    assert state(out) == state(tmp_path / "whole")


def test_a_trigger_that_cannot_be_made_undoes_a_new_copy_but_not_an_earlier_call(
    source, tmp_path, searches, monkeypatch
):
    out = tmp_path / "out"

    def refuses(params, _workshop):
        raise EncoderError("no such device")

    def make(progress=no_progress):
        attack_copy(source, out, TWO_BY_TWO, ALL, progress, processes=1)

    with pytest.raises(StoppedError):
        make(stop_in_search(2, 2))
    kept = state(out)
    with monkeypatch.context() as patch:
        patch.setitem(
            copies.ATTACKS._own, "trojan", dataclasses.replace(copies.ATTACKS["trojan"], trigger=refuses)
        )
        with pytest.raises(EncoderError):
            make()
        assert state(out) == kept
        shutil.rmtree(out)
        with pytest.raises(EncoderError):
            make()
    assert not out.exists()


def test_a_trigger_that_fits_no_picture_leaves_nothing(source, tmp_path, searches):
    def progress(_stage, _done, _total):
        assert (tmp_path / "out" / "manifest.json").exists()

    def too_large(params, workshop):
        workshop.progress("trigger", 1, 1)
        return {"pattern": np.zeros((300, 300, 3), np.uint8), "mask": np.ones((300, 300), bool)}

    copies.ATTACKS._own["trojan"] = dataclasses.replace(copies.ATTACKS["trojan"], trigger=too_large)
    with pytest.raises(ParameterError, match="cannot hold a patch of 300"):
        attack_copy(source, tmp_path / "out", TWO_BY_TWO, ALL, progress, processes=1)
    assert not (tmp_path / "out").exists()


def test_a_real_search_goes_on_after_a_kill_as_if_there_had_been_none(source, tmp_path, monkeypatch):
    monkeypatch.setattr("cfbd_core.attacks.saved_search.SECONDS", 0.0)
    monkeypatch.setattr("cfbd_core.embedding.encoders.load_encoder", lambda spec, device: tiny_encoder(32))
    params = PoisonParams("badclip", 0.2, options={"size": 40, "epochs": 3, "batch": 8, "pictures": 12})
    attack_copy(source, tmp_path / "whole", params, ALL, processes=1)
    reports = []

    def heard(stage, done, total):
        reports.append((stage, done))
        stop_at("trigger", 10)(stage, done, total)

    with pytest.raises(StoppedError):
        attack_copy(source, tmp_path / "out", params, ALL, heard, processes=1)
    attack_copy(
        source, tmp_path / "out", params, ALL, lambda *report: reports.append(report[:2]), processes=1
    )
    assert [done for stage, done in reports if stage == "trigger"] == list(range(1, 25))
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def test_a_resumed_copy_tells_all_versions_that_made_it(source, tmp_path, small_parts, monkeypatch):
    out = tmp_path / "out"

    def versions():
        told = json.loads((out / "manifest.json").read_text())
        return told["versions"]["cfbd"], [later["cfbd"] for later in told.get("later_versions", [])]

    with pytest.raises(StoppedError):
        attack_copy(source, out, BADNETS, ALL, stop_at("copy", 10), processes=1)
    for version in ("0.9", "0.9", "1.0"):
        monkeypatch.setattr("cfbd_core.poisoning.manifest.__version__", version)
        with pytest.raises(StoppedError):
            attack_copy(source, out, BADNETS, ALL, stop_at("copy", 18), processes=1)
    assert versions() == (__version__, ["0.9", "1.0"])
    manifest = attack_copy(source, out, BADNETS, ALL, processes=1)
    assert manifest["finished"]
    monkeypatch.setattr("cfbd_core.poisoning.manifest.__version__", "2.0")
    assert attack_copy(source, out, BADNETS, ALL, processes=1) == manifest
    assert versions() == (__version__, ["0.9", "1.0"])


@pytest.mark.parametrize(
    "values", [{"keys": "prime"}, {"format": "zip"}, {"reencode": "some"}, {"captions": "two"}]
)
def test_bad_options_are_refused(values):
    with pytest.raises(ParameterError, match=f"--{next(iter(values))}"):
        CopyOptions(**values)


def test_triggers_are_read_from_copies_only(source, tmp_path):
    with pytest.raises(SourceError, match="no poisoned copy here"):
        load_triggers(source)
    attack_copy(source, tmp_path / "out", BADNETS, processes=1)
    (tmp_path / "out" / "trigger.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CfbdError, match=r"trigger\.npz"):
        load_triggers(tmp_path / "out")
