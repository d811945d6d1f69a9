"""A run that was killed, at any step and in any way, ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cfbd_core.errors import TrainingError
from cfbd_core.training import loop as loops
from cfbd_core.training.run import train
from cfbd_core.training.tracking import Tracking, read_metrics
from tests.training.tiny import tiny_folder, tiny_params, toy_set

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 15  # three epochs of 40 pairs in steps of 8
RUNS = {
    "plain": {},
    "accumulating": {"batch_size": 4, "accumulate": 2},
    "cropping more": {"crop_scale": 0.4, "seed": 3},
    "cleanclip": {"defense": "cleanclip"},
    "roclip": {"defense": "roclip", "defense_options": {"pool": 0.2}},
    "abl": {"defense": "abl", "defense_options": {"isolation_epochs": 1, "share": 0.1}},
    "safeclip": {"defense": "safeclip", "defense_options": {"warmup_epochs": 1, "clip_epochs": 1}},
}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "open_clip_model.safetensors")


def assert_same(run: Path, other: Path) -> None:
    one, two = weights(run), weights(other)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def told(run: Path) -> list[dict[str, object]]:
    """What was logged, without times."""
    return [
        {name: value for name, value in line.items() if name not in ("time", "pairs_per_s")}
        for line in read_metrics(run)
    ]


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> pytest.MonkeyPatch:
    """Let the loop be killed in the middle of a step."""
    real = loops.Loop._step

    def step_or_die(self, batch):
        if self.at.step == step:
            raise Killed
        return real(self, batch)

    monkeypatch.setattr(loops.Loop, "_step", step_or_die)
    return monkeypatch


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_steps_it_ends_with_the_same_bits(name, model, tmp_path):
    params = tiny_params(model, epochs=3, checkpoint_every=2, **RUNS[name])
    measure = lambda encoder: {"ca": float(np.abs(encoder.encode_texts(["a red wall"])).sum()), "asr": None}  # noqa: E731
    pairs = toy_set()
    whole = train(pairs, tmp_path / "whole", params, evaluate=measure)
    assert whole["steps"] == STEPS

    for step in sorted(np.random.default_rng(len(name)).choice(STEPS, 2, replace=False)):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, int(step))
            train(pairs, tmp_path / "broken", params, evaluate=measure)
    broken = train(pairs, tmp_path / "broken", params, evaluate=measure)

    assert_same(tmp_path / "whole", tmp_path / "broken")
    assert told(tmp_path / "whole") == told(tmp_path / "broken")
    assert (broken["ca"], broken["loss"]) == (whole["ca"], whole["loss"])
    if (tmp_path / "whole" / "defense.npz").exists():
        one, two = (np.load(tmp_path / run / "defense.npz") for run in ("whole", "broken"))
        assert all(np.array_equal(one[part], two[part], equal_nan=True) for part in one)


def test_dropout_and_batch_statistics_are_the_same_too(tmp_path):
    model = tiny_folder(tmp_path / "resnet", "resnet")
    params = tiny_params(model, epochs=3, checkpoint_every=2, batch_size=4, accumulate=2)
    train(toy_set(), tmp_path / "whole", params)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 9)
        train(toy_set(), tmp_path / "broken", params)
    train(toy_set(), tmp_path / "broken", params)
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_the_number_of_workers_does_not_matter(model, tmp_path):
    for workers in (1, 5):
        train(toy_set(), tmp_path / str(workers), tiny_params(model, defense="cleanclip", workers=workers))
    assert_same(tmp_path / "1", tmp_path / "5")


def test_it_goes_on_with_other_workers_and_checkpoints_but_not_with_another_rate(model, tmp_path):
    params = tiny_params(model, checkpoint_every=2)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 5)
        train(toy_set(), tmp_path / "run", params)
    with pytest.raises(TrainingError, match="holds another run \\(lr 0.001, now 0.002\\)"):
        train(toy_set(), tmp_path / "run", tiny_params(model, lr=2e-3))
    with pytest.raises(TrainingError, match="holds another run \\(on other pairs, captions or pictures"):
        train(toy_set(seed=1), tmp_path / "run", params)
    assert (
        train(toy_set(), tmp_path / "run", tiny_params(model, checkpoint_every=7, workers=1))["steps"] == 10
    )


def test_a_stop_while_a_step_is_logged_loses_no_line(model, tmp_path, monkeypatch):
    params, write = tiny_params(model, log_every=1), Tracking.__call__

    def stopped(self, line):
        if line["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, line)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Tracking, "__call__", stopped)
        train(toy_set(), tmp_path / "broken", params)
    assert [line["step"] for line in read_metrics(tmp_path / "broken")] == [1, 2, 3, 4]
    train(toy_set(), tmp_path / "broken", params)
    train(toy_set(), tmp_path / "whole", params)
    assert told(tmp_path / "broken") == told(tmp_path / "whole")


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from tests.training.tiny import tiny_params, toy_set
from cfbd_core.training.run import train
train(toy_set(), sys.argv[1], tiny_params(sys.argv[2], epochs=40, checkpoint_every=3, log_every=1))
"""


def started(run: Path, model: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(run), model],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def long_run(tmp_path_factory) -> Path:
    """What SCRIPT makes where nobody stops it."""
    folder: Path = tmp_path_factory.mktemp("long")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    params = tiny_params(tiny_folder(folder / "tiny"), epochs=40, checkpoint_every=3, log_every=1)
    train(toy_set(), folder / "run", params)
    torch.set_num_threads(before)
    return folder / "run"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_was_killed_goes_on(number, long_run, model, tmp_path):
    process = started(tmp_path / "broken", model)
    while process.poll() is None and len(read_metrics(tmp_path / "broken")) < 20:
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (tmp_path / "broken" / "result.json").exists()
    if number != signal.SIGKILL:  # it left a checkpoint of where it was
        assert b"KeyboardInterrupt" in said
        held = torch.load(sorted((tmp_path / "broken/checkpoints").iterdir())[-1], weights_only=True)
        assert held["step"] == read_metrics(tmp_path / "broken")[-1]["step"]
    assert started(tmp_path / "broken", model).wait(120) == 0
    assert_same(long_run, tmp_path / "broken")
    assert json.loads((tmp_path / "broken" / "result.json").read_text())["steps"] == 200
