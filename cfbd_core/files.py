"""Files of an audit: written beside and renamed, one job at a time, a full disk told in one line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from cfbd_core.errors import AuditError

LOCK_NAME = "audit.lock"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes the place of ``path`` when the block ends well."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, without NaN or infinity."""
    with written_beside(path) as beside:
        beside.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file atomically."""
    with written_beside(path) as beside, beside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def one_job(folder: Path, kind: str) -> Iterator[None]:
    """Hold the audit's job lock; a second job is refused. The lock goes with the process, however it ends.

    Raises AuditError: another job runs; the disk is full (the work done so far is kept).
    """
    with (folder / LOCK_NAME).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            running = lock.read().strip() or "another job"
            raise AuditError(
                f"{folder}: {running} is running on this audit; wait for it or stop it"
            ) from None
        lock.truncate(0)
        lock.write(f"{kind} (process {os.getpid()})")
        lock.flush()
        with told_when_disk_is_full(folder):
            yield


@contextmanager
def told_when_disk_is_full(folder: Path) -> Iterator[None]:
    """Turn 'no space left' from the system or from DuckDB into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        raise AuditError(_disk_line(folder)) from error
    except duckdb.Error as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise AuditError(_disk_line(folder)) from error


def _disk_line(folder: Path) -> str:
    free = shutil.disk_usage(folder).free / 1e6
    return (
        f"{folder}: the disk is full ({free:.0f} MB left); "
        "free some space and run again: finished work is kept"
    )
