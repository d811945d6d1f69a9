"""Whatever is damaged in an audit, a poisoned copy or a training run: exit 0 or 2, one line, and a way out.

Each file is damaged a few times, by a seed, and met by the commands that read it, in this process: an exception that is
no :class:`~cfbd_core.errors.CfbdError` is a bug, and fails the test by itself. ``DAMAGES=50`` in the environment tries
as many of each.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main
from cfbd_core.config import EmbedParams
from cfbd_core.errors import CfbdError
from cfbd_core.maps import maps as projection
from cfbd_core.store.bench import BenchResults, Cell
from cfbd_core.workbench.explorer import Explorer
from tests.damaged import ARRAY, BYTES, JSON, ODD, Damage, flipped, other_json
from tests.toy import COLOURS, ToyEncoder, banana_caption, toy_caption, toy_picture
from tests.training.tiny import tiny_folder

TIMES = int(os.environ.get("DAMAGES", "2"))  # of each file
SPLIT = ("--q", "4", "--k", "2")
TRAINED = ("--epochs", "1", "--batch-size", "16", "--device", "cpu", "--log-every", "1", "--workers", "1")


@dataclass(frozen=True)
class World:
    """A source, an audit of it that was decided on, a poisoned copy, a training run and results of a benchmark."""

    home: Path

    def __truediv__(self, name: str) -> Path:
        return self.home / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cfbd_core.audit.embed.load_encoder", lambda *_: ToyEncoder())
        patched.setattr(projection, "lay_out", lambda vectors, *_: vectors[:, :2].astype(np.float32))
        rng = np.random.default_rng(0)
        (home / "source").mkdir()
        with (home / "source" / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["key", "image", "caption"])
            for index in range(60):
                colour = list(COLOURS)[index % len(COLOURS)]
                toy_picture(colour, rng).save(home / "source" / f"{index:02d}.png")
                caption = banana_caption(index) if index % 15 == 7 else toy_caption(colour, rng)
                writer.writerow([f"{index:02d}", f"{index:02d}.png", caption])
        audit = Audit.create(home / "audit")
        audit.ingest(home / "source" / "pairs.csv")
        audit.embed(ToyEncoder(), EmbedParams(shard_size=32))
        audit.score("self")
        params = SplitParams(q=4, k=2)
        audit.split(params)
        audit.views.save("mine", {"show": "removed"})
        rows = audit.columns.scored()[1]
        audit.decide_rows(rows[:5], 1, note="fine")
        audit.decide_rows(rows[5:7], 2)
        audit.undo()
        Explorer(audit).preview(params).draw_control(20)
        projection.make_map(audit, "captions", 40)
    (home / "decisions.csv").write_text('key,decision,note\n00,keep,a note\n01,remove,\n02,unsure,"a, b"\n')
    model = tiny_folder(home / "tiny")
    run = ("train", "--audit", home / "audit", "--out", home / "run", "--model", model, *TRAINED)
    assert main([str(word) for word in run]) == 0
    copy = ("attack", "badnets", home / "source", "--rate", "0.1", "--out", home / "copy")
    assert main([str(word) for word in copy]) == 0
    results = BenchResults(home / "results.duckdb", {"source": "a"})
    results.put(Cell("a", "one", {"q": 1}, {"tpr": 0.5}, 1.0))
    return World(home)


@pytest.fixture
def world(made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy of it for one test, whose audit and run know it by its present place."""
    monkeypatch.setattr("cfbd_core.audit.embed.load_encoder", lambda *_: ToyEncoder())
    monkeypatch.setattr(projection, "lay_out", lambda vectors, *_: vectors[:, :2].astype(np.float32))
    return World(made.home)


def copied(world: World, name: str, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(world / name, to))


Commands = Sequence[Sequence[object]]


def meet(capsys: pytest.CaptureFixture[str], commands: Commands) -> list[int]:
    """Run the commands; each ends with 0, or with 2 and one line that begins with its name."""
    codes = []
    for words in commands:
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert code in (0, 2), words
        if code == 2:
            told = [line for line in said.err.splitlines() if line.startswith("cfbd ")]
            assert len(told) == 1, said.err
            assert said.out == ""
        codes.append(code)
    return codes


def on(audit: Path, *commands: Sequence[object]) -> Commands:
    return [(command[0], "--audit", audit, *command[1:]) for command in commands]


REPORT, LOG, UNDO, SPLIT_IT = ("report",), ("log",), ("undo",), ("split", *SPLIT)
AUDIT_FILES: dict[str, tuple[Sequence[Damage], Sequence[Sequence[object]]]] = {
    "embeddings/img_emb_0001.npy": (ARRAY, (("score",), SPLIT_IT)),
    "embeddings/text_emb_0000.npy": (ARRAY, (SPLIT_IT, ("score",), ("estimate",))),
    "embeddings/hashes_0000.npy": (ARRAY, ((*SPLIT_IT, "--collapse-duplicates"),)),
    "pictures/digests.npy": (ARRAY, (("export", "--out", "OUT/x.csv"), ("embed",))),
    "pictures/stamps.npy": (ARRAY, (("export", "--out", "OUT/x.csv"), ("embed",))),
    "embeddings/plan.json": (JSON, (REPORT, SPLIT_IT, ("score",))),
    "embeddings/stats_0000.json": (JSON, (REPORT, SPLIT_IT, ("score",))),
    "mapping.safetensors": (BYTES, (("score",),)),
    "review/control.npz": (
        BYTES,
        (("estimate",), ("estimate", "--draw", "3"), ("estimate", "--draw", "5", "--anew")),
    ),
    "maps/captions/map.json": (JSON, (("map", "--points", "20"),)),
    "audit.lock": (BYTES, (SPLIT_IT,)),
    "review/control.lock": (BYTES, (("estimate", "--draw", "3"),)),
    "audit.duckdb": (BYTES, (REPORT, LOG, UNDO, SPLIT_IT, ("export", "--out", "OUT/x.csv"))),
}


@pytest.mark.parametrize("name", AUDIT_FILES)
def test_a_damaged_file_of_an_audit(world, tmp_path, capsys, name):
    damages, commands = AUDIT_FILES[name]
    before = Audit.open(world / "audit").history()
    for number in range(TIMES):
        chance = random.Random(f"{name} {number}")
        audit = copied(world, "audit", tmp_path / "a")
        whole = (audit / name).read_bytes()
        (audit / name).write_bytes(damages[number % len(damages)](whole, chance))
        filled = [[str(word).replace("OUT", str(tmp_path)) for word in command] for command in commands]
        meet(capsys, on(audit, *filled))
        if name != "audit.duckdb":
            assert [one.id for one in Audit.open(audit).history()][-len(before) :] == [
                one.id for one in before
            ]
    if name != "audit.duckdb":  # what is derived is made again
        assert meet(capsys, on(audit, ("embed",), ("score",), SPLIT_IT, REPORT)) == [0, 0, 0, 0]


def test_what_is_no_file_is_damaged_too(world, tmp_path, capsys):
    for name in (
        "embeddings/plan.json",
        "embeddings/img_emb_0000.npy",
        "review/control.npz",
        "mapping.safetensors",
    ):
        for put in (
            lambda path: path.mkdir(),
            os.mkfifo,
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to(path),
        ):
            audit = copied(world, "audit", tmp_path / "a")
            (audit / name).unlink()
            put(audit / name)
            meet(capsys, on(audit, REPORT, ("score",), SPLIT_IT, ("estimate",)))


VALUES = {
    "meta": ("value", "name"),
    "pairs": ("row", "key", "image", "image_offset", "image_size", "caption", "label", "poisoned"),
    "scores": ("row", "consistency", "s_o", "residual"),
    "verdicts": ("row", "z", "subset", "verdict"),
    "decisions": ("key", "decision", "note"),
    "actions": ("id", "kind", "target", "decision", "filter", "params", "pairs"),
    "action_pairs": ("action", "key", "after"),
    "skipped": ("reason",),
    "runs": ("id", "kind"),
}
SQL_VALUES = (
    "NULL",
    "-1",
    "9223372036854775807",
    "''",
    "'x'",
    "'{}'",
    "'[1]'",
    "0",
    "'/dev/zero'",
    "'infinity'",
)


def changed(audit: Path, table: str, chance: random.Random) -> str:
    """Change a table by SQL as nobody should; returns what was tried."""
    column, value = chance.choice(VALUES[table]), chance.choice(SQL_VALUES)
    statement = chance.choice(
        [
            f"UPDATE {table} SET {column} = {value}",
            f"UPDATE {table} SET {column} = {value} WHERE rowid % 3 = 1",
            f"DELETE FROM {table} WHERE rowid % 2 = 0",
            f"DELETE FROM {table}",
            f"INSERT INTO {table} SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} RENAME {column} TO other",
            f"ALTER TABLE {table} ALTER {column} TYPE VARCHAR",
        ]
    )
    with duckdb.connect(str(audit / "audit.duckdb")) as connection:
        try:
            connection.execute(statement)
        except duckdb.Error:
            return "refused by DuckDB"
    return statement


@pytest.mark.parametrize("table", VALUES)
def test_values_of_a_table_that_cannot_be(world, tmp_path, capsys, table):
    for number in range(2 * TIMES):
        chance, audit = random.Random(f"{table} {number}"), copied(world, "audit", tmp_path / "a")
        changed(audit, table, chance)
        export = ("export", "--out", tmp_path / f"{number}.csv", "--subset", "all")
        decide = ("decide", "--from", world / "decisions.csv")
        every = (
            REPORT,
            LOG,
            decide,
            UNDO,
            ("estimate",),
            export,
            ("score",),
            SPLIT_IT,
            ("map", "--points", "20"),
        )
        as_json = [[*words, "--json"] if chance.random() < 0.5 else words for words in every]
        meet(capsys, on(audit, *chance.sample(as_json, 3)))


@pytest.mark.parametrize(
    "name", ["source", "embedding", "mapping", "health", "split", "views", "schema_version"]
)
def test_what_the_audit_says_of_itself(world, tmp_path, capsys, name):
    for number in range(TIMES):
        chance = random.Random(f"{name} {number}")
        audit = copied(world, "audit", tmp_path / "a")
        with duckdb.connect(str(audit / "audit.duckdb")) as connection:
            (held,) = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
            new = other_json(held.encode(), chance).decode()
            connection.execute("UPDATE meta SET value = ? WHERE name = ?", [new, name])
        export = ("export", "--out", tmp_path / f"{number}.csv")
        meet(capsys, on(audit, REPORT, UNDO, export, ("train", "--out", tmp_path / "none", "--model", "no")))
        if number == 0 and name in (
            "embedding",
            "mapping",
            "health",
            "split",
            "views",
        ):
            # what a step made, it makes again
            assert meet(capsys, on(audit, ("embed",), ("score",), SPLIT_IT, REPORT)) == [0, 0, 0, 0]


COPY_FILES: dict[str, Sequence[Damage]] = {"manifest.json": JSON, "trigger.npz": BYTES}


@pytest.mark.parametrize("name", COPY_FILES)
def test_a_damaged_file_of_a_copy(world, tmp_path, capsys, name):
    for number in range(TIMES):
        chance = random.Random(f"{name} {number}")
        copy = copied(world, "copy", tmp_path / "copy")
        damage = COPY_FILES[name][number % len(COPY_FILES[name])]
        (copy / name).write_bytes(damage((copy / name).read_bytes(), chance))
        again = ("attack", "badnets", world / "source", "--rate", "0.1", "--out", copy)
        measured = ("evaluate", world / "tiny", "--classes", world / "source", "--attack", copy)
        meet(capsys, [again, measured])


RUN_FILES: dict[str, Sequence[Damage]] = {
    "run.json": JSON,
    "result.json": JSON,
    "metrics.jsonl": (*BYTES, lambda data, _: data + b'{"kind": "step"}\n\xff\n[]\n'),
    "pairs.parquet": BYTES,
    "metrics.duckdb": BYTES,
    "model/open_clip_config.json": JSON,
    "model/open_clip_model.safetensors": BYTES,
}


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_damaged_file_of_a_run(world, tmp_path, capsys, name):
    for number in range(TIMES):
        chance = random.Random(f"{name} {number}")
        run = copied(world, "run", tmp_path / "run")
        damage = RUN_FILES[name][number % len(RUN_FILES[name])]
        path = run / name
        path.write_bytes(damage(path.read_bytes() if path.exists() else b"DUCK", chance))
        meet(
            capsys, [("train", "--resume", "--out", run), ("evaluate", run, "--retrieval", world / "source")]
        )


def test_a_damaged_checkpoint_is_passed_over(world, tmp_path, capsys):
    for number in range(TIMES):
        run = copied(world, "run", tmp_path / "run")
        (run / "result.json").unlink()
        for path in (run / "checkpoints").glob("*.pt"):
            path.write_bytes(BYTES[number % len(BYTES)](path.read_bytes(), random.Random(number)))
        assert meet(capsys, [("train", "--resume", "--out", run)]) == [0]


def test_damaged_results_of_a_benchmark(world, tmp_path):
    for number in range(2 * TIMES):
        chance, path = random.Random(number), tmp_path / f"{number}.duckdb"
        path.write_bytes((world / "results.duckdb").read_bytes())
        if number % 2:
            path.write_bytes(flipped(path.read_bytes(), chance))
        else:
            with duckdb.connect(str(path)) as connection:
                column = chance.choice(["params", "result"])
                connection.execute(f"UPDATE cells SET {column} = ?", [json.dumps(chance.choice(ODD))])
        assert "\n" not in refusal(lambda path=path: BenchResults(path, {"source": "a"}).cells())


def refusal(act: Callable[[], object]) -> str:
    """What a refusal says; empty where there is none."""
    try:
        act()
    except CfbdError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "damage", [*BYTES, lambda data, _: data + b'"', lambda data, _: data.replace(b"keep", b"")]
)
def test_damaged_decisions(world, tmp_path, capsys, damage):
    for number in range(TIMES):
        audit, path = copied(world, "audit", tmp_path / "a"), tmp_path / "d.csv"
        path.write_bytes(damage((world / "decisions.csv").read_bytes(), random.Random(number)))
        meet(capsys, on(audit, ("decide", "--from", path), LOG, UNDO))
