from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cfbd_core import Audit, SplitParams
from cfbd_core.cli.as_job import run
from cfbd_core.cli.progress import Bar, TrainBar
from cfbd_core.config import EmbedParams
from cfbd_core.errors import AuditError
from cfbd_core.jobs import jobs as jobs_module
from cfbd_core.jobs.jobs import Job, Jobs
from cfbd_core.jobs.process import PROGRESS_VARIABLE, is_held
from cfbd_core.maps.maps import load_map
from tests.toy import ToyEncoder

DRAWS_LONG = ("demo", "--scenes", "100000", "--rate", "0")  # minutes of drawing


@pytest.fixture
def jobs(tmp_path):
    held = Jobs(tmp_path / "jobs")
    yield held
    for job in held.all():
        job.stop()


def news(jobs: Jobs, job: Job) -> Job:
    return next(found for found in jobs.all() if found.id == job.id)


def until(jobs: Jobs, job: Job, holds, seconds: float = 60) -> Job:
    deadline = time.monotonic() + seconds
    while not holds(found := news(jobs, job)):
        assert time.monotonic() < deadline, (found, found.log_tail())
        time.sleep(0.02)
    return found


def ended(job: Job) -> bool:
    return job.state != "running"


def drawing(job: Job) -> bool:
    return job.progress is not None and job.progress.done > 0


def draw(jobs: Jobs, audit: Path) -> Job:
    return jobs.start("demo", audit, [*DRAWS_LONG, "--audit", str(audit)])


def process_of(job: Job) -> int:
    return int((job.folder / "lock").read_text())


def gone(job: Job) -> bool:
    """No process of the job's group is left, soon, not even a zombie."""
    for _ in range(250):
        try:
            os.killpg(process_of(job), 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_job_runs_to_its_result_and_leaves_no_zombie(jobs, tmp_path, toy_source):
    audit = tmp_path / "audit"
    job = jobs.start("ingest", audit, ["ingest", str(toy_source(40)), "--audit", str(audit)])
    assert (job.state, job.kind, job.audit, job.result) == ("running", "ingest", audit, None)
    assert (datetime.now(UTC) - job.started).total_seconds() < 30
    done = until(jobs, job, ended)
    assert (done.state, done.error) == ("done", None)
    assert done.result is not None
    assert done.result["pairs"] == 40
    assert done.progress is not None
    assert (done.progress.stage, done.progress.done) == ("ingest", 40)
    assert "40 pairs read" in done.log_tail()
    assert [found.id for found in jobs.for_audit(audit)] == [job.id]
    assert jobs.for_audit(audit, "embed") == jobs.for_audit(tmp_path) == []
    assert gone(job)


def test_asked_for_twice_it_starts_once_and_another_job_is_refused(jobs, tmp_path):
    audit, started = tmp_path / "audit", []
    threads = [threading.Thread(target=lambda: started.append(draw(jobs, audit).id)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(started)) == 1
    assert len(jobs.all()) == 1
    with pytest.raises(AuditError, match=r"audit: demo is running on this audit; wait for it or stop it"):
        jobs.start("report", audit, ["report", "--audit", str(audit)])
    other = jobs.start("report", tmp_path / "b", ["report", "--audit", str(tmp_path / "b")])
    assert [job.id for job in jobs.all()] == [other.id, started[0]]


def test_what_only_reads_waits_for_a_writer(jobs, tmp_path):
    audit = tmp_path / "audit"
    read = {
        kind: [command, "--audit", str(audit)]
        for kind, command in (("export", "export"), ("map-images", "map"))
    }
    written = draw(jobs, audit)
    for kind, arguments in read.items():
        with pytest.raises(AuditError, match="demo is running"):
            jobs.start(kind, audit, arguments)
    written.stop()


@pytest.mark.slow
def test_a_map_is_made_and_the_pairs_are_exported_at_once(jobs, tmp_path, toy_source):
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(120, tuple(range(5, 120, 20))))
    audit.embed(ToyEncoder(), EmbedParams(batch_size=32))
    audit.score("self")
    audit.split(SplitParams(k=2, q=5))
    command = ["--audit", str(audit.folder)]
    drawn = jobs.start("map-captions", audit.folder, ["map", *command])
    until(jobs, drawn, lambda job: job.progress is not None)
    os.killpg(process_of(drawn), signal.SIGSTOP)  # held in the midst of its work, with all that it holds
    out = tmp_path / "all.csv"
    export = ["export", *command, "--out", str(out), "--subset", "all"]
    exported = jobs.start("export", audit.folder, export)
    with pytest.raises(AuditError, match="export is running"):
        jobs.start("export", audit.folder, [*export, "--spreadsheet-safe"])
    with pytest.raises(AuditError, match="is running"):
        jobs.start("run", audit.folder, ["run", "x", *command])
    assert until(jobs, exported, ended).result["pairs"] == 120
    assert news(jobs, drawn).state == "running"
    os.killpg(process_of(drawn), signal.SIGCONT)
    made = until(jobs, drawn, ended, 240)
    assert made.state == "done", made.error
    assert made.result["points"] == len(load_map(audit.folder, "captions").rows) == 120


def test_a_training_run_goes_on_beside_readers_and_alone_of_its_kind(jobs, tmp_path, monkeypatch):
    locks = []

    def launch(folder, asked):
        locks.append((folder / "lock").open("w"))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
        (folder / "job.json").write_text(json.dumps(asked.to_dict()))

    monkeypatch.setattr(jobs_module, "launch", launch)
    audit = tmp_path / "audit"
    train = ["train", "--audit", str(audit), "--out", "a"]
    first = jobs.start("train-a", audit, train)
    assert jobs.start("train-a", audit, train).id == first.id
    jobs.start("export", audit, ["export"])
    with pytest.raises(AuditError, match="train-a is running on this audit; wait for it or stop it"):
        jobs.start("train-b", audit, [*train[:-1], "b"])
    for kind in ("run", "demo", "split"):
        with pytest.raises(AuditError, match="is running"):
            jobs.start(kind, audit, [kind])
    jobs.start("train-b", tmp_path / "other", [*train[:-1], "b"])
    assert len(locks) == 3
    for lock in locks:
        lock.close()


def test_a_job_that_is_interrupted_is_not_waited_for(jobs, tmp_path):
    job = draw(jobs, tmp_path / "audit")
    assert not job.is_stopping
    began = time.monotonic()
    job.interrupt()  # perhaps before its process can hear it
    assert time.monotonic() - began < 30
    stopped = until(jobs, job, ended)
    assert (stopped.state, stopped.is_stopping) == ("stopped", False)
    stopped.interrupt()
    live = until(jobs, draw(jobs, tmp_path / "audit"), drawing)
    os.killpg(process_of(live), signal.SIGSTOP)
    live.interrupt()
    assert news(jobs, live).is_stopping
    os.killpg(process_of(live), signal.SIGCONT)
    assert until(jobs, live, ended).state == "stopped"


def test_a_stopped_job_ends_with_its_processes_and_can_be_started_again(jobs, tmp_path):
    job = draw(jobs, tmp_path / "audit")
    live = until(jobs, job, drawing)
    assert live.progress.stage == "draw"
    assert live.progress.total == 100_000
    began = time.monotonic()
    live.stop()
    assert time.monotonic() - began < 5
    stopped = news(jobs, job)
    assert (stopped.state, stopped.error) == ("stopped", "stopped; start it again and it goes on")
    assert gone(job)
    stopped.stop()  # once more does no harm
    again = draw(jobs, tmp_path / "audit")
    assert again.id != job.id
    assert again.state == "running"


def test_a_job_that_was_killed_says_that_it_goes_on(jobs, tmp_path):
    job = until(jobs, draw(jobs, tmp_path / "audit"), drawing)
    os.kill(process_of(job), signal.SIGKILL)
    killed = until(jobs, job, ended)
    assert killed.state == "stopped"
    assert killed.error == "its process was killed (was the memory full?); start it again and it goes on"
    (tmp_path / "audit" / "audit.duckdb").stat()
    assert draw(jobs, tmp_path / "audit").state == "running"


def test_a_job_that_ignores_the_signal_is_killed(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("cfbd_core.jobs.process.STOP_SECONDS", 0.2)
    job = until(jobs, draw(jobs, tmp_path / "audit"), drawing)
    os.kill(process_of(job), signal.SIGSTOP)  # neither SIGINT nor SIGTERM reaches it now
    job.stop()
    assert news(jobs, job).state == "stopped"
    assert not is_held(job.folder)


def test_a_process_id_used_by_another_is_left_alone(jobs, tmp_path):
    job = jobs.start("report", tmp_path, ["report", "--audit", str(tmp_path)])
    until(jobs, job, ended)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as bystander:
        try:
            (job.folder / "lock").write_text(str(bystander.pid))
            (job.folder / "exit.json").unlink()
            assert news(jobs, job).state == "stopped"
            job.stop()
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_what_the_user_can_mend_is_one_line(jobs, tmp_path):
    for arguments, line in (
        (["report", "--audit", "nowhere"], "nowhere: no audit here; `cfbd run SOURCE --audit nowhere`"),
        (["report"], "the following arguments are required: --audit"),
    ):
        job = until(jobs, jobs.start("report", tmp_path, arguments), ended)
        assert job.state == "failed"
        assert job.error is not None
        assert job.error.startswith(line)
        assert "\n" not in job.error


def test_a_bug_is_told_plainly_with_the_place_of_the_log(jobs, tmp_path, monkeypatch):
    job = until(jobs, jobs.start("report", tmp_path, ["report"]), ended)
    (job.folder / "exit.json").unlink()
    monkeypatch.setattr("cfbd_core.cli.as_job.main", lambda arguments: 1 // 0)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert run(job.folder) == 1
    finally:
        signal.signal(signal.SIGINT, handler)
    failed = news(jobs, job)
    assert failed.state == "failed"
    assert failed.error == (
        f"an error in CFBD Auditor itself ended it; what it said is in {job.folder / 'log.txt'}"
    )


def test_a_job_outlives_an_app_that_ignores_ctrl_c_and_can_still_be_stopped(jobs, tmp_path):
    app = f"""
import os, signal
from pathlib import Path
from cfbd_core.jobs.jobs import Jobs
signal.signal(signal.SIGINT, signal.SIG_IGN)
Jobs({str(jobs.folder)!r}).start("demo", Path({str(tmp_path / "audit")!r}),
    {[*DRAWS_LONG, "--audit", str(tmp_path / "audit")]!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", app], check=False).returncode == -signal.SIGKILL
    (job,) = jobs.all()
    live = until(jobs, job, drawing)
    assert live.state == "running"
    live.stop()
    assert json.loads((job.folder / "exit.json").read_text())["code"] == 130


def test_the_log_shows_a_bar_as_it_was_last(jobs, tmp_path):
    job = until(jobs, jobs.start("report", tmp_path, ["report", "--audit", "nowhere"]), ended)
    (job.folder / "log.txt").write_bytes(b"one\n\rembed:  1%\rembed: 50%\n\xfftwo\r\n" + b"three\n")
    assert job.log_tail() == "one\nembed: 50%\n\N{REPLACEMENT CHARACTER}two\nthree"
    assert job.log_tail(1) == "three"


def test_old_jobs_go_when_a_new_one_starts_and_running_ones_stay(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "FINISHED_JOBS_KEPT", 2)
    running = draw(jobs, tmp_path / "long")
    ids = []
    for number in range(4):
        job = jobs.start("report", tmp_path / str(number), ["report"])
        ids.append(until(jobs, job, ended).id)
    assert [job.id for job in jobs.all()] == [*ids[:0:-1], running.id]


def test_a_record_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match=r"file.*the job cannot be started") as told:
        Jobs(tmp_path / "file").start("report", tmp_path, ["report"])
    assert "\n" not in str(told.value)
    assert Jobs(tmp_path / "none").all() == []
    assert not (tmp_path / "none").exists()


def test_progress_is_written_at_most_twice_a_second_and_at_the_end(tmp_path, monkeypatch):
    path, states = tmp_path / "progress.json", []
    monkeypatch.setenv(PROGRESS_VARIABLE, str(path))
    monkeypatch.setattr("cfbd_core.cli.progress.write_json", lambda to, state: states.append((to, state)))
    with Bar("embed", 2000) as bar, TrainBar("train F"):
        for _ in range(1000):
            bar.update(1)
            time.sleep(0.001)
    assert 3 <= len(states) <= 5
    assert {to for to, _ in states} == {path}
    first, last = states[0][1], states[-1][1]
    assert (first["stage"], first["done"], first["total"], first["seconds_left"]) == ("embed", 0, 2000, None)
    assert (last["stage"], last["done"]) == ("embed", 1000)
    assert last["seconds_left"] == pytest.approx(1000 / last["rate"])
    assert 200 < last["rate"] < 1000
    with TrainBar("train F") as training:
        training.report("train F", 3, 9, "cosine=0.500")
    assert (states[-1][1]["stage"], states[-1][1]["done"], states[-1][1]["total"]) == ("train F", 3, 9)


def test_progress_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "gone" / "progress.json"))
    with Bar("embed", 10) as bar:
        bar.update(10)


def test_only_failed_and_stopped_jobs_of_one_kind_and_audit_are_forgotten(jobs, tmp_path):
    failed = {
        (kind, name): until(jobs, jobs.start(kind, tmp_path / name, ["report", "--audit", "/none"]), ended)
        for kind in ("run", "map")
        for name in ("a", "b")
    }
    jobs.forget(failed["run", "a"])
    assert {job.id for job in jobs.all()} == {job.id for at, job in failed.items() if at != ("run", "a")}
    running = draw(jobs, tmp_path / "a")
    jobs.forget(running)
    assert running.id in {job.id for job in jobs.all()}


def test_a_job_knows_whether_its_audit_s_folder_was_there_before(jobs, tmp_path):
    audit = tmp_path / "audit"
    first = until(jobs, jobs.start("run", audit, ["report", "--audit", str(audit)]), ended)
    audit.mkdir()  # as the job would have
    again = until(jobs, jobs.start("run", audit, ["report", "--audit", str(audit)]), ended)
    assert first.made_audit
    assert again.made_audit
    jobs.forget(again)
    assert not until(jobs, jobs.start("run", audit, ["report", "--audit", str(audit)]), ended).made_audit


def test_an_audit_is_known_by_every_path_to_it(jobs, tmp_path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "audit")
    job = jobs.start("report", tmp_path / "link", ["report"])
    assert [found.id for found in jobs.for_audit(tmp_path / "audit")] == [job.id]


@pytest.mark.parametrize("record", ["{}", '{"kind": "run"}', '{"kind": 1, "audit": 2, "arguments": 3}'])
def test_a_record_of_another_version_is_passed_over(tmp_path, record):
    folder = tmp_path / "jobs" / "run-1"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(record)
    assert Jobs(tmp_path / "jobs").all() == []
