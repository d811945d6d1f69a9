from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job, report_in_one_line, write_json, written_beside


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), written_beside(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"auroc": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_second_job_is_refused_and_told_which_one_runs(tmp_path):
    second = f"""
from pathlib import Path
from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job
try:
    with one_job(Path({str(tmp_path)!r}), "split"):
        print("entered")
except AuditError as error:
    print(error)
"""
    with one_job(tmp_path, "embed"):
        shown = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=True)
    assert f"embed (process {os.getpid()}) is running on this audit; wait" in shown.stdout
    free = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=True)
    assert free.stdout == "entered\n"


def test_a_job_of_a_thread_is_told_apart_from_one_of_another_process(tmp_path):
    with one_job(tmp_path, "split"), ThreadPoolExecutor(1) as thread:

        def enter() -> None:
            with one_job(tmp_path, "split"):
                pass

        with pytest.raises(AuditError, match="split is running in another session of this app; wait"):
            thread.submit(enter).result()


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(AuditError, match="disk is full") as told, report_in_one_line(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(told.value)
    with pytest.raises(FileNotFoundError), report_in_one_line(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")


def test_threads_that_write_one_file_at_once_do_not_take_one_anothers(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write_json, tmp_path / "x.json", {"n": n}) for n in range(300)]:
            done.result()
    assert json.loads((tmp_path / "x.json").read_text())["n"] < 300
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
