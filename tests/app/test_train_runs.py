"""Training runs on the page Train: live, ended and side by side; every state in plain words."""

from __future__ import annotations

import fcntl
import json
import shutil
from datetime import UTC, datetime

import pytest

from app.audits.running import how_far
from app.training import runs as train_runs
from cfbd_core.audit.state import AuditState
from cfbd_core.jobs.jobs import JobProgress
from cfbd_core.training.config import CALMER, TrainParams
from tests.app.conftest import alter, words
from tests.app.train_folders import charts, labels, press, step, table, write_job, write_run


def test_runs_stand_side_by_side_as_in_the_papers_tables(page, home):
    for number, (subset, defense) in enumerate(
        [
            ("all", "abl"),
            ("kept", "plain"),
            ("all", "cleanclip"),
            ("coarse", "plain"),
            ("all", "plain"),
            ("kept", "roclip"),
            ("all", "roclip"),
        ]
    ):
        write_run(
            home, f"train-{number}", subset=subset, defense=defense, ca=0.5 + number / 100, asr=number / 10
        )
    test = page("train")
    assert not test.exception
    shown = table(test)
    assert shown["Run"] == [str(number) for number in range(6, -1, -1)]
    assert shown["CA"] == pytest.approx([56, 55, 54, 53, 52, 51, 50])
    assert shown["ASR"] == pytest.approx([60, 50, 40, 30, 20, 10, 0])
    assert set(shown["State"]) == {"done"}
    assert shown["Time"][0] == "1:15"
    bars, curves = charts(test)
    names = ["No defence", "Coarse only", "CFBD", "CleanCLIP", "RoCLIP", "CFBD + RoCLIP", "ABL"]
    assert [bar["name"] for bar in bars["data"]] == ["CA", "ASR"]
    assert bars["data"][0]["y"] == names
    assert [line["name"] for line in curves["data"]] == [name for name in names for _ in range(3)]


def test_runs_of_one_method_are_told_apart_and_unfinished_ones_marked(home):
    for name, ended in (("train-a", True), ("train-b", True), ("train-c", False)):
        write_run(home, name, ended=ended)
    runs = [train_runs.read(home, home / "runs" / name, None) for name in ("train-a", "train-b", "train-c")]
    found = [run for run in runs if run is not None]
    assert train_runs.labels(found[1:], home) == ["CFBD", "CFBD (stopped)"]
    assert train_runs.labels(found, home) == ["CFBD · a", "CFBD · b", "CFBD (stopped)"]
    assert train_runs.labels(found[:1], home.parent) == ["CFBD · toy"]


def test_the_run_of_another_audit_can_stand_beside(page, root, audit, home):
    clean = root / "audits" / "clean"
    shutil.copytree(home, clean)
    write_run(home, "train-kept-plain-mini")
    write_run(clean.resolve(), "train-all-plain-mini", subset="all", asr=0.0)
    test = page("train")
    assert "Audit" not in table(test)
    test.multiselect(key="train_others").set_value([clean.resolve()]).run()
    assert not test.exception
    assert table(test)["Audit"] == ["audits/toy", "audits/clean"]
    assert charts(test)[0]["data"][0]["y"] == ["No defence<br>clean", "CFBD"]


def test_runs_that_were_not_measured_say_so_and_how_it_is_done_later(page, home):
    run = write_run(home, "train-x", ca=None, asr=None)
    test = page("train")
    assert "No accuracy to compare" in words(test)
    assert len(charts(test)) == 1
    code = " ".join(part.value for part in test.code)
    assert str(run / "model") in code
    assert "open_clip.create_model_and_transforms(name)" in code
    assert f"cfbd evaluate {run}" in code


def test_a_run_that_the_audit_knows_of_is_listed_where_its_folder_has_gone(page, audit, home, monkeypatch):
    asked = {
        "params": TrainParams(subset="all").to_dict(),
        "pairs": 200,
        "steps": 9,
        "started": "2026-01-01T00:00:00",
    }
    held = {
        "folder": "/gone/run-of-the-shell",
        "asked": asked,
        "result": {"steps": 9, "ca": 0.25, "asr": None},
    }
    monkeypatch.setattr(AuditState, "training_runs", lambda self: [held])
    test = page("train")
    assert not test.exception
    assert (table(test)["Run"], table(test)["CA"]) == (["run-of-the-shell"], [25.0])
    assert "has gone" in words(test)


def test_a_failed_run_has_its_one_line_in_the_forms_words_and_is_dismissed(page, root, home):
    said = "cfbd train: --batch-size 500: the set has 3 pairs <b>:rocket:\n"
    write_job(root, home, "train-kept-plain-mini", 2, said, "--classes=x")
    test = page("train")
    assert not test.exception
    assert "Batch size 500: the set has 3 pairs <b>:rocket:" in words(test)
    assert "<b>" not in test.error[0].value
    assert table(test)["State"] == ["failed"]
    press(test, "Dismiss")
    assert "No run yet" in words(test)


def test_a_run_whose_loss_is_not_finite_is_not_offered_again(page, root, home):
    write_run(home, "train-x", done=20, ended=False)
    write_job(root, home, "train-x", 2, f"cfbd train: the loss is nan at step 21; {CALMER}\n")
    test = page("train")
    assert "give a smaller Learning rate or a longer Warm-up, and a new Run" in words(test)
    assert "Try again" not in labels(test)


def test_hashing_pictures_is_told_before_the_first_step(page, root, home):
    record = write_job(root, home, "train-x", None)
    told = {"stage": "pictures hashed", "done": 1234, "total": 5000, "rate": 400.0, "seconds_left": 9.4}
    (record / "progress.json").write_text(json.dumps(told | {"updated": "2026-01-02T00:00:00+00:00"}))
    with (record / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
        assert not test.exception
        assert "Hashing pictures: 1,234 of 5,000 · 400/s" in test.get("progress")[0].proto.text


@pytest.mark.parametrize(
    ("told", "words_"),
    [
        (("train", 320, 640, 12.0), "Training: 320 of 640 · 40/s · 0:12 of training left"),
        (("train", 640, 640, 0.0), "Training: 640 of 640 · 40/s · done; the next step begins"),
        (("measuring CA", 25, 100, 2.0), "Measuring CA: 25 of 100 · 40/s · 0:02 left"),
        (("measuring ASR", 1, 100, None), "Measuring ASR: 1 of 100 · 40/s"),
    ],
)
def test_what_a_run_is_at_is_told_and_no_time_left_that_is_not_true(told, words_) -> None:
    stage, done, total, left = told
    assert how_far(JobProgress(stage, done, total, 40.0, left, datetime.now(UTC))) == words_


def test_a_run_of_so_many_steps_is_told_in_steps(page, root, home) -> None:
    run = write_run(home, "train-x", epochs=1, steps=2, done=0, ca=None)
    asked = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps(asked | {"params": asked["params"] | {"steps": 2, "epochs": 10}})
    )
    record = write_job(root, home, "train-y", None)
    job = json.loads((record / "job.json").read_text())
    (record / "job.json").write_text(
        json.dumps(job | {"arguments": [*job["arguments"], "--epochs=10", "--steps=2"]})
    )
    with (record / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
    assert not test.exception
    assert "at most 2 steps" in words(test)
    assert "10 epochs" not in words(test)


def test_a_stopped_run_is_resumed_as_it_was_asked_for(page, root, home, started):
    write_run(home, "train-x", done=20, ended=False)
    record = write_job(root, home, "train-x", 130)
    test = page("train")
    assert "Stopped at step 20 of 40" in words(test)
    assert "Dismiss" not in labels(test)
    press(test, "Resume")
    asked = json.loads((record / "job.json").read_text())["arguments"]
    assert started == [("train-x", home, [*asked, "--resume"])]


def test_a_stopped_run_of_the_command_line_is_resumed_by_what_its_folder_tells(page, home, started):
    run = write_run(home, "mine", done=20, ended=False)
    press(page("train"), "Resume")
    assert started == [("mine", home, ["train", "--audit", str(home), "--out", str(run), "--resume"])]


def test_a_run_that_goes_on_is_live_and_no_other_is_offered(page, root, home):
    run = write_run(home, "train-x", done=20, ended=False)
    record = write_job(root, home, "train-x", None)
    with (record / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
        assert not test.exception
        shown = {metric.label: metric.value for metric in test.metric}
        assert shown == {"Step": "20 / 40", "Loss": "0.250", "CA": "50.00%", "ASR": "10.00%", "Pairs/s": "40"}
        assert "Stop" in labels(test)
        assert "Start" not in labels(test)
        loss = charts(test)[0]
        assert loss["layout"]["xaxis"]["range"] == [0, 40.8]
        with (run / "metrics.jsonl").open("a") as log:
            log.write(step(30, 0.125))
        test.run()
        assert next(metric.value for metric in test.metric if metric.label == "Step") == "30 / 40"
        (record / "stopping").touch()
        test.run()
        assert "Stop at once" in labels(test)
    (record / "exit.json").write_text('{"code": 130}')
    test.run()
    assert "Resume" in labels(test)


def test_a_run_in_a_terminal_is_shown_as_running(page, home):
    run = write_run(home, "mine", done=20, ended=False)
    with (run / "audit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = page("train")
        assert not test.exception
        assert "Started from the command line" in words(test)
        assert table(test)["State"] == ["running"]
    assert table(test.run())["State"] == ["stopped"]


def test_damaged_files_of_a_run_leave_the_page_whole(page, home):
    run = write_run(home, "train-<b>:rocket:")
    (run / "result.json").write_text("{")
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n[]\n{}\n" + step(10, 1.0).encode())
    (home / "runs" / "train-y").mkdir()
    (home / "runs" / "train-y" / "run.json").write_text('{"params": 3, "started": 4}')
    test = page("train")
    assert not test.exception
    assert "<b>" not in " ".join(part.value for part in [*test.markdown, *test.caption, *test.warning])
    assert sorted(table(test)["Run"]) == ["<b>:rocket:", "y"]


def test_plain_training_on_a_clean_audit_is_the_mark_and_stands_first(home, audit):
    for number, (subset, defense) in enumerate([("all", "plain"), ("kept", "plain"), ("all", "cleanclip")]):
        write_run(home, f"train-{number}", subset=subset, defense=defense)

    def methods():
        runs = [train_runs.read(home, home / "runs" / f"train-{number}", None) for number in range(3)]
        found = sorted((run for run in runs if run is not None), key=lambda run: run.place_in_tables)
        return [run.method for run in found]

    assert methods() == ["No defence", "CFBD", "CleanCLIP"]
    alter(audit, "UPDATE pairs SET poisoned = false")
    assert methods() == ["Train on clean", "CFBD", "CleanCLIP"]
    alter(audit, "UPDATE pairs SET poisoned = NULL WHERE row = 0")  # not known of one
    assert methods() == ["No defence", "CFBD", "CleanCLIP"]


def test_a_file_of_the_same_number_on_another_disk_is_no_lock(home, monkeypatch):
    run = write_run(home, "mine", done=20, ended=False)
    with (run / "audit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert train_runs.read(home, run, None).state == "running"
        monkeypatch.setattr("cfbd_core.machine.files._device", lambda _number: "7f:7f")
        assert train_runs.read(home, run, None).state == "stopped"
