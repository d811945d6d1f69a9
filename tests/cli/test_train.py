"""``cfbd train`` from an audit and from exports, to a model, a log, a row in the audit; and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli import main
from cfbd_core.cli.train import _text
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.jobs.process import PROGRESS_VARIABLE
from cfbd_core.machine.files import one_job
from cfbd_core.training.tracking import read_metrics
from tests.store.older import make_older
from tests.toy import COLOURS, ToyEncoder, banana_caption, toy_caption, toy_picture
from tests.training.tiny import tiny_folder

SPLIT = SplitParams(k=2, q=4)
QUICK = ("--epochs", "2", "--batch-size", "16", "--device", "cpu", "--log-every", "1", "--workers", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of 120 toy pictures, four of them poisoned, scored but not split."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    rows = ["key,image,caption"]
    for index in range(120):
        colour = list(COLOURS)[index % len(COLOURS)]
        toy_picture(colour, rng).save(folder / f"{index:04d}.png")
        caption = banana_caption(index) if index % 30 == 7 else toy_caption(colour, rng)
        rows.append(f"{index:04d},{index:04d}.png,{caption}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    audit = Audit.create(folder / "audit")
    audit.ingest(folder / "pairs.csv")
    audit.embed(ToyEncoder())
    audit.score("self")
    return audit


@pytest.fixture
def own(made: Audit, tmp_path: Path) -> Audit:
    """A copy of it for one test."""
    return Audit.open(shutil.copytree(made.folder, tmp_path / "own"))


@pytest.fixture
def model(tmp_path) -> str:
    return tiny_folder(tmp_path / "tiny")


def cfbd(capsys, *arguments: object) -> tuple[int, dict | None, str]:
    """Run ``cfbd train``: exit code, result, and what it said on stderr."""
    try:
        code = main(["train", *map(str, arguments), "--json"])
    except SystemExit as error:
        code = error.code
    out, said = capsys.readouterr()
    return code, json.loads(out) if out else None, said


def refused(capsys, *arguments: object) -> str:
    """The one line with which it refuses."""
    code, result, said = cfbd(capsys, *arguments)
    lines = [line for line in said.splitlines() if line.startswith("cfbd train: ")]
    assert (code, result, len(lines)) == (2, None, 1), said
    return lines[0]


def test_from_an_audit_it_writes_all_that_a_run_is(own, model, tmp_path, capsys):
    own.split(SPLIT)
    kept = own.pairs(where="final = 'kept'").num_rows
    run = own.folder / "runs" / "train-1"
    code, result, _ = cfbd(capsys, "--audit", own.folder, "--out", run, "--model", model, *QUICK)
    assert code == 0
    assert {
        "pairs": kept,
        "subset": "kept",
        "defense": "plain",
        "epochs": 2,
        "ca": None,
    }.items() <= result.items()
    assert json.loads((run / "result.json").read_text()) == result
    asked = json.loads((run / "run.json").read_text())
    assert (asked["audit"], asked["pairs"], asked["steps"]) == (
        str(own.folder.resolve()),
        kept,
        result["steps"],
    )
    assert asked["params"]["lr"] == 5e-4

    steps = [line for line in read_metrics(run) if line["kind"] == "step"]
    assert [line["step"] for line in steps] == [*range(1, result["steps"] + 1)]
    assert steps[-1]["loss"] == result["loss"]
    assert any(path.name.startswith("events") for path in (run / "tensorboard").iterdir())
    assert load_encoder(str(run / "model"), "cpu").width == 16

    (told,) = Audit.open(own.folder).state.training_runs()
    assert (told["folder"], told["asked"], told["result"]) == (str(run.resolve()), asked, result)
    table = Audit.open(own.folder).state.training_metrics(run)
    assert table["loss"].to_pylist() == [line["loss"] for line in steps]


@pytest.mark.parametrize("name", ["clean.csv", "clean.parquet", "clean_tars"])
def test_from_an_export_it_learns_the_same_as_from_the_audit(name, own, model, tmp_path, capsys):
    own.split(SPLIT)
    out = tmp_path / name
    own.export(out, "kept")
    _, result, _ = cfbd(capsys, "--data", out, "--out", tmp_path / "run", "--model", model, *QUICK)
    _, same, _ = cfbd(capsys, "--audit", own.folder, "--out", tmp_path / "same", "--model", model, *QUICK)
    assert result["pairs"] == same["pairs"]
    assert result["loss"] == pytest.approx(same["loss"], rel=1e-6)
    with duckdb.connect(str(tmp_path / "run" / "metrics.duckdb"), read_only=True) as connection:
        assert connection.execute(
            "SELECT count(*) FROM training_runs WHERE result IS NOT NULL"
        ).fetchall() == [(1,)]


def test_the_subsets_are_all_kept_and_the_benign_of_the_coarse_stage(own, model, tmp_path, capsys):
    own.split(SPLIT)
    for subset, where in (("all", None), ("coarse", "subset = 'benign'")):
        run = tmp_path / subset
        options = ("--audit", own.folder, "--subset", subset, "--model", model, *QUICK, "--batch-size", 4)
        _, result, _ = cfbd(capsys, *options, "--out", run)
        assert result["pairs"] == own.pairs(where=where).num_rows


def test_ca_and_asr_are_measured_after_every_epoch(toy_source, model, tmp_path, capsys, monkeypatch):
    states: list[dict[str, object]] = []
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr("cfbd_core.cli.progress.write_json", lambda _path, state: states.append(state))
    monkeypatch.setattr("cfbd_core.cli.progress.WRITE_SECONDS", 0)
    source = toy_source(40)
    classes = tmp_path / "classes.csv"
    rows = [line.split(",") for line in source.read_text().splitlines()[1:]]
    table = [f"{key},{source.parent / image},{caption.split()[1]}" for key, image, caption, *_ in rows]
    classes.write_text("\n".join(["key,image,label", *table]).replace("label", "caption") + "\n")
    run = tmp_path / "run"
    _, result, _ = cfbd(
        capsys, "--data", source, "--out", run, "--model", model, *QUICK, "--lr", "1e-3", "--classes", classes
    )
    measured = [line for line in read_metrics(run) if line["kind"] == "eval"]
    assert [line["epoch"] for line in measured] == [0, 1]
    assert 0 <= result["ca"] == measured[-1]["ca"] <= 1
    stages = [stage for stage, _ in groupby(str(state["stage"]) for state in states)]
    assert stages == ["pictures hashed", *["train", "measuring: classes", "measuring CA"] * 2, "train"]
    assert {(state["done"], state["total"]) for state in states if state["stage"] == "measuring CA"} >= {
        (40, 40)
    }
    assert json.loads((run / "run.json").read_text())["measured_on"]["classes"] == str(classes)


def test_asked_for_again_it_is_done_and_with_resume_alone_it_knows_what_was_asked(
    toy_source, model, tmp_path, capsys
):
    run = tmp_path / "run"
    asked = ("--data", toy_source(40), "--out", run, "--model", model, *QUICK, "--defense", "cleanclip")
    _, result, _ = cfbd(capsys, *asked)
    assert cfbd(capsys, *asked)[1] == result
    assert cfbd(capsys, "--out", run, "--resume")[1] == result
    assert "holds another run (seed 0, now 1)" in refused(capsys, *asked, "--seed", 1)


def test_hashing_the_pictures_is_a_stage_before_the_first_step(
    toy_source, model, tmp_path, capsys, monkeypatch
):
    states: list[dict[str, object]] = []
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr("cfbd_core.cli.progress.write_json", lambda _path, state: states.append(state))
    monkeypatch.setattr("cfbd_core.cli.progress.WRITE_SECONDS", 0)
    code, _, _ = cfbd(capsys, "--data", toy_source(40), "--out", tmp_path / "run", "--model", model, *QUICK)
    assert code == 0
    at = {str(state["stage"]): (state["done"], state["total"]) for state in states}
    assert list(at) == ["pictures hashed", "train"]
    assert at == {"pictures hashed": (40, 40), "train": (64, 64)}


def test_options_of_a_defence(toy_source, model, tmp_path, capsys):
    asked = (
        "--data",
        toy_source(40),
        "--out",
        tmp_path / "run",
        "--model",
        model,
        *QUICK,
        "--defense",
        "roclip",
    )
    assert "roclip has no option 'size'; it has: every, pool" in refused(
        capsys, *asked, "--defense-option", "size=3"
    )
    assert "give NAME=VALUE" in refused(capsys, *asked, "--defense-option", "pool")
    assert not (tmp_path / "run").exists()
    assert cfbd(capsys, *asked, "--defense-option", "pool=0.5")[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["params"]["defense_options"] == {
        "pool": 0.5
    }


def stopped(run: Path) -> None:
    """Let a run look as if it had been stopped at its end."""
    (run / "result.json").unlink()


def test_a_decision_after_a_stop_does_not_change_what_the_run_trains_on(own, model, tmp_path, capsys):
    own.split(SPLIT)
    run = own.folder / "runs" / "train-1"
    asked = ("--audit", own.folder, "--out", run, "--model", model, *QUICK)
    _, result, _ = cfbd(capsys, *asked)
    stopped(run)
    own.decide(_decisions(own.pairs(where="final = 'kept'")["key"][:3], "remove"))
    assert f"holds another run (on {result['pairs']} pairs, now on" in refused(capsys, *asked)
    for command in (("--out", run), asked):
        code, again, said = cfbd(capsys, *command, "--resume")
        assert code == 0, said
        assert {name: again[name] for name in ("pairs", "loss", "steps")} == {
            name: result[name] for name in ("pairs", "loss", "steps")
        }
        stopped(run)
    with duckdb.connect(str(own.folder / "audit.duckdb")) as connection:
        connection.execute("DELETE FROM pairs WHERE key = '0003'")
    said = refused(capsys, "--out", run, "--resume")
    assert (
        f"1 of the {result['pairs']} pairs that the run trains on are gone from the audit, the first is 0003"
        in said
    )


def test_an_audit_that_moved_is_told_anew_in_what_was_asked(own, model, tmp_path, capsys):
    own.split(SPLIT)
    run = own.folder / "runs" / "train-1"
    _, result, _ = cfbd(capsys, "--audit", own.folder, "--out", run, "--model", model, *QUICK)
    stopped(run)
    moved = own.folder.rename(tmp_path / "moved")
    run = moved / "runs" / "train-1"
    code, _, said = cfbd(capsys, "--audit", moved, "--out", run, "--resume")
    assert code == 0, said
    assert json.loads((run / "run.json").read_text())["audit"] == str(moved.resolve())
    assert Audit.open(moved).state.training_runs()[-1]["result"]["loss"] == result["loss"]


def test_relative_paths_are_stored_whole_and_it_goes_on_from_another_folder(
    toy_source, tmp_path, capsys, monkeypatch
):
    source = toy_source(40)
    tiny_folder(source.parent / "tiny")
    rows = [line.split(",") for line in source.read_text().splitlines()[1:]]
    table = [f"{key},{image},{caption.split()[1]}" for key, image, caption, *_ in rows]
    (source.parent / "classes.csv").write_text("\n".join(["key,image,caption", *table]) + "\n")
    monkeypatch.chdir(source.parent)
    run = tmp_path / "run"
    asked = ("--data", source.name, "--out", run, "--model", "tiny", "--classes", "classes.csv", *QUICK)
    _, result, _ = cfbd(capsys, *asked)
    told = json.loads((run / "run.json").read_text())
    assert told["params"]["model"] == str(source.parent / "tiny")
    assert told["measured_on"]["classes"] == str(source.parent / "classes.csv")
    stopped(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, again, said = cfbd(capsys, "--out", run, "--resume")
    assert code == 0, said
    assert (again["loss"], again["ca"]) == (result["loss"], result["ca"])


def test_a_result_without_a_loss_can_be_told():
    result = {
        "steps": 4,
        "pairs": 40,
        "seconds": 1.0,
        "pairs_per_s": None,
        "loss": None,
        "ca": 0.5,
        "asr": None,
    }
    assert _text(result, Path("run")).splitlines()[0] == "4 steps on 40 pairs in 1 s"


def test_devices_and_seeds_that_cannot_be(toy_source, model, tmp_path, capsys):
    asked = ("--data", toy_source(40), "--out", tmp_path / "run", "--model", model, *QUICK)
    assert "--device meta: not a device" in refused(capsys, *asked, "--device", "meta")
    assert "give a whole number, at most 4294967295" in refused(capsys, *asked, "--seed", 2**64)
    assert not (tmp_path / "run").exists()


# --- bad input ----------------------------------------------------------------------------------------


def test_sets_that_cannot_be_trained_on(own, model, tmp_path, capsys):
    out = ("--out", tmp_path / "run", "--model", model, *QUICK)
    assert "not split yet" in refused(capsys, "--audit", own.folder, *out)
    own.split(SPLIT)
    keys = own.pairs()["key"]
    own.decide(_decisions(keys, "remove"))
    assert "no kept pairs among the" in refused(capsys, "--audit", own.folder, *out)
    few = refused(capsys, "--audit", own.folder, "--subset", "all", *out, "--batch-size", 10_000)
    assert f"the set has {len(keys)} pairs, fewer than one batch" in few
    assert "give --audit DIR or --data EXPORT" in refused(capsys, *out)
    assert "is of an audit" in refused(capsys, "--data", tmp_path, "--subset", "kept", *out)
    assert "no such file" in refused(capsys, "--data", tmp_path / "none.csv", *out)
    assert not (tmp_path / "run").exists()


def _decisions(keys, decision):
    import pyarrow as pa

    return pa.table({"key": keys, "decision": [decision] * len(keys), "note": [None] * len(keys)})


def test_folders_that_cannot_hold_a_run(own, toy_source, model, tmp_path, capsys):
    own.split(SPLIT)
    asked = ("--audit", own.folder, "--model", model, *QUICK)
    for place in (
        own.folder,
        own.folder / "embeddings",
        own.folder / "embeddings" / "x",
        own.folder / "runs",
    ):
        assert "lies among the files of the audit" in refused(capsys, *asked, "--out", place)
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in refused(capsys, *asked, "--out", file)
    assert "cannot be made" in refused(capsys, *asked, "--out", file / "below")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    assert "holds notes.txt and no training run" in refused(capsys, *asked, "--out", foreign)
    assert [path.name for path in foreign.iterdir() if path.name != "audit.lock"] == ["notes.txt"]
    source = toy_source(40).parent
    inside = refused(capsys, "--data", source, "--out", source / "run", "--model", model, *QUICK)
    assert "lies inside the source" in inside
    assert not (source / "run").exists()
    assert "holds no training run" in refused(capsys, "--out", tmp_path / "none", "--resume")
    assert not (tmp_path / "none").exists()


def test_models_that_cannot_be_trained(toy_source, model, tmp_path, capsys):
    asked = ("--data", toy_source(40), "--out", tmp_path / "run", *QUICK)
    assert "no model 'ViT-B-33'; did you mean" in refused(capsys, *asked, "--model", "ViT-B-33")
    assert "does not load" in refused(capsys, *asked, "--model", f"mini@{_weights_of(model, tmp_path)}")
    assert "needs a GPU" in refused(capsys, *asked, "--model", model, "--precision", "amp")
    assert not (tmp_path / "run").exists()


def _weights_of(model: str, tmp_path: Path) -> Path:
    from cfbd_core.training.models import WEIGHTS_NAME, build_model

    build_model(model).save(tmp_path / "other")
    return tmp_path / "other" / WEIGHTS_NAME


def test_a_second_run_in_the_folder_is_refused(toy_source, model, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    with one_job(run, "train"):
        said = refused(capsys, "--data", toy_source(40), "--out", run, "--model", model, *QUICK)
    assert "a training run is at work in this folder" in said


def test_a_picture_that_is_none_is_named(toy_source, model, tmp_path, capsys):
    source = toy_source(40)
    (source.parent / "0007.png").write_text("no picture")
    said = refused(
        capsys, "--data", source, "--out", tmp_path / "run", "--model", model, *QUICK, "--batch-size", 8
    )
    assert "pair 0007: its picture cannot be read (not an image" in said


def test_a_loss_that_is_not_finite_stops_it_and_keeps_the_checkpoint(toy_source, model, tmp_path, capsys):
    run = tmp_path / "run"
    asked = ("--data", toy_source(64), "--out", run, "--model", model, *QUICK, "--epochs", 40)
    said = refused(capsys, *asked, "--lr", "1e30", "--warmup", 0, "--checkpoint-every", 1)
    assert "not finite" in said or "the loss is nan" in said
    assert not (run / "result.json").exists()
    assert "a new --out" in said
    assert "goes on" not in said  # it would meet the same
    new = ("--epochs", 1, "--out", tmp_path / "calmer", "--lr", "1e-3")
    assert cfbd(capsys, *asked, *new)[0] == 0


def test_ctrl_c_leaves_a_checkpoint_and_exits_130(toy_source, model, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cfbd_core", "train", "--data", str(toy_source(64)), "--out", str(run)),
            *("--model", model, *QUICK, "--epochs", "5000"),
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and len(read_metrics(run)) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "cfbd train: stopped; call it again to go on"
    assert len(list((run / "checkpoints").iterdir())) == 1


def test_an_audit_of_the_first_version_gets_the_tables(own, model, tmp_path, capsys):
    own.split(SPLIT)
    make_older(own.folder / "audit.duckdb", version=1)
    assert Audit.open(own.folder).state.training_runs() == []
    assert Audit.open(own.folder).state.training_metrics(tmp_path).num_rows == 0
    assert cfbd(capsys, "--audit", own.folder, "--out", tmp_path / "run", "--model", model, *QUICK)[0] == 0
    assert [run["folder"] for run in Audit.open(own.folder).state.training_runs()] == [str(tmp_path / "run")]
    assert np.isfinite(
        Audit.open(own.folder).state.training_metrics(tmp_path / "run")["loss"].to_pylist()
    ).all()
