"""The process of a job: started detached, known to live by a lock, ended by signals.

The lock on ``JOB/lock`` is inherited by the process and by the workers that it forks, so it is held as
long as one of them lives and, unlike a process id, is never used again. The file holds the id of the
process group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from cfbd_core.machine.assets import PACKAGES_DIR
from cfbd_core.machine.files import write_json

PROGRESS_VARIABLE = "CFBD_PROGRESS_FILE"  # names the file that a job's progress goes to
STOP_SECONDS = 10.0  # a job gets to end by itself before it is killed
STOPPED = 130  # the command's exit code after Ctrl-C


@dataclass(frozen=True)
class JobRequest:
    """What a job was asked for: the content of ``job.json``.

    ``made_audit`` says that there was no such audit before it, or before an earlier job on it.
    """

    kind: str
    audit: Path
    arguments: tuple[str, ...]
    made_audit: bool
    started: datetime

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "kind": self.kind,
            "audit": str(self.audit),
            "arguments": list(self.arguments),
            "made_audit": self.made_audit,
            "started": self.started.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave. Raises KeyError, TypeError, ValueError for what is none."""
        return cls(
            kind=values["kind"],
            audit=Path(values["audit"]),
            arguments=tuple(values["arguments"]),
            made_audit=values.get("made_audit") is True,
            started=datetime.fromisoformat(values["started"]),
        )


def launch(folder: Path, request: JobRequest) -> None:
    """Write ``request`` to ``folder/job.json`` and start its job there."""
    environment = os.environ | {
        PROGRESS_VARIABLE: str(folder / "progress.json"),
        "PYTHONIOENCODING": "utf-8:surrogateescape",
        "PYTHONPATH": os.pathsep.join([str(PACKAGES_DIR), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with (
        (folder / "lock").open("wb") as lock,
        (folder / "result.json").open("wb") as result,
        (folder / "log.txt").open("wb") as log,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # the child inherits it, and so do the workers that it forks
        write_json(folder / "job.json", request.to_dict())
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cfbd_core.cli.as_job", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=result,
            stderr=log,
            env=environment,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # else it would stay as a zombie


def is_held(folder: Path) -> bool:
    """Return whether a process of the job lives."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def end(folder: Path) -> bool:
    """End the job as Ctrl-C does, with force where that does not help; returns whether it has ended."""
    kinder = ((signal.SIGINT, STOP_SECONDS), (signal.SIGTERM, STOP_SECONDS / 4))
    return any(_signal(folder, *step) for step in (*kinder, (signal.SIGKILL, STOP_SECONDS)))


def interrupt(folder: Path) -> None:
    """Signal Ctrl-C to the job once; one that has just been launched is waited for until it can hear it."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and is_held(folder) and not _sent(folder, signal.SIGINT):
        time.sleep(0.02)


def _signal(folder: Path, number: signal.Signals, seconds: float) -> bool:
    """Signal the job's process group, then wait; True when all of it has ended."""
    deadline, is_sent = time.monotonic() + seconds, False
    while time.monotonic() < deadline:
        if not is_held(folder):
            return True
        is_sent = is_sent or _sent(folder, number)
        time.sleep(0.02)
    return False


def _sent(folder: Path, number: signal.Signals) -> bool:
    """Signal the job's process group, if its number is known; as long as the lock is held it is no other's."""
    group = (folder / "lock").read_text(encoding="ascii")
    if group:
        with suppress(ProcessLookupError):
            os.killpg(int(group), number)
    return bool(group)
