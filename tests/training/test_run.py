"""Runs as a whole: what they leave, what stops them, and that what stops them loses nothing."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch

from cfbd_core.errors import AuditError, EncoderError, TrainingError
from cfbd_core.training import loop as loops
from cfbd_core.training import run as runs
from cfbd_core.training.defences import DEFENSES
from cfbd_core.training.defences.plain import Plain
from cfbd_core.training.gradients import Backward
from cfbd_core.training.loop import precision
from cfbd_core.training.run import train
from cfbd_core.training.tracking import read_metrics
from tests.training.test_resume import assert_same
from tests.training.tiny import tiny_params, toy_set


def held_steps(run) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in sorted((run / "checkpoints").iterdir())]


def test_it_learns(model, tmp_path):
    result = train(toy_set(80), tmp_path / "run", tiny_params(model, epochs=12, lr=5e-3))
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.75 * losses[0]
    assert result["loss"] == losses[-1]
    assert (result["steps"], result["epochs"], result["pairs"]) == (120, 12, 80)
    assert result["pairs_per_s"] > 0


def test_it_ends_after_the_steps_asked_for_and_counts_all_in_its_schedule(model, tmp_path):
    result = train(toy_set(), tmp_path / "run", tiny_params(model, epochs=None, steps=7, log_every=1))
    steps = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "step"]
    assert (result["steps"], result["epochs"]) == (7, 2)
    assert [line["epoch"] for line in steps] == [0] * 5 + [1] * 2
    assert steps[-1]["lr"] < 0.1 * max(line["lr"] for line in steps)


def test_the_temperature_stays_within_its_bounds(model, tmp_path):
    train(toy_set(), tmp_path / "run", tiny_params(model, lr=1.0, warmup=0, log_every=1))
    scales = [line["logit_scale"] for line in read_metrics(tmp_path / "run")]
    assert min(scales) >= 1
    assert max(scales) <= 100.001


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"defense": "abl", "epochs": 10, "steps": 5},
            "abl isolates pairs after 1 epochs, and the run has 1",
        ),
        (
            {"defense": "safeclip", "epochs": 10, "steps": 30},
            "safeclip divides pairs after 6 epochs, and the run has",
        ),
        ({"defense": "safeclip", "epochs": 5}, "safeclip divides pairs after 6 epochs, and the run has 5"),
    ],
)
def test_a_run_too_short_for_its_defence_is_refused_before_anything_is_written(asked, said, model, tmp_path):
    with pytest.raises(TrainingError, match=said):
        train(toy_set(), tmp_path / "run", tiny_params(model, **asked))
    assert not (tmp_path / "run").exists()


class Looking(Plain):
    """Looks at some pairs before every epoch, and remembers what it saw in each."""

    name = "looking"

    def begin_epoch(self, epoch, epochs, embed):
        image, text = embed(np.arange(3))
        assert image.shape == text.shape == (3, 16)
        assert np.allclose(np.linalg.norm(image, axis=1), 1, atol=1e-5)
        self.looks = [*getattr(self, "looks", []), image]
        self.rows: list[int] = []

    def seen(self, step, loss):
        self.rows += step.rows.tolist()
        assert step.epochs == 3

    def extras(self):
        return {"looks": np.array(self.looks), "last": np.array(sorted(self.rows))}


def test_a_defence_prepares_for_every_epoch_with_the_model_as_it_is(model, tmp_path, monkeypatch):
    monkeypatch.setitem(DEFENSES, "looking", Looking)
    params = tiny_params(model, epochs=3, defense="looking", log_every=1)
    result = train(toy_set(), tmp_path / "run", params)
    assert [line["epoch"] for line in read_metrics(tmp_path / "run")] == [0] * 5 + [1] * 5 + [2] * 5
    assert (result["steps"], result["epochs"]) == (15, 3)
    with np.load(tmp_path / "run" / "defense.npz") as extras:
        assert len(np.unique(extras["looks"], axis=0)) == 3
        assert extras["last"].tolist() == [*range(40)]


def test_evaluating_changes_nothing_of_what_is_learned(model, tmp_path):
    def disturb(encoder):
        encoder.encode_texts(["a red wall"])
        torch.manual_seed(99)
        np.random.seed(99)
        return {"ca": np.float64(0.5), "asr": None, "images": np.int64(7).item()}

    train(toy_set(), tmp_path / "alone", tiny_params(model))
    result = train(toy_set(), tmp_path / "measured", tiny_params(model), evaluate=disturb)
    assert_same(tmp_path / "alone", tmp_path / "measured")
    assert (result["ca"], result["asr"], result["images"]) == (0.5, None, 7)


def test_an_evaluation_that_fails_does_not_cost_the_training(model, tmp_path):
    def broken(_encoder):
        raise EncoderError("no pictures any more")

    params = tiny_params(model, epochs=1)
    with pytest.raises(EncoderError):
        train(toy_set(), tmp_path / "run", params, evaluate=broken)
    assert held_steps(tmp_path / "run") == [5]
    stepped = []
    result = train(
        toy_set(),
        tmp_path / "run",
        params,
        evaluate=lambda _: {"ca": 1.0},
        progress=lambda *at: stepped.append(at),
    )
    assert (result["ca"], result["steps"], stepped) == (1.0, 5, [])


def failing(monkeypatch, error: Exception, step: int) -> None:
    """Let the gradients of a step fail."""
    real, calls = Backward.__call__, []

    def call(self, *arguments):
        calls.append(1)
        if len(calls) == step + 1:
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(Backward, "__call__", call)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: device-side assert triggered\nmore"), "the GPU .* is lost"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "give --batch-size 4 --accumulate 2"),
    ],
)
def test_a_gpu_that_is_lost_or_full_is_told_in_one_line(error, said, model, tmp_path, monkeypatch):
    """The loop runs on the CPU here; what is tested is what becomes of the error."""
    params = tiny_params(model, checkpoint_every=3)
    real = runs._report_lost_gpu
    monkeypatch.setattr(runs, "_report_lost_gpu", lambda _device, *others: real("cuda:0", *others))
    with monkeypatch.context() as patch:
        failing(patch, error, 7)
        with pytest.raises(TrainingError, match=said) as told:
            train(toy_set(), tmp_path / "run", params)
    assert "\n" not in str(told.value)
    assert held_steps(tmp_path / "run") == [3, 6]
    assert train(toy_set(), tmp_path / "run", params)["steps"] == 10


def test_an_error_that_is_a_bug_stays_one(model, tmp_path, monkeypatch):
    failing(monkeypatch, RuntimeError("shapes do not fit"), 2)
    with pytest.raises(RuntimeError, match="shapes"):
        train(toy_set(), tmp_path / "run", tiny_params(model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_it_with_the_checkpoint_before(value, model, tmp_path, monkeypatch):
    real = loops.Loop._step

    def poisoned(self, batch):
        loss = real(self, batch)
        if self.at.step == 7:
            self._recent[-1] = torch.tensor(value)
        return loss

    params = tiny_params(model, checkpoint_every=3, log_every=50)
    with monkeypatch.context() as patch, pytest.raises(TrainingError) as told:
        patch.setattr(loops.Loop, "_step", poisoned)
        train(toy_set(), tmp_path / "run", params)
    assert str(told.value) == (
        f"the loss is {value} at step 7; give a smaller --lr or a longer --warmup, and a new --out"
    )
    assert held_steps(tmp_path / "run") == [3, 6]
    assert train(toy_set(), tmp_path / "run", params)["steps"] == 10


def test_a_broken_model_is_not_measured_and_prepares_no_epoch(model, tmp_path, monkeypatch):
    real = loops.Loop._step

    def poisoned(self, batch):
        loss = real(self, batch)
        self._recent[-1] = torch.tensor(float("nan"))
        return loss

    asked: list[int] = []
    chosen = runs.DEFENSES["plain"].begin_epoch
    monkeypatch.setattr(
        runs.DEFENSES["plain"],
        "begin_epoch",
        lambda self, epoch, *rest: asked.append(epoch) or chosen(self, epoch, *rest),
    )
    monkeypatch.setattr(loops.Loop, "_step", poisoned)
    params = tiny_params(model, checkpoint_every=100, log_every=100)
    for evaluate in (None, lambda _encoder: pytest.fail("a broken model was measured")):
        asked.clear()
        with pytest.raises(TrainingError, match="the loss is nan at step 1;"):
            train(toy_set(), tmp_path / f"run {evaluate is None}", params, evaluate=evaluate)
        assert asked == [0]


def test_a_full_disk_is_told_in_one_line_and_it_goes_on_later(model, tmp_path, monkeypatch):
    params = tiny_params(model, checkpoint_every=3)

    def full(self, step, state):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(AuditError, match="the disk is full"):
        patch.setattr(loops.Checkpoints, "save", full)
        train(toy_set(), tmp_path / "run", params)
    assert train(toy_set(), tmp_path / "run", params)["steps"] == 10


def test_half_precision_needs_a_gpu(model, monkeypatch):
    with pytest.raises(TrainingError, match="--precision amp: needs a GPU"):
        precision(tiny_params(model, precision="amp"), "cpu")
    assert precision(tiny_params(model), "cpu") is None
    assert precision(tiny_params(model, precision="fp32"), "cuda") is None
    for supported, half in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert precision(tiny_params(model), "cuda:1") == half


def test_a_run_in_a_thread_leaves_signals_alone(model, tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(train(toy_set(), tmp_path / "run", tiny_params(model)))
    )
    thread.start()
    thread.join()
    assert done[0]["steps"] == 10


def test_a_run_that_is_done_is_not_begun_again_and_one_cut_at_its_end_is_finished(model, tmp_path):
    run, params = tmp_path / "run", tiny_params(model)
    result = train(toy_set(), run, params)
    assert train(toy_set(), run, params) == result
    (run / "result.json").unlink()
    again = train(toy_set(), run, params)
    assert {"steps": 10, "loss": result["loss"]}.items() <= again.items()
    assert len(read_metrics(run)) == 5
    assert json.loads((run / "result.json").read_text()) == again


def test_without_a_readable_checkpoint_it_begins_again(model, tmp_path):
    run, params = tmp_path / "run", tiny_params(model, checkpoint_every=4)
    train(toy_set(), tmp_path / "whole", params)
    train(toy_set(), run, params)
    (run / "result.json").unlink()
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    train(toy_set(), run, params)
    assert_same(tmp_path / "whole", run)
