"""Long jobs as processes of their own: they outlive the browser that asked for them, and the app.

A job is a folder: ``job.json`` (what was asked), ``lock`` (held while it runs), ``progress.json``,
``result.json`` (stdout), ``log.txt`` (stderr), ``exit.json`` (written last). What state a job is in is
read from these alone, so an app that was restarted knows as much as the one that started the job.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cfbd_core.errors import AuditError
from cfbd_core.jobs.process import STOPPED, JobRequest, end, interrupt, is_held, launch
from cfbd_core.machine.files import read_json, report_in_one_line
from cfbd_core.machine.json_shapes import parse

State = Literal["running", "done", "failed", "stopped"]
FINISHED_JOBS_KEPT = 50  # finished jobs, the newest
READERS = ("export", "map", "report", "train")  # leave the pairs as they are, and so run beside each other
ONE_AT_A_TIME = ("train",)  # of the readers: two would only take the machine from each other
TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class JobProgress:
    """How far a job is: ``stage`` (embed, score, …), pairs ``done`` of ``total``, ``rate`` in pairs/s."""

    stage: str
    done: int
    total: int | None
    rate: float
    seconds_left: float | None
    updated: datetime


@dataclass(frozen=True)
class Job:
    """What is known of a job at one moment; ask :class:`Jobs` again for news.

    ``error`` says in one line why a job failed or stopped; ``result`` is the JSON of one that is done.
    ``made_audit`` says that there was no such folder before it, or before an earlier job on it.
    """

    id: str
    kind: str
    audit: Path
    arguments: tuple[str, ...]
    started: datetime
    state: State
    progress: JobProgress | None
    error: str | None
    result: dict[str, Any] | None = field(repr=False)
    folder: Path
    made_audit: bool = False

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop and has not ended yet."""
        return self.state == "running" and (self.folder / "stopping").exists()

    def interrupt(self) -> None:
        """Ask the job to end as Ctrl-C does, and do not wait for it: it may finish what it is at first."""
        if is_held(self.folder):
            (self.folder / "stopping").touch()
            interrupt(self.folder)

    def stop(self) -> None:
        """End the job as Ctrl-C does, with force where that does not help; no harm to one that has ended."""
        if not is_held(self.folder):
            return
        (self.folder / "stopping").touch()
        if not end(self.folder):
            raise AuditError(f"job {self.id}: does not end; look at {self.folder / 'log.txt'}")

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log; of a progress bar only what it showed last."""
        return "\n".join(_log_lines(self.folder)[-lines:])


class Jobs:
    """The jobs whose records lie in ``folder``; it is made by the first job."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()

    def start(self, kind: str, audit: Path, arguments: Sequence[str]) -> Job:
        """Run ``cfbd *arguments --json`` detached and return its job.

        Asked for again while it runs, it is the same job. Raises AuditError: another job runs on this audit,
        of the same kind, or a training run as well, or one of the two writes the audit; or the records cannot
        be written.
        """
        audit = Path(audit).resolve()
        with _report_errors(self.folder), self._one_start():
            others = self.for_audit(audit)
            for other in others:
                if other.state != "running":
                    continue
                if (other.kind, other.arguments) == (kind, tuple(arguments)):
                    return other
                if other.kind == kind or not _may_run_beside(arguments, other.arguments):
                    raise AuditError(
                        f"{audit}: {other.kind} is running on this audit; wait for it or stop it"
                    )
            started = datetime.now(UTC)
            folder = self.folder / f"{started:%Y%m%dT%H%M%S.%f}"
            folder.mkdir()
            made_audit = not os.path.lexists(audit) or any(other.made_audit for other in others)
            try:
                launch(folder, JobRequest(kind, audit, tuple(arguments), made_audit, started))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._prune()
            job = _read_job(folder)
        if job is None:
            raise AuditError(f"{folder}: the job's record is gone; start it again")
        return job

    def all(self) -> list[Job]:
        """Return all jobs, newest first."""
        return [job for folder in self._folders() if (job := _read_job(folder)) is not None]

    def for_audit(self, audit: Path, kind: str | None = None) -> list[Job]:
        """Return the jobs of one audit, or those of one kind, newest first."""
        home = Path(audit).resolve()
        return [job for job in self.all() if job.audit == home and kind in (None, job.kind)]

    def forget(self, job: Job) -> None:
        """Delete the record of a job that failed or was stopped, and of earlier ones of its kind on its audit.

        What they made stays.
        """
        for other in self.for_audit(job.audit, job.kind):
            if other.state in ("failed", "stopped"):
                shutil.rmtree(other.folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted((path.parent for path in self.folder.glob("*/job.json")), reverse=True)

    @contextmanager
    def _one_start(self) -> Iterator[None]:
        """One start at a time, whichever process or thread asks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "start.lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prune(self) -> None:
        ended = [folder for folder in self._folders() if not is_held(folder)]
        for folder in ended[FINISHED_JOBS_KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)


def _may_run_beside(arguments: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether two commands read an audit through short connections, writing files of their own."""
    first, second = arguments[:1], others[:1]
    if not (first and second and first[0] in READERS and second[0] in READERS):
        return False
    return not (first[0] in ONE_AT_A_TIME and first[0] == second[0])


def _read_job(folder: Path) -> Job | None:
    """Return the job of a folder, or None where it has just been pruned, or was written by another version."""
    request = read_json(folder / "job.json")
    if request is None:
        return None
    try:
        return _job(folder, JobRequest.from_dict(request))
    except (KeyError, TypeError, ValueError):
        return None


def _job(folder: Path, request: JobRequest) -> Job:
    alive = is_held(folder)  # before exit.json is looked for: it may end in between
    ended = read_json(folder / "exit.json")
    code: int | None = None if ended is None else ended["code"]
    state = _state(folder, code, alive)
    return Job(
        id=folder.name,
        kind=request.kind,
        audit=request.audit,
        arguments=request.arguments,
        started=request.started,
        state=state,
        progress=_read_progress(folder),
        error=_error(folder, state, code),
        result=_result(folder) if state == "done" else None,
        folder=folder,
        made_audit=request.made_audit,
    )


def _state(folder: Path, code: int | None, alive: bool) -> State:
    """Where a job is that ended with an exit ``code``, None where its process has told none."""
    if alive:
        return "running"
    if code == 0:
        return "done"
    was_stopped = code in (None, STOPPED) or (folder / "stopping").exists()
    return "stopped" if was_stopped else "failed"


def _error(folder: Path, state: State, code: int | None) -> str | None:
    if state in ("running", "done"):
        return None
    if state == "stopped":
        if code is not None or (folder / "stopping").exists():
            return "stopped; start it again and it goes on"
        return "its process was killed (was the memory full?); start it again and it goes on"
    said = [line for line in _log_lines(folder) if re.match(r"cfbd( [a-z]+)?: ", line)]
    if code == 2 and said:
        return re.sub(r"^cfbd( [a-z]+)?: ", "", said[-1])
    return f"an error in CFBD Auditor itself ended it; what it said is in {folder / 'log.txt'}"


def _result(folder: Path) -> dict[str, Any] | None:
    """Return the last line of stdout: a library may have printed something before."""
    try:
        result = parse((folder / "result.json").read_text(encoding="utf-8").rstrip("\n").rpartition("\n")[2])
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _read_progress(folder: Path) -> JobProgress | None:
    values = read_json(folder / "progress.json")
    if values is None:
        return None
    try:
        return JobProgress(**values | {"updated": datetime.fromisoformat(values["updated"])})
    except (KeyError, TypeError, ValueError):  # of another version: the job is still a job
        return None


def _log_lines(folder: Path) -> list[str]:
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n") if line.strip()]


@contextmanager
def _report_errors(folder: Path) -> Iterator[None]:
    """Report a folder that cannot be made or written, or a process that cannot be started, in one line."""
    try:
        with report_in_one_line(next(path for path in (folder, *folder.parents) if path.exists())):
            yield
    except OSError as error:
        raise AuditError(f"{folder}: the job cannot be started ({error.strerror or error})") from error
