"""Checkpoints: written beside, read back, and only then put in place; the newest two are kept."""

from __future__ import annotations

import logging
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cfbd_core.errors import TrainingError
from cfbd_core.machine.files import system_errors, written_beside
from cfbd_core.training.config import CALMER

CHECKPOINTS_KEPT = 2
_NAME = re.compile(r"step_(\d{8,})\.pt")


class Checkpoints:
    """The checkpoints of the run with the id ``run``, in ``folder``."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self._run = folder, run
        self.taken: Path | None = None  # what `newest` gave

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the state after ``step`` steps; older checkpoints than the newest two go.

        Raises TrainingError where a weight is not finite, OSError where the disk is full: the checkpoints before stay.
        """
        broken = _not_finite(state["model"])
        if broken is not None:
            raise TrainingError(f"{broken} is not finite after step {step}; {CALMER}")
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"step_{step:08d}.pt"
        with written_beside(path) as beside:
            with system_errors(), beside.open("wb") as file:
                torch.save({"run": self._run, "step": step, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            check_bytes(beside)
        _sync(self.folder)
        for old in self.paths()[:-CHECKPOINTS_KEPT]:
            old.unlink()
        return path

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state that can be read, on the CPU; None where there is none.

        Raises TrainingError for one of another run.
        """
        for path in reversed(self.paths()):
            try:
                check_bytes(path)
                state = torch.load(path, map_location="cpu", weights_only=True)
                run = state["run"]
            except _UNREADABLE as error:
                logging.getLogger(__name__).warning(
                    "%s cannot be read (%s); going back to the one before", path, type(error).__name__
                )
                continue
            if run != self._run:
                raise TrainingError(f"{path}: is a checkpoint of another run or model; give a new --out")
            newest: dict[str, Any] = state
            self.taken = path
            return newest
        return None

    def paths(self) -> list[Path]:
        """Return all of them, oldest first."""
        named = (path for path in self.folder.glob("step_*.pt") if _NAME.fullmatch(path.name))
        return sorted(named, key=lambda path: int(path.stem.removeprefix("step_")))

    def way_back(self) -> str:
        """Return the end of a line about a failure: which checkpoint is left, and how to go on from it."""
        paths = self.paths()
        if not paths:
            return "; there is no checkpoint yet"
        return f"; {paths[-1]} is kept, and the same command goes on from it"


_UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def check_bytes(path: Path) -> None:
    """Read every byte of a checkpoint against its checksums. Raises one of ``_UNREADABLE``."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"{path}: {broken} is damaged")


def _not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    return next(
        (
            name
            for name, value in weights.items()
            if value.is_floating_point() and not bool(value.isfinite().all())
        ),
        None,
    )


def _sync(folder: Path) -> None:
    """Let the renaming reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
