"""What takes long to make and no test changes, made once a run: by the first worker of pytest-xdist that needs it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]


def once_a_run(factory: pytest.TempPathFactory) -> Once:
    """Return ``once(name, make)``: the folder of this name, which ``make`` is called with where it is not there yet.

    ``make`` makes the folder itself, at the place where it stays: audits hold whole paths. One that fails is tried
    again by the next who asks.
    """
    base = factory.getbasetemp()
    common = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"

    def once(name: str, make: Callable[[Path], object]) -> Path:
        common.mkdir(exist_ok=True)
        for number in range(3):
            folder = common / f"{name}-{number}"
            with (common / f"{name}-{number}.lock").open("w") as lock:
                fcntl.flock(
                    lock, fcntl.LOCK_EX
                )  # goes with the process, and is waited for as long as it takes
                is_made = common / f"{name}-{number}.made"
                if is_made.exists():
                    return folder
                if folder.exists():  # left by one that failed
                    continue
                make(folder)
                is_made.touch()
                return folder
        raise RuntimeError(f"{name} could not be made")

    return once
