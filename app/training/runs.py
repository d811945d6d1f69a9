"""The training runs of an audit, as their folders and their jobs describe them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from app import state
from app.training import metrics as train_metrics
from app.training.metrics import Curves
from cfbd_core import Audit
from cfbd_core.cli.command import parser
from cfbd_core.errors import CfbdError
from cfbd_core.jobs.jobs import Job
from cfbd_core.machine.files import is_locked
from cfbd_core.store.training import StoredRun
from cfbd_core.training.defences import DEFENSES
from cfbd_core.training.place import MODEL, REQUEST, RUNS, has_model, read_request, read_result

PREFIX = "train-"  # of folders: AUDIT/runs/train-…
SETS = {"kept": "Kept", "coarse": "Coarse only", "all": "All"}
PLAIN = {
    "kept": "CFBD",
    "coarse": "Coarse only",
    "all": "No defence",
}  # what tables call plain training on a set
MARK = "Train on clean"  # and on all pairs of an audit without poison

State = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Run:
    """A training run; what is not known of it (yet) is None.

    ``params`` are the settings that it was asked for, ``measured_on`` the sources that measure it, both as plain JSON.
    ``is_here`` says whether its folder can be read, ``is_clean`` whether it trains on all of an audit that is known
    to hold no poison. ``steps`` and ``epochs`` are those that it takes, ``most_steps`` the limit that it was given,
    ``done`` is the last logged step, ``job`` the newest that the app knows of, ``error`` why that failed or stopped.
    """

    folder: Path
    audit: Path
    is_here: bool
    is_clean: bool
    state: State
    subset: str | None
    defense: str | None
    model: str | None
    epochs: int | None
    steps: int | None
    pairs: int | None
    done: int
    loss: float | None
    ca: float | None
    asr: float | None
    seconds: float | None
    pairs_per_s: float | None
    started: datetime | None
    is_measured: bool
    most_steps: int | None
    curves: Curves
    params: Mapping[str, Any]
    measured_on: Mapping[str, Any]
    job: Job | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def model_folder(self) -> Path | None:
        """The trained model, where there is one."""
        return self.folder / MODEL if self.is_here and has_model(self.folder) else None

    @property
    def method(self) -> str:
        """What a table like the paper's calls it: Train on clean, No defence, Coarse only, CFBD, CleanCLIP …"""
        if self.is_mark:
            return MARK
        if self.defense in (None, "plain"):
            return PLAIN.get(self.subset or "", "Plain")
        if self.subset in (None, "all"):
            return title(self.defense)
        return f"{PLAIN.get(self.subset, self.subset)} + {title(self.defense)}"

    @property
    def is_mark(self) -> bool:
        """Whether others are measured by it: plain training on pairs that are all known to be clean."""
        return self.is_clean and self.defense in (None, "plain")

    @property
    def place_in_tables(self) -> tuple[int, int, str]:
        """What runs are sorted by to stand as in the paper's tables.

        Training on clean pairs, no defence, coarse only, CFBD, the others.
        """
        defenses = list(DEFENSES)
        defense = defenses.index(self.defense) if self.defense in defenses else len(defenses)
        if self.is_mark:
            defense = -1
        subsets = list(reversed(SETS))
        return defense, subsets.index(self.subset) if self.subset in SETS else len(SETS), self.name


def title(defense: str | None) -> str:
    """Return what tables call a defence."""
    known = DEFENSES.get(defense or "")
    return known.title if known is not None else defense or "–"


def runs_of(audit: Path) -> list[Run]:
    """Return the runs of an audit, newest first: those of the app and those of the command line, wherever they lie."""
    jobs, recorded = jobs_of(audit), _recorded(audit)
    folders = {*_folders(audit), *jobs, *recorded}
    runs = [read(audit, folder, jobs.get(folder), recorded.get(folder)) for folder in folders]
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(
        (run for run in runs if run is not None),
        key=lambda run: (run.started or earliest, run.name),
        reverse=True,
    )


def any_of(audit: Path) -> bool:
    """Return whether an audit has runs in its folder."""
    return bool(_folders(audit))


def jobs_of(audit: Path) -> dict[Path, Job]:
    """Return the newest training job of every run's folder."""
    jobs = [job for job in state.jobs().for_audit(audit) if job.arguments[:1] == ("train",)]
    return {place: job for job in reversed(jobs) if (place := out(job)) is not None}


def out(job: Job) -> Path | None:
    """Return the folder of a job's run."""
    try:
        return Path(job.arguments[job.arguments.index("--out") + 1])
    except (ValueError, IndexError):
        return None


def read(audit: Path, folder: Path, job: Job | None, stored: Mapping[str, Any] | None = None) -> Run | None:
    """Return what is known of the run in ``folder``; ``stored`` is what the audit holds of it.

    That is all there is where the folder has gone, or lies outside the roots. None where nothing says that there is a
    run.
    """
    stored, is_here = stored or {}, _is_here(folder)
    own_request = _request_of(folder) if is_here else None
    request = own_request or stored.get("asked", own_request)
    if request is None and job is None:
        return None
    request = request or {}
    result: Mapping[str, Any] = (read_result(folder) if is_here else None) or stored.get("result") or {}
    stored_params = request.get("params")
    params: dict[str, Any] = stored_params if isinstance(stored_params, dict) else _of_arguments(job)
    stored_measured_on = request.get("measured_on")
    measured_on: dict[str, Any] = stored_measured_on if isinstance(stored_measured_on, dict) else params
    curves = train_metrics.curves(folder) if is_here else Curves()
    where = _state(folder, job, bool(result))
    return Run(
        folder=folder,
        audit=audit,
        is_here=is_here,
        is_clean=params.get("subset") in (None, "all") and _is_clean(audit),
        state=where,
        subset=params.get("subset"),
        defense=params.get("defense"),
        model=params.get("model"),
        epochs=request.get("epochs") or (None if params.get("steps") else params.get("epochs")),
        steps=request.get("steps"),
        pairs=request.get("pairs"),
        done=int(result.get("steps") or (curves.step[-1] if curves.step else 0)),
        loss=_first(result.get("loss"), curves.loss),
        ca=_first(result.get("ca"), curves.ca),
        asr=_first(result.get("asr"), curves.asr),
        seconds=result.get("seconds"),
        pairs_per_s=_first(result.get("pairs_per_s"), [curves.pairs_per_s]),
        started=_when(request.get("started")) or (job.started if job else None),
        is_measured=bool(measured_on.get("classes")),
        most_steps=params.get("steps"),
        curves=curves,
        params=params,
        measured_on=measured_on,
        job=job,
        error=job.error if job is not None and where in ("failed", "stopped") else None,
    )


def labels(runs: Sequence[Run], audit: Path) -> list[str]:
    """A short name for each run: its method; of another audit that too; and the run's own name where it must be."""

    def name_of(run: Run) -> str:
        place = "" if run.audit == audit else f" · {run.audit.name}"
        state = "" if run.state == "done" else f" ({run.state})"
        return run.method + place + state

    names = [name_of(run) for run in runs]
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} · {short(run.name)}"
        for name, run in zip(names, runs, strict=True)
    ]


def short(name: str) -> str:
    """Return a run's name without what all have in common."""
    return name.removeprefix(PREFIX)


def last_rate(runs: Sequence[Run], model: str) -> float | None:
    """Return pairs a second of the newest run with this model."""
    return next((run.pairs_per_s for run in runs if run.model == model and run.pairs_per_s), None)


def _folders(audit: Path) -> list[Path]:
    try:
        with os.scandir(audit / RUNS) as entries:
            return [Path(entry.path) for entry in entries if os.path.isfile(Path(entry.path) / REQUEST)]
    except OSError:
        return []


def _request_of(folder: Path) -> Mapping[str, Any] | None:
    """Return what a run was asked for; nothing where that is damaged: the audit may hold it, too."""
    try:
        return read_request(folder)
    except CfbdError:
        return {}


def _is_here(folder: Path) -> bool:
    """Return whether a folder is there, and may be read."""
    try:
        return os.path.isdir(state.settings().inside(str(folder)))
    except CfbdError:
        return False


def _recorded(audit: Path) -> dict[Path, StoredRun]:
    """Return what the audit holds of its runs, by their folders."""
    return {Path(run["folder"]): run for run in _recorded_anew(str(audit), Audit.open(audit).state.stamp())}


@st.cache_data(max_entries=32, show_spinner=False)
def _recorded_anew(audit: str, stamp: tuple[int, ...]) -> list[StoredRun]:
    return Audit.open(audit).state.training_runs()


def _is_clean(audit: Path) -> bool:
    try:
        return _is_clean_anew(str(audit), Audit.open(audit).state.stamp())
    except CfbdError:  # busy or damaged
        return False


@st.cache_data(max_entries=32, show_spinner=False)
def _is_clean_anew(audit: str, stamp: tuple[int, ...]) -> bool:
    return Audit.open(audit).columns.is_known_clean()


def _state(folder: Path, job: Job | None, has_result: bool) -> State:
    if job is not None and job.state == "running":
        return "running"
    if is_locked(folder):
        return "running"
    if has_result:
        return "done"
    return "failed" if job is not None and job.state == "failed" else "stopped"


def _of_arguments(job: Job | None) -> dict[str, Any]:
    """Return what a job was asked for that has not written its ``run.json`` (yet)."""
    if job is None:
        return {}
    try:
        return vars(parser().parse_args(job.arguments))
    except SystemExit:  # of another version
        return {}


def _first(figure: float | None, logged: Sequence[float | None]) -> float | None:
    """Return the result's own ``figure``, else the last that was logged."""
    return (
        figure
        if figure is not None
        else next((value for value in reversed(logged) if value is not None), None)
    )


def _when(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
