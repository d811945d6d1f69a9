"""The folder of a run: where it may be, who is at work in it, and what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfbd_core.encoder_files import CONFIG_NAME
from cfbd_core.errors import AuditError, ParameterError, TrainingError
from cfbd_core.files import LOCK_NAME, one_job, read_json
from cfbd_core.places import audit_around, real
from cfbd_core.training.config import HOW_ONLY

if TYPE_CHECKING:
    from cfbd_core.training.sets import TrainingSet

ASKED, RESULT, MODEL = "run.json", "result.json", "model"
RUNS = "runs"  # of an audit


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
    for kept in pairs.protected:
        pictures = kept.with_name(f"{kept.name}.images")  # of an export
        if any(place.is_relative_to(real(folder)) for folder in (kept, pictures)):
            raise ParameterError(
                f"--out {out}: lies inside the source {kept}, which is never changed; give another folder"
            )


@contextmanager
def one_run(out: Path) -> Iterator[None]:
    """Make the folder and hold it; a second run in it is refused. A folder in which no run began goes again.

    Raises TrainingError: another run is at work; AuditError: the folder cannot be written, or the disk is full.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"--out {out}: cannot be made ({error.strerror}); give another folder"
        ) from error
    try:
        with _held(out):
            yield
    finally:
        if is_new and not (out / ASKED).exists():
            shutil.rmtree(out, ignore_errors=True)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    entered = False
    try:
        with one_job(out, "train"):
            entered = True
            yield
    except AuditError as error:
        if entered or "is running" not in str(error):
            raise
        raise TrainingError(
            f"{out}: a training run is at work in this folder; wait for it, stop it, or give another --out"
        ) from error


def held_run(out: Path, asked: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The result of this very run, where ``out`` holds it; None where the run is to begin or to go on.

    Raises TrainingError where the folder holds something else, or nothing to ``resume``.
    """
    held = read_json(out / ASKED)
    if held is None:
        others = sorted(path.name for path in out.iterdir() if path.name != LOCK_NAME)
        if others:
            raise TrainingError(f"{out}: holds {others[0]} and no training run; give a new folder")
        if resume:
            raise TrainingError(f"--resume: {out} holds no training run; leave --resume out to begin one")
        return None
    if held.get("id") != asked["id"]:
        raise TrainingError(
            f"{out}: holds another run ({_difference(held, asked)}); give a new folder, or ask for the same"
        )
    return read_json(out / RESULT)


def has_model(run: Path) -> bool:
    """Whether a run has made its model."""
    return (run / MODEL / CONFIG_NAME).is_file()


def _difference(held: dict[str, Any], asked: dict[str, Any]) -> str:
    """What was asked for otherwise, in words."""
    before, now = held.get("params") or {}, asked["params"]
    for name, value in now.items():
        if before.get(name) != value and name not in HOW_ONLY:
            return f"{name.replace('_', ' ')} {before.get(name)}, now {value}"
    if held.get("set_fingerprint") != asked["set_fingerprint"]:
        return f"on {held.get('pairs')} pairs, now on {asked['pairs']} or other ones"
    return "of a model with other weights"
