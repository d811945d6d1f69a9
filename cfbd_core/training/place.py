"""The folder of a run: where it may be, who is at work in it, and what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cfbd_core.embedding.encoder_files import CONFIG_NAME
from cfbd_core.errors import AuditError, ParameterError, TrainingError
from cfbd_core.machine.checked_files import read_object
from cfbd_core.machine.files import clear_parts, one_job
from cfbd_core.machine.places import LOCK_NAME, audit_around, real
from cfbd_core.store.training import REQUEST_SHAPE, RESULT_SHAPE, RequestEntry, ResultEntry
from cfbd_core.training.config import HOW_ONLY

if TYPE_CHECKING:
    from cfbd_core.training.sets import TrainingSet

REQUEST, RESULT, MODEL, CHECKPOINTS = "run.json", "result.json", "model", "checkpoints"
RUNS = "runs"  # of an audit
_OURS = (LOCK_NAME, f".{REQUEST}.")  # the latter of a call that was killed as it began


def check_place(out: Path, pairs: TrainingSet) -> None:
    """Raise ParameterError where ``out`` is a file, or lies in the source or among an audit's own files."""
    if out.exists() and not out.is_dir():
        raise ParameterError(f"--out {out}: is a file; give a new folder")
    place = real(out)
    audit = audit_around(out)
    if audit is not None and audit / RUNS not in place.parents:
        raise ParameterError(
            f"--out {out}: lies among the files of the audit {audit}; give a folder in {audit / RUNS}, or elsewhere"
        )
    for protected in pairs.protected:
        pictures = protected.with_name(f"{protected.name}.images")  # of an export
        if any(place.is_relative_to(real(folder)) for folder in (protected, pictures)):
            raise ParameterError(
                f"--out {out}: lies inside the source {protected}, which is never changed; give another folder"
            )


@contextmanager
def one_run(out: Path) -> Iterator[None]:
    """Make the folder and hold it; a second run in it is refused. What it holds newly goes again if no run began.

    What a killed run left half-written goes, too.

    Raises TrainingError: another run is at work; AuditError: the folder cannot be written, or the disk is full.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"--out {out}: cannot be made ({error.strerror}); give another folder"
        ) from error
    with _hold(out):
        before = {path.name for path in out.iterdir()} - {LOCK_NAME if is_new else ""}
        if REQUEST in before or all(name.startswith(_OURS) for name in before):
            for folder in (out, out / CHECKPOINTS):
                clear_parts(folder)
        try:
            yield
        finally:
            if not (out / REQUEST).exists():
                _take_back(out, before, is_new)


def _take_back(out: Path, before: set[str], is_new: bool) -> None:
    for path in out.iterdir():
        if path.name in before:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if is_new:
        with suppress(OSError):  # it holds something else
            out.rmdir()


@contextmanager
def _hold(out: Path) -> Iterator[None]:
    entered = False
    try:
        with one_job(out, "train"):
            (out / LOCK_NAME).stat()
            entered = True
            yield
    except FileNotFoundError as error:
        if entered:
            raise
        raise TrainingError(
            f"{out}: another training run took this folder back just now; ask again"
        ) from error
    except AuditError as error:
        if entered or "is running" not in str(error):
            raise
        raise TrainingError(
            f"{out}: a training run is at work in this folder; wait for it, stop it, or give another --out"
        ) from error


def result_if_done(out: Path, request: RequestEntry, resume: bool) -> ResultEntry | None:
    """Return the result of this very run, where ``out`` holds it; None where the run is to begin or to go on.

    Raises TrainingError where the folder holds something else, or nothing to ``resume``.
    """
    stored = read_request(out)
    if stored is None:
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith(_OURS))
        if others:
            raise TrainingError(f"{out}: holds {others[0]} and no training run; give a new folder")
        if resume:
            raise TrainingError(f"--resume: {out} holds no training run; leave --resume out to begin one")
        return None
    if stored.get("id") != request["id"]:
        raise TrainingError(
            f"{out}: holds another run ({_difference(stored, request)}); give a new folder, or ask for the same"
        )
    return read_result(out)


def read_request(run: Path) -> RequestEntry | None:
    """Return what ``run.json`` says; None where there is none. Raises TrainingError where it is damaged."""
    shape = {**REQUEST_SHAPE, "id": str, "params": dict}
    try:
        request: RequestEntry = read_object(
            run / REQUEST, shape, "put a copy in its place, or give a new folder", TrainingError
        )
    except FileNotFoundError:
        return None
    return request


def read_result(run: Path) -> ResultEntry | None:
    """Return what ``result.json`` says; None where there is none, or it is damaged: then the run makes it again."""
    shape = {
        **RESULT_SHAPE,
        **dict.fromkeys(("steps", "epochs", "loss", "seconds", "pairs_per_s"), object),
    }
    try:
        result: ResultEntry = read_object(run / RESULT, shape, "run it again")
    except (FileNotFoundError, AuditError):
        return None
    return result


def has_model(run: Path) -> bool:
    """Return whether a run has made its model."""
    return (run / MODEL / CONFIG_NAME).is_file()


def _difference(stored: RequestEntry, request: RequestEntry) -> str:
    """Return what was asked for otherwise, in words."""
    if stored.get("engine") != request["engine"]:
        return f"engine {stored.get('engine')}, now {request['engine']}"
    before, now = stored.get("params") or {}, request["params"]
    for name, value in now.items():
        if before.get(name) != value and name not in HOW_ONLY:
            return f"{name.replace('_', ' ')} {before.get(name)}, now {value}"
    if stored.get("set_fingerprint") != request["set_fingerprint"]:
        if stored.get("pairs") == request["pairs"]:
            return "on other pairs, captions or pictures"
        return f"on {stored.get('pairs')} pairs, now on {request['pairs']}"
    return "of a model with other weights"
