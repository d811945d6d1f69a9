"""Runs and jobs of training as their folders tell of them, and how a page's fields and tables are used."""

from __future__ import annotations

import json
from pathlib import Path

from cfbd_core.training.config import TrainParams


def write_run(
    audit: Path,
    name: str,
    *,
    subset="kept",
    defense="plain",
    model="mini",
    ca=0.5,
    asr=0.1,
    done=40,
    ended=True,
    **others,
) -> Path:
    """The folder of a run of 40 steps, as ``cfbd train`` writes it."""
    run = audit / "runs" / name
    run.mkdir(parents=True)
    params = TrainParams(subset=subset, defense=defense, model=model, epochs=2, batch_size=8, lr=1e-3)
    asked = {
        "id": name,
        "params": params.to_dict(),
        "audit": str(audit),
        "data": None,
        "pairs": 160,
        "epochs": 2,
        "set_fingerprint": "x",
        "steps": 40,
        "versions": {},
        "measured_on": {"classes": "x" if ca else None},
        "started": f"2026-01-01T00:00:{len(list(run.parent.iterdir())):02d}+00:00",
    }
    (run / "run.json").write_text(json.dumps(asked | others))
    lines = [step(at, 5 / at) for at in range(10, done + 1, 10)]
    if ca:
        lines += [evaluated(at, ca, asr) for at in (20, 40) if at <= done]
    (run / "metrics.jsonl").write_text("".join(lines))
    if ended:
        result = {
            "steps": 40,
            "epochs": 2,
            "loss": 0.125,
            "seconds": 75.0,
            "pairs_per_s": 40.0,
            "ca": ca,
            "asr": asr,
        }
        (run / "result.json").write_text(json.dumps(result | {"defense": defense}))
        (run / "model").mkdir()
        (run / "model" / "open_clip_config.json").write_text("{}")
        (run / "model" / "open_clip_model.safetensors").write_bytes(b"")
    return run


def step(at: int, loss: float) -> str:
    line = {
        "kind": "step",
        "step": at,
        "epoch": 0,
        "loss": loss,
        "parts": {},
        "lr": 1e-3,
        "logit_scale": 14.0,
    }
    return json.dumps(line | {"pairs_per_s": 40.0, "time": 0.0}) + "\n"


def evaluated(at: int, ca: float, asr: float | None) -> str:
    return json.dumps({"kind": "eval", "epoch": 0, "step": at, "ca": ca, "asr": asr, "time": 0.0}) + "\n"


def write_job(root: Path, audit: Path, name: str, code: int | None, said: str = "", *flags: str) -> Path:
    """The record of a job that trained the run ``name``."""
    jobs = root / ".cfbd-jobs"
    folder = jobs / f"{len(list(jobs.glob('*'))):04d}"
    folder.mkdir(parents=True)
    arguments = ["train", "--audit", str(audit), "--out", str(audit / "runs" / name), "--subset=kept", *flags]
    asked = {
        "kind": name,
        "audit": str(audit),
        "arguments": arguments,
        "started": "2026-01-02T00:00:00+00:00",
    }
    (folder / "job.json").write_text(json.dumps(asked))
    (folder / "log.txt").write_text(said)
    if code is not None:
        (folder / "exit.json").write_text(json.dumps({"code": code, "finished": ""}))
    return folder


def fill(test, key: str, value):
    kinds = (test.text_input, test.number_input, test.selectbox, test.radio)
    return next(one for kind in kinds for one in kind if one.key == key).set_value(value).run()


def press(test, label: str):
    return next(button for button in test.button if button.label == label).click().run()


def labels(test) -> list[str]:
    return [button.label for button in test.button]


def table(test) -> dict:
    return test.dataframe[0].value.to_dict("list")


def charts(test) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in test.get("plotly_chart")]
