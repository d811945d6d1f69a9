"""``open_clip_train`` on our exports: what it is called with, that it trains, and what is told where it does not."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cfbd_core import Audit
from cfbd_core.audit.export import spooled_subset
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.errors import TrainingError
from cfbd_core.export import Format, export
from cfbd_core.training.config import TrainParams
from cfbd_core.training.models import WEIGHTS_NAME
from cfbd_core.training.with_open_clip import checkpoints, engine
from cfbd_core.training.with_open_clip.engine import Training

PAIRS = 40
INSTALLED = all(importlib.util.find_spec(name) for name in engine.PACKAGES)
TRAINS = pytest.mark.skipif(not INSTALLED, reason="needs webdataset and braceexpand (requirements.txt)")
CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


def asked(**changes) -> TrainParams:
    """Settings as they come resolved."""
    given = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "warmup": 1, "log_every": 1, "workers": 1}
    return TrainParams(**given | changes)


@pytest.fixture
def exported(tmp_path: Path, toy_source):
    """Return a function that exports forty toy pairs: ``exported(format)`` -> the CSV, or the folder of tars."""

    def write(kind: Format) -> Path:
        audit = Audit.create(tmp_path / "audit")
        audit.ingest(toy_source(PAIRS))
        out = tmp_path / ("clean.csv" if kind == "csv" else "clean_tars")
        with spooled_subset(audit.files, "all") as batches:
            export(batches, out, kind, {})
        return out

    return write


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A tiny open_clip folder with weights."""
    import_torchvision()
    import open_clip

    folder = tmp_path / "start"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    torch.manual_seed(0)
    weights = open_clip.create_model(f"local-dir:{folder}").state_dict()
    save_file({name: value.clone() for name, value in weights.items()}, folder / WEIGHTS_NAME)
    return folder


def options(listed: list[str]) -> dict[str, str | None]:
    """``--name value`` pairs; a flag has None."""
    names = [place for place, word in enumerate(listed) if word.startswith("--")]
    ends = [*names[1:], len(listed)]
    return {
        listed[here]: listed[here + 1] if end == here + 2 else None
        for here, end in zip(names, ends, strict=True)
    }


def csv_of(folder: Path, header: str = "key,image,caption") -> Path:
    path = folder / "clean.csv"
    path.write_text(f"{header}\r\n", encoding="utf-8")
    return path


def test_a_csv_is_named_with_our_columns(tmp_path):
    data = csv_of(tmp_path)
    listed = options(
        engine.arguments(Training(asked(workers=4), data, 40, tmp_path / "s", tmp_path / "run", "cpu"))
    )
    assert listed == {
        "--dataset-type": "csv",
        "--train-data": str(data),
        "--csv-separator": ",",
        "--csv-img-key": "image",
        "--csv-caption-key": "caption",
        "--model": f"local-dir:{tmp_path / 's'}",
        "--device": "cpu",
        "--precision": "fp32",
        "--epochs": "1",
        "--batch-size": "8",
        "--accum-freq": "1",
        "--workers": "4",
        "--lr": "0.001",
        "--beta1": "0.9",
        "--beta2": "0.98",
        "--eps": "1e-08",
        "--wd": "0.1",
        "--warmup": "1",
        "--aug-cfg": "scale=(0.9,1.0)",
        "--seed": "0",
        "--logs": str(tmp_path / "run" / "open_clip"),
        "--name": "train",
        "--report-to": "tensorboard",
        "--log-every-n-steps": "1",
        "--save-frequency": "1",
        "--resume": "latest",
    }


@pytest.mark.parametrize(
    ("device", "precision", "found"),
    [
        ("cpu", "auto", "fp32"),
        ("cpu", "amp", "fp32"),
        ("cuda", "auto", "amp"),
        ("cuda", "amp", "amp"),
        ("cuda", "fp32", "fp32"),
    ],
)
def test_half_precision_is_for_cuda(tmp_path, device, precision, found):
    data = csv_of(tmp_path)
    listed = engine.arguments(
        Training(asked(precision=precision), data, 40, tmp_path, tmp_path / "run", device)
    )
    assert options(listed)["--precision"] == found


def test_tars_are_named_by_braces_and_each_worker_has_one(tmp_path):
    for number in range(3):
        (tmp_path / f"{number:05d}.tar").touch()
    listed = options(
        engine.arguments(Training(asked(workers=8), tmp_path, 25, tmp_path, tmp_path / "run", "cpu"))
    )
    assert listed["--dataset-type"] == "webdataset"
    assert listed["--train-num-samples"] == "25"
    assert listed["--workers"] == "3"
    braceexpand = pytest.importorskip("braceexpand")
    assert list(braceexpand.braceexpand(listed["--train-data"])) == [
        str(tmp_path / f"{number:05d}.tar") for number in range(3)
    ]


def test_several_gpus_share_the_batch_under_torchrun(tmp_path):
    data = csv_of(tmp_path)
    listed = engine.arguments(Training(asked(), data, 40, tmp_path, tmp_path / "run", "cuda", gpus=4))
    assert options(listed)["--batch-size"] == "2"
    assert {"--local-loss", "--gather-with-grad"} <= set(options(listed))
    started = engine.command(listed, 4)
    assert started[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert started[3:6] == ["--standalone", "--nproc-per-node", "4"]
    assert started[6:8] == ["-m", engine.MODULE]
    assert engine.command(listed)[:3] == [sys.executable, "-m", engine.MODULE]


@pytest.mark.parametrize(
    ("changes", "gpus", "match"),
    [
        ({"defense": "roclip"}, 1, "--defense roclip needs --engine own"),
        ({"steps": 10}, 1, "--epochs instead of --steps"),
        ({"batch_size": 9}, 2, "does not divide among 2 GPUs"),
        ({"batch_size": 64}, 1, "has 40 pairs, not one whole batch"),
        ({"accumulate": 6}, 1, "has 40 pairs, not one whole batch"),
    ],
)
def test_what_it_cannot_do_is_told(tmp_path, changes, gpus, match):
    with pytest.raises(TrainingError, match=match):
        engine.arguments(Training(asked(**changes), csv_of(tmp_path), 40, tmp_path, tmp_path, "cuda", gpus))


def test_data_that_it_cannot_read_is_told(tmp_path):
    def told(data: Path, gpus: int = 1) -> str:
        with pytest.raises(TrainingError) as caught:
            engine.arguments(Training(asked(), data, 40, tmp_path, tmp_path, "cuda", gpus))
        return str(caught.value)

    assert "0 tars" in told(tmp_path)
    assert "--format csv" in told(tmp_path / "clean.parquet")
    assert "cannot be read (No such file" in told(tmp_path / "gone.csv")
    assert "no columns image and caption" in told(csv_of(tmp_path, "url,title"))
    braced = tmp_path / "a,b"
    braced.mkdir()
    (braced / "00000.tar").touch()
    assert "','" in told(braced)
    assert "1 tars, and 2 are needed" in told(braced, 2)


@pytest.mark.parametrize(("pairs", "workers", "steps"), [(40, 0, 5), (41, 0, 6), (41, 4, 8), (3, 2, 2)])
def test_steps_of_an_epoch_of_tars_are_filled_up(tmp_path, pairs, workers, steps):
    assert (
        engine.steps_an_epoch(Training(asked(), tmp_path, pairs, tmp_path, tmp_path, "cpu"), workers) == steps
    )


@pytest.mark.parametrize(("pairs", "accumulate", "steps"), [(40, 1, 5), (47, 1, 5), (47, 2, 2)])
def test_steps_of_an_epoch_of_a_csv_are_whole_batches(tmp_path, pairs, accumulate, steps):
    training = Training(asked(accumulate=accumulate), csv_of(tmp_path), pairs, tmp_path, tmp_path, "cpu")
    assert engine.steps_an_epoch(training, 4) == steps


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "webdataset" else object())
    with pytest.raises(TrainingError, match=r"pip install webdataset==0\.2\.86$"):
        engine.check_packages()


@TRAINS
@pytest.mark.slow
def test_a_csv_trains_and_ends_as_an_open_clip_folder(exported, start, tmp_path):
    data = exported("csv")
    lines: list[dict] = []
    run = tmp_path / "run"
    params = asked(epochs=2)
    out = engine.train(Training(params, data, PAIRS, start, run, "cpu"), on_step=lines.append)
    assert [(line["step"], line["epoch"]) for line in lines] == [(step + 1, step // 5) for step in range(10)]
    assert all(line["kind"] == "step" and line["loss"] == line["parts"]["clip"] for line in lines)
    assert lines[0]["loss"] == pytest.approx(math.log(8), abs=1.0)
    # open_clip's schedule: warm-up of one step, then the cosine over the nine others.
    rates = [1e-3, *(0.5 * (1 + math.cos(math.pi * step / 9)) * 1e-3 for step in range(9))]
    assert [line["lr"] for line in lines] == pytest.approx(rates)
    assert json.loads((out / "open_clip_config.json").read_text(encoding="utf-8")) == CONFIG
    before, after = load_file(start / WEIGHTS_NAME), load_file(out / WEIGHTS_NAME)
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert "visual.conv1.weight" in moved
    assert "token_embedding.weight" in moved
    from cfbd_core.embedding.encoders import load_encoder

    encoder = load_encoder(str(out))
    assert encoder.encode_texts(["a red wall"]).shape == (1, 16)
    # A run that has ended trains no further, and gives the same folder.
    again: list[dict] = []
    engine.train(Training(params, data, PAIRS, start, run, "cpu"), on_step=again.append)
    assert not again
    assert torch.equal(load_file(out / WEIGHTS_NAME)["visual.proj"], after["visual.proj"])


@TRAINS
@pytest.mark.slow
def test_tars_train_and_a_stopped_run_goes_on_after_its_last_epoch(exported, start, tmp_path):
    data, run = exported("webdataset"), tmp_path / "run"

    def stop(line: dict) -> None:
        if line["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.train(Training(asked(epochs=3), data, PAIRS, start, run, "cpu"), on_step=stop)
    lines: list[dict] = []
    out = engine.train(Training(asked(epochs=3), data, PAIRS, start, run, "cpu"), on_step=lines.append)
    assert lines[0]["epoch"] in (1, 2)  # the second epoch may have ended before the process was stopped
    assert lines[-1]["step"] == 15
    assert (out / WEIGHTS_NAME).is_file()
    assert [path.name for path in checkpoints.paths(engine.checkpoints(run))] == ["epoch_2.pt", "epoch_3.pt"]


@TRAINS
@pytest.mark.slow
def test_an_error_of_open_clip_train_is_one_line(exported, start, tmp_path):
    data = exported("csv")
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace(".png", ".gone"), encoding="utf-8")
    with pytest.raises(
        TrainingError, match=r"open_clip_train: FileNotFoundError: .*log is .*log\.txt"
    ) as caught:
        engine.train(Training(asked(), data, PAIRS, start, tmp_path / "run", "cpu"))
    assert "\n" not in str(caught.value)
    assert "Traceback" in (tmp_path / "run" / "open_clip" / "log.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "run" / "model").exists()


def test_a_workers_traceback_is_left_to_the_log():
    text = "Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
    text += "  File \"data.py\", line 45\nFileNotFoundError: [Errno 2] No such file or directory: 'a.png'\n"
    said = "FileNotFoundError: [Errno 2] No such file or directory: 'a.png'"
    assert engine._in_one_line(FileNotFoundError(text)) == said
    assert engine._in_one_line(RuntimeError("shapes do\n  not fit")) == "RuntimeError: shapes do not fit"
    assert engine._in_one_line(MemoryError()) == "MemoryError"


def follow(code: str, log: Path) -> list[dict]:
    """Follow a process of this code."""
    lines: list[dict] = []
    with log.open("wb") as file:
        engine._follow([sys.executable, "-c", code], file, 5, lines.append)
    return lines


def test_lines_that_are_no_steps_are_passed_over(tmp_path):
    code = "import json; print('hello'); print('3'); print(json.dumps({'kind': 'step', 'step': 6}))"
    assert follow(code, tmp_path / "log") == [{"kind": "step", "step": 6, "epoch": 1}]


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("print('Error. Experiment already exists.'); raise SystemExit(1)", "Experiment already exists"),
        ("raise SystemExit(1)", "failed; its log"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "ended by SIGKILL"),
    ],
)
def test_a_process_that_fails_is_told_in_one_line(tmp_path, code, match):
    with pytest.raises(TrainingError, match=match):
        follow(code, tmp_path / "log")


def test_a_process_is_ended_with_the_one_that_follows_it(tmp_path):
    def interrupted(line: dict) -> None:
        raise KeyboardInterrupt

    code = (
        "import json, os, time; print(json.dumps({'kind': 'step', 'step': os.getpid()}), flush=True);"
        "time.sleep(60)"
    )
    told: list[int] = []
    with (tmp_path / "log").open("wb") as file, pytest.raises(KeyboardInterrupt):
        engine._follow(
            [sys.executable, "-c", code], file, 1, lambda line: told.append(line["step"]) or interrupted(line)
        )
    with pytest.raises(ProcessLookupError):
        os.kill(told[0], 0)


def test_a_loss_that_is_not_a_number_ends_training():
    scalars = engine._Scalars("")
    scalars.add_scalar("train/lr", 0.1, 3)
    with pytest.raises(FloatingPointError, match="train/loss is nan at step 3"):
        scalars.add_scalar("train/loss", math.nan, 3)


def test_the_last_two_checkpoints_are_kept_and_broken_ones_do_not_count(tmp_path, caplog):
    def saved(epochs: int, value: float = 1.0) -> None:
        torch.save(
            {"epoch": epochs, "state_dict": {"module.w": torch.full((9,), value)}},
            tmp_path / f"epoch_{epochs}.pt",
        )

    def names() -> list[str]:
        return [path.name for path in checkpoints.paths(tmp_path)]

    assert checkpoints.settle(tmp_path) == 0
    for epochs in (8, 9, 10):
        saved(epochs)
        checkpoints.prune(tmp_path)
    assert names() == ["epoch_9.pt", "epoch_10.pt"]
    for epochs, value in ((11, math.nan), (12, math.inf)):
        saved(epochs, value)
        checkpoints.prune(tmp_path)
    half = (tmp_path / "epoch_10.pt").read_bytes()[:700]
    (tmp_path / "epoch_13.pt").write_bytes(half)  # killed as it was written
    checkpoints.prune(tmp_path)
    assert names() == [f"epoch_{epochs}.pt" for epochs in (9, 10, 11, 12, 13)]
    assert checkpoints.settle(tmp_path) == 10
    assert names() == ["epoch_9.pt", "epoch_10.pt"]
    assert "w is not finite" in caplog.text
    assert "epoch_13.pt: cannot be read" in caplog.text


def test_broken_checkpoints_leave_the_last_folder(tmp_path, start):
    out, checkpoint = tmp_path / "model", tmp_path / "epoch_latest.pt"
    weights = load_file(start / WEIGHTS_NAME)
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, checkpoint)
    checkpoints.as_folder(checkpoint, start, out)
    assert load_file(out / WEIGHTS_NAME).keys() == weights.keys()
    weights["visual.proj"][0, 0] = math.inf
    torch.save({"state_dict": weights}, checkpoint)
    with pytest.raises(TrainingError, match=r"visual\.proj is not finite"):
        checkpoints.as_folder(checkpoint, start, out)
    checkpoint.write_bytes(b"broken")
    with pytest.raises(TrainingError, match=r"epoch_latest\.pt: cannot be read"):
        checkpoints.as_folder(checkpoint, start, out)
    assert load_file(out / WEIGHTS_NAME)["visual.proj"].isfinite().all()
