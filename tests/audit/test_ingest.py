"""What an audit takes of a source: keys that repeat, what was not read, and audits of older versions."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.audit.decisions_file import read_decisions
from cfbd_core.audit.report import text
from cfbd_core.cli import main
from cfbd_core.cli.pipeline import validation_text
from cfbd_core.errors import AuditError, SourceError
from cfbd_core.html_report import write_html_report
from cfbd_core.sources import SourceOptions, fingerprint
from cfbd_core.sources.base import repeated_key
from cfbd_core.store import queries
from cfbd_core.store.adding import add_pairs
from cfbd_core.workbench.explorer import Explorer
from tests.sources.helpers import picture_bytes, record, write_pictures, write_tar
from tests.toy import ToyEncoder


def shard(folder: Path, name: str, keys: list[str]) -> None:
    members = [m for value, key in enumerate(keys) for m in record(key, f"{name} {key}", value)]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_tar(folder / name, members)


def ingested(folder: Path, source: Path, **options: Any) -> tuple[Audit, dict[str, Any]]:
    audit = Audit.create(folder)
    return audit, audit.ingest(source, SourceOptions(**options))


def captions(audit: Audit) -> dict[str, str]:
    table = audit.pairs()
    return dict(zip(table["key"].to_pylist(), table["caption"].to_pylist(), strict=True))


# --- keys ------------------------------------------------------------------------------------------------


def test_keys_that_several_shards_have_are_told_apart_and_the_first_keeps_its_own(tmp_path: Path) -> None:
    shard(tmp_path / "set", "0.tar", ["a", "b", "a"])
    shard(tmp_path / "set", "1.tar", ["a", "c"])
    shard(tmp_path / "set", "x/1.tar", ["a", "a"])
    audit, found = ingested(tmp_path / "audit", tmp_path / "set")
    assert captions(audit) == {
        "a": "0.tar a",
        "b": "0.tar b",
        "a~2": "0.tar a",
        "1/a": "1.tar a",
        "c": "1.tar c",
        "x/1/a": "x/1.tar a",
        "x/1/a~2": "x/1.tar a",
    }
    assert (found["pairs"], found["skipped"]) == (7, 0)
    assert found["notes"] == [
        "4 pairs have a key that an earlier one has and are called SHARD/KEY or KEY~2: a~2, 1/a, x/1/a …"
    ]
    every, _ = ingested(tmp_path / "all", tmp_path / "set", captions="all")
    assert list(captions(every)) == ["a#0", "b#0", "a#0~2", "1/a#0", "c#0", "x/1/a#0", "x/1/a#0~2"]


def test_a_new_name_takes_no_other_pairs_key(tmp_path: Path) -> None:
    shard(tmp_path / "set", "0.tar", ["b", "b/c", "1/b"])
    shard(tmp_path / "set", "1.tar", ["b"])
    shard(tmp_path / "set", "1/b.tar", ["b", "c"])
    shard(tmp_path / "set", "1/x.tar", ["b", "b/c", "c"])
    audit, found = ingested(tmp_path / "audit", tmp_path / "set")
    keys = audit.pairs()["key"].to_pylist()
    assert len(set(keys)) == len(keys) == found["pairs"] == 9
    assert keys[:3] == ["b", "b/c", "1/b"]
    assert keys[3] == "1/b~"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_id_that_starts_again_in_every_file_or_repeats_in_one(tmp_path: Path, kind: str) -> None:
    write_pictures(tmp_path / "set", "0.png", "1.png")
    for part in range(2):
        rows = {
            "id": [7, 7, 8, 8],
            "image": ["0.png", "0.png", "1.png", "1.png"],
            "caption": [f"{part} {text}" for text in ("a", "b", "c", "c")],
        }
        if kind == "parquet":
            pq.write_table(pa.table(rows), tmp_path / "set" / f"{part}.parquet")
            continue
        with (tmp_path / "set" / f"{part}.csv").open("w") as file:
            csv.writer(file).writerows([rows, *zip(*rows.values(), strict=True)])
    audit, found = ingested(tmp_path / "audit", tmp_path / "set")
    assert captions(audit) == {
        "7": "0 a",
        "7~2": "0 b",
        "8": "0 c",
        "1/7": "1 a",
        "1/7~2": "1 b",
        "1/8": "1 c",
    }
    assert [(reason["reason"], reason["pairs"]) for reason in found["reasons"]] == [("duplicate key", 2)]


def test_decisions_of_an_older_audit_of_repeated_keys_meet_the_same_pairs(tmp_path: Path) -> None:
    for part in range(3):
        shard(tmp_path / "set", f"{part}.tar", ["a", "b", "c"])
    audit, _ = ingested(tmp_path / "audit", tmp_path / "set")
    older = tmp_path / "older.csv"  # which held the first pair of each key alone
    older.write_text("key,caption,decision\n" + "".join(f"{key},0.tar {key},remove\n" for key in "abc"))
    audit.decide(read_decisions(older))
    table = audit.pairs(where="decision = 'remove'")
    assert table["caption"].to_pylist() == ["0.tar a", "0.tar b", "0.tar c"]
    shard(tmp_path / "set", "3.tar", ["a", "d"])  # a shard more changes no key
    grown, _ = ingested(tmp_path / "grown", tmp_path / "set")
    assert captions(audit).items() <= captions(grown).items()


def test_the_name_of_a_repeated_key_is_the_same_in_the_store_and_in_python(tmp_path: Path) -> None:
    shards = [(0, "s"), (4, "t"), (6, "s2")]
    keys = ["a", "b", "a", "a", "a", "b", "a", "a", "c"]
    names, homes, times = [], {}, {}
    for row, key in enumerate(keys):
        shard_name = [name for first, name in shards if first <= row][-1]
        home = homes.setdefault(key, shard_name)
        times[key, shard_name] = nth = times.get((key, shard_name), 0) + 1
        names.append(repeated_key(key, shard_name, home, nth))
    empty = pa.nulls(len(keys), pa.string())
    columns = {"row": range(len(keys)), "key": keys, "caption": [str(row) for row in range(len(keys))]}
    columns |= dict.fromkeys(("label", "attack", "target", "origin_key", "origin_caption"), empty)
    columns |= {"image": ["x"] * len(keys), "poisoned": pa.nulls(len(keys), pa.bool_())}
    columns |= dict.fromkeys(("image_offset", "image_size"), pa.nulls(len(keys), pa.int64()))
    pq.write_table(pa.table(columns), tmp_path / "pairs_000000.parquet")
    audit = Audit.create(tmp_path / "audit")
    with audit.files.database.writing(reads=tmp_path) as connection:
        assert add_pairs(connection, tmp_path, shards).renamed == 6
    assert audit.pairs()["key"].to_pylist() == names


# --- what was not read -----------------------------------------------------------------------------------


def test_what_was_not_read_is_told_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "set", *(f"{n}.png" for n in range(4)))
    rows = [{"file_name": f"{n}.png", "text": [f"a {n}", f"b {n}"]} for n in range(3)]
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["ingest", "set", "--audit", "audit"]) == 0
    out, err = capsys.readouterr()
    lines = [
        "3 pairs read, 0 skipped",
        "not read: 3 × further caption (e.g. metadata.jsonl line 1)"
        " – --captions all makes each caption a pair of its own",
        "not read: 1 × picture in no record (e.g. 3.png) – no row, text or record that was read belongs to it",
    ]
    assert out.splitlines() == lines
    assert err == ""  # once is enough
    unread = {"further caption": 3, "picture in no record": 1}
    assert main(["ingest", "set", "--audit", "audit", "--json"]) == 0  # which the audit holds already
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err.splitlines() == lines
    assert (found["unread"], found["notes"]) == (unread, [])
    assert [kind["kind"] for kind in found["unread_kinds"]] == list(unread)
    audit = Audit.open("audit")
    assert audit.validation_report()["unread"] == unread
    with audit.files.database.reading() as connection:
        assert [kind["count"] for kind in queries.get_meta(connection, "unread")["kinds"]] == [3, 1]


def test_the_report_of_an_audit_tells_it_too(tmp_path: Path, toy_source: Callable[..., Path]) -> None:
    source = toy_source(60)
    (source.parent / "further.png").write_bytes(picture_bytes())
    audit, _ = ingested(tmp_path / "audit", source.parent)
    audit.embed(ToyEncoder())
    audit.score("self")
    audit.split(SplitParams(q=5, k=2))
    found = audit.report()
    assert found["unread"] == {"picture in no record": 1}
    assert "not read: 1 × picture in no record (e.g. further.png)" in text(found)
    assert "further.png" in html_of(audit, tmp_path / "report.html")
    with audit.files.database.writing() as connection:
        queries.forget_meta(connection, "unread")
    assert "did not count" in text(audit.report())


def html_of(audit: Audit, out: Path) -> str:
    write_html_report(Explorer(audit), out)
    return out.read_text()


def test_nothing_in_a_report_steers_a_terminal(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", "0.png", "1\x1b[2J\n.png")
    (tmp_path / "set" / "p.csv").write_text("image,caption\n0.png,a\n")
    _, found = ingested(tmp_path / "audit", tmp_path / "set")
    assert "\x1b" not in validation_text(found)
    assert "1\\x1b[2J\\n.png" in validation_text(found)


def test_the_way_to_the_pictures_is_told_where_none_is_found(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,caption\n0.png,a\n")
    with pytest.raises(SourceError, match="--image-root"):
        ingested(tmp_path / "audit", tmp_path / "p.csv")


def test_names_that_are_not_utf8_cost_no_audit(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", "0.jpg")
    (tmp_path / "set" / "0.txt").write_text("fine")
    place = os.fsencode(tmp_path / "set")
    for name in (b"caf\xe9.jpg", b"caf\xe9.txt", b"caf\xe9.md"):
        with open(place + b"/" + name, "wb") as file:
            file.write(picture_bytes())
    audit, found = ingested(tmp_path / "audit", tmp_path / "set")
    assert (found["pairs"], found["reasons"][0]["reason"], found["unread"]) == (
        1,
        "not UTF-8",
        {"other file": 1},
    )
    assert audit.ingest(tmp_path / "set") == found


# --- audits of older versions ----------------------------------------------------------------------------


def older(audit: Audit, source: Path, files: list[Path], form: str) -> None:
    """Let the audit be one that read these files alone, before unread things were counted."""
    with audit.files.database.writing() as connection:
        held = queries.get_meta(connection, "source")
        del held["reader"]
        opened = type("Opened", (), {"name": form, "files": lambda _: files})()
        held |= {"files": [str(file) for file in files], "fingerprint": fingerprint(opened), "format": form}
        held["source"] = str(source)
        queries.set_meta(connection, "source", held)
        for name in ("unread", "stamps"):
            queries.forget_meta(connection, name)


def test_an_older_audit_goes_on_with_what_it_read(tmp_path: Path) -> None:
    source = tmp_path / "set"
    shard(source, "0.tar", ["a"])
    audit, _ = ingested(tmp_path / "audit", source / "0.tar")
    shard(source, "below/1.tar", ["b"])
    older(audit, source, [source / "0.tar"], "webdataset")
    found = audit.ingest(source)
    assert (found["pairs"], found["unread"]) == (1, {})
    assert "did not count what it left unread" in found["notes"][0]
    os.utime(source / "0.tar", ns=(0, 0))
    assert audit.ingest(source)["pairs"] == 1
    shard(source, "0.tar", ["b"])
    with pytest.raises(AuditError, match="already holds"):
        audit.ingest(source)


def test_a_folder_of_which_an_older_version_read_less_is_compared_by_what_it_read(tmp_path: Path) -> None:
    source = tmp_path / "set"
    for name in ("b", "c", "below/b"):
        write_pictures(source, f"{name}.png")
        (source / f"{name}.txt").write_text(f"of {name}")
    audit, _ = ingested(tmp_path / "audit", source)
    older(audit, source, sorted(source.rglob("*.*")), "folder")
    write_pictures(tmp_path / "linked", "a.png")
    (tmp_path / "linked/a.txt").write_text("of a")
    (source / "also").symlink_to(tmp_path / "linked")  # it is read first by now
    os.utime(source / "b.png", ns=(0, 0))
    audit.check_source()
    assert audit.ingest(source)["pairs"] == 3
    source.rename(tmp_path / "moved")
    assert "found again" in audit.ingest(tmp_path / "moved")["again"]
    images = dict(zip(*(audit.pairs()[name].to_pylist() for name in ("caption", "image")), strict=True))
    assert images == {f"of {name}": str(tmp_path / f"moved/{name}.png") for name in ("b", "c", "below/b")}
    (tmp_path / "moved/below/b.txt").write_text("of another")
    with pytest.raises(SourceError, match="b.txt: changed since it was ingested"):
        audit.check_source()


def test_an_id_of_images_was_a_key_for_older_versions_and_is_none_now(tmp_path: Path) -> None:
    write_pictures(tmp_path, "0.png", "1.png")
    table = tmp_path / "pairs.csv"
    table.write_text("image_id,image,caption\n7,0.png,a\n8,1.png,b\n")
    audit, _ = ingested(tmp_path / "audit", table)
    assert audit.pairs()["key"].to_pylist() == ["000000000", "000000001"]
    older(audit, table, [table], "csv")
    with audit.files.database.writing() as connection:
        connection.execute("UPDATE pairs SET key = CAST(7 + row AS VARCHAR)")
    os.utime(table, ns=(0, 0))
    audit.check_source()
    assert audit.ingest(table)["pairs"] == 2
    table.write_text("image_id,image,caption\n7,1.png,a\n8,0.png,b\n")
    with pytest.raises(SourceError, match=r"pairs.csv: changed since it was ingested \(pair 0, key '7'"):
        audit.check_source()


def test_an_older_audit_is_read_in_the_format_that_it_was_read_in(tmp_path: Path) -> None:
    source = tmp_path / "set"
    write_pictures(source, "0.png", "1.png", "2.png")
    (source / "0.txt").write_text("stray")
    audit, _ = ingested(tmp_path / "audit", source, format="folder")
    (source / "metadata.csv").write_text("file_name,text\n0.png,a\n1.png,b\n2.png,c\n")
    older(audit, source, sorted(source.glob("[0-9]*")), "folder")
    assert audit.ingest(source)["pairs"] == 1
    assert Audit.create(tmp_path / "new").ingest(source)["pairs"] == 3


def test_ready_embeddings_that_do_not_fit_any_more_are_not_restored(tmp_path: Path) -> None:
    columns = {name: [[1.0, 0.0], [0.0, 1.0]] for name in ("image_embedding", "text_embedding")}
    source = tmp_path / "e.parquet"
    pq.write_table(pa.table({"caption": ["a", "b"], **columns}), source)
    audit, _ = ingested(tmp_path / "audit", source)
    audit.shards.clear()
    assert audit.ingest(source)["pairs"] == 2
    assert audit.shards.are_whole()
    with audit.files.database.writing() as connection:
        queries.set_meta(
            connection, "embedding", queries.get_meta(connection, "embedding") | {"content": "0"}
        )
    audit.shards.clear()
    with pytest.raises(AuditError, match="changed since they were ingested"):
        audit.ingest(source)
    assert not audit.shards.are_whole()
