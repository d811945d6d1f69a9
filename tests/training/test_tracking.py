"""A run's log: whole lines, nothing twice after a resume, and TensorBoard's event files."""

from __future__ import annotations

import json

import pytest
from tensorboardX.proto.event_pb2 import Event

from cfbd_core.training.tracking import Tracking, read_metrics


def step(number: int) -> dict:
    return {
        "kind": "step",
        "step": number,
        "epoch": 0,
        "loss": 1.0 / number,
        "parts": {"clip": 2.0},
        "lr": 1e-3,
        "logit_scale": 14.0,
        "pairs_per_s": 9.0,
        "time": 0.0,
    }


def measured(number: int) -> dict:
    return {"kind": "eval", "step": number, "epoch": 0, "ca": 0.5, "asr": None, "time": 0.0}


def test_lines_are_there_as_soon_as_they_are_logged(tmp_path):
    with Tracking(tmp_path) as log:
        log(step(1))
        assert read_metrics(tmp_path) == [step(1)]
        log(measured(1))
    assert read_metrics(tmp_path) == [step(1), measured(1)]


def test_what_will_be_told_again_goes(tmp_path):
    with Tracking(tmp_path) as log:
        for line in (step(1), step(2), measured(2), step(3), step(4), measured(4)):
            log(line)
    with Tracking(tmp_path, 3, 2) as log:
        assert read_metrics(tmp_path) == [step(1), step(2), measured(2), step(3)]
        log(step(4))
    with Tracking(tmp_path, 4, 2):  # killed while it measured
        assert read_metrics(tmp_path)[-1] == step(4)


def test_a_line_that_was_cut_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(step(1)) + '\n{"kind": "st')
    assert read_metrics(tmp_path) == [step(1)]
    with Tracking(tmp_path, 1) as log:
        log(step(2))
    assert read_metrics(tmp_path) == [step(1), step(2)]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "x", '{"kind": "step", "step": "1"}', '{"kind": 1, "step": 1}', "NaN"]
)
def test_a_damaged_line_amid_others_is_left_out_and_told(tmp_path, caplog, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{json.dumps(step(1))}\n{line}\n{json.dumps(step(2))}\n")
    assert read_metrics(tmp_path) == [step(1), step(2)]
    with Tracking(tmp_path, 2):
        assert read_metrics(tmp_path) == [step(1), step(2)]
    assert caplog.messages == [f"{path}: 1 lines are damaged, and left out"]


def test_nothing_that_is_no_number_is_logged(tmp_path):
    with Tracking(tmp_path) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log(step(1) | {"loss": float("nan")})


def test_tensorboard_gets_the_figures(tmp_path):
    with Tracking(tmp_path) as log:
        log(step(1))
        log(measured(1))
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    data = path.read_bytes()
    while data:  # length (8), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found |= {value.tag: value.simple_value for value in event.summary.value}
        data = data[16 + length :]
    assert found["train/loss"] == 1
    assert found["train/clip"] == 2
    assert found["eval/ca"] == 0.5
    assert "eval/asr" not in found
