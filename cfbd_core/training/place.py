"""The folder of a run: where it may be, who is at work in it, and what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfbd_core.embedding.encoder_files import CONFIG_NAME
from cfbd_core.errors import AuditError, ParameterError, TrainingError
from cfbd_core.machine.checked_files import read_object
from cfbd_core.machine.files import clear_parts, one_job
from cfbd_core.machine.places import LOCK_NAME, audit_around, real
from cfbd_core.store.training import ASKED_SHAPE, RESULT_SHAPE
from cfbd_core.training.config import HOW_ONLY

if TYPE_CHECKING:
    from cfbd_core.training.sets import TrainingSet

ASKED, RESULT, MODEL, CHECKPOINTS = "run.json", "result.json", "model", "checkpoints"
RUNS = "runs"  # of an audit
_OURS = (LOCK_NAME, f".{ASKED}.")  # the latter of a call that was killed as it began


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
    with _held(out):
        before = {path.name for path in out.iterdir()} - {LOCK_NAME if is_new else ""}
        if ASKED in before or all(name.startswith(_OURS) for name in before):
            for folder in (out, out / CHECKPOINTS):
                clear_parts(folder)
        try:
            yield
        finally:
            if not (out / ASKED).exists():
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
def _held(out: Path) -> Iterator[None]:
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


def held_run(out: Path, asked: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The result of this very run, where ``out`` holds it; None where the run is to begin or to go on.

    Raises TrainingError where the folder holds something else, or nothing to ``resume``.
    """
    held = read_asked(out)
    if held is None:
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith(_OURS))
        if others:
            raise TrainingError(f"{out}: holds {others[0]} and no training run; give a new folder")
        if resume:
            raise TrainingError(f"--resume: {out} holds no training run; leave --resume out to begin one")
        return None
    if held.get("id") != asked["id"]:
        raise TrainingError(
            f"{out}: holds another run ({_difference(held, asked)}); give a new folder, or ask for the same"
        )
    return read_result(out)


def read_asked(run: Path) -> dict[str, Any] | None:
    """What ``run.json`` says; None where there is none. Raises TrainingError where it is damaged."""
    shape = {**ASKED_SHAPE, "id": str, "params": dict}
    try:
        return read_object(run / ASKED, shape, "put a copy in its place, or give a new folder", TrainingError)
    except FileNotFoundError:
        return None


def read_result(run: Path) -> dict[str, Any] | None:
    """What ``result.json`` says; None where there is none, or it is damaged: then the run makes it again."""
    shape = {
        **RESULT_SHAPE,
        **dict.fromkeys(("steps", "epochs", "loss", "seconds", "pairs_per_s"), object),
    }
    try:
        return read_object(run / RESULT, shape, "run it again")
    except (FileNotFoundError, AuditError):
        return None


def has_model(run: Path) -> bool:
    """Whether a run has made its model."""
    return (run / MODEL / CONFIG_NAME).is_file()


def _difference(held: dict[str, Any], asked: dict[str, Any]) -> str:
    """What was asked for otherwise, in words."""
    if held.get("engine") != asked["engine"]:
        return f"engine {held.get('engine')}, now {asked['engine']}"
    before, now = held.get("params") or {}, asked["params"]
    for name, value in now.items():
        if before.get(name) != value and name not in HOW_ONLY:
            return f"{name.replace('_', ' ')} {before.get(name)}, now {value}"
    if held.get("set_fingerprint") != asked["set_fingerprint"]:
        if held.get("pairs") == asked["pairs"]:
            return "on other pairs, captions or pictures"
        return f"on {held.get('pairs')} pairs, now on {asked['pairs']}"
    return "of a model with other weights"
