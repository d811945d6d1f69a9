"""Files of an audit: written beside and renamed, one job at a time, a full disk reported in one line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from cfbd_core.errors import AuditError
from cfbd_core.machine.json_shapes import parse
from cfbd_core.machine.places import LOCK_NAME

MOST_LOCK_LETTERS = 200  # letters
MOST_TEXT_BYTES = 1 << 28  # bytes
_PART = re.compile(r"\..+\.\d+\.\d+\.part")  # written_beside
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)
_WAY_OUT = {
    **dict.fromkeys(_FULL_DISK, "free some space and run again: finished work is kept"),
    **dict.fromkeys(_NOT_PERMITTED, "mend its permissions, or give another place"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n) and run again"),
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOMEM: "free some memory and run again",
}


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes the place of ``path`` when the block ends well."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def clear_parts(folder: Path) -> None:
    """Delete what killed processes left of :func:`written_beside` in ``folder``; only while nobody writes there."""
    for beside in folder.glob(".*.part"):
        if not _PART.fullmatch(beside.name):
            continue
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def parts_of(name: str | None = None) -> re.Pattern[str]:
    """Return how :func:`written_beside` calls what it writes for a file ``name``, or for any, with its ``process``."""
    return re.compile(
        rf"\.{'.+' if name is None else re.escape(name)}\.(?P<process>\d+)\.\d+\.part", re.DOTALL
    )


def clear_dead(folder: Path, names: re.Pattern[str]) -> None:
    """Delete what processes of this machine that are gone have left in ``folder``: ``names`` give their ``process``."""
    for path in folder.iterdir() if folder.is_dir() else ():
        match = names.fullmatch(path.name)
        if match is None or os.path.exists(f"/proc/{match['process']}"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, without NaN or infinity."""
    with written_beside(path) as beside:
        beside.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None where there is none, or it is damaged."""
    try:
        value = parse(path.read_bytes()) if os.path.isfile(path) else None
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> list[str]:
    """The lines of a text in UTF-8 that a user gives. Raises OSError; ValueError for what is none, or has no end."""
    with path.open("rb") as file:
        data = file.read(MOST_TEXT_BYTES + 1)
    if len(data) > MOST_TEXT_BYTES or b"\0" in data:
        raise ValueError(f"it is no text, or longer than {MOST_TEXT_BYTES >> 20} MB")
    return data.decode("utf-8-sig").splitlines()


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file atomically.

    Not by ``np.save``: on a full disk its error does not say that the disk is full.
    """
    whole = np.ascontiguousarray(array)
    with written_beside(path) as beside, beside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.data)


@contextmanager
def system_errors() -> Iterator[None]:
    """Let the system's error through that torch or safetensors hides behind one of its own.

    Where a write fails, torch closes its archive all the same and reports that alone; what is written in Rust names
    the error's number in its text.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is not None:
            code = int(number[1])
            raise OSError(code, os.strerror(code)) from error
        cause = error.__context__
        while cause is not None:
            if isinstance(cause, OSError):
                raise cause from error
            cause = cause.__context__
        raise


@contextmanager
def one_job(folder: Path, kind: str) -> Iterator[None]:
    """Hold the audit's job lock; a second job is refused. The lock goes with the process, however it ends.

    Raises AuditError: another job runs; the folder is not writable; the disk is full (the work done
    so far is kept).
    """
    with (
        report_in_one_line(folder),
        (folder / LOCK_NAME).open("a+", encoding="utf-8", errors="replace") as lock,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            running = lock.read(MOST_LOCK_LETTERS).strip() or "another job"
            raise AuditError(f"{folder}: {_message(running)}; wait for it or stop it") from None
        lock.truncate(0)
        lock.write(f"{kind}{_by(os.getpid())}")
        lock.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Return whether a job holds the folder, in whatever process.

    Asked of the system: to try the lock could be what refuses a job that starts at this moment.
    """
    try:
        with (folder / LOCK_NAME).open("rb") as lock:
            place = f" {_device(lock.fileno())}:{os.fstat(lock.fileno()).st_ino} "
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return False
    return any(line.split()[1:2] == ["FLOCK"] and place in line for line in locks)


def _device(number: int) -> str:
    """Return the device of an open file as ``/proc/locks`` has it: its mount's, where ``st_dev`` may be another."""
    text = Path(f"/proc/self/fdinfo/{number}").read_text(encoding="ascii")
    mount = next((line.split()[1] for line in text.splitlines() if line.startswith("mnt_id:")), None)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    device = next((line.split()[2] for line in mounts if line.split()[0] == mount), None)
    if device is None:
        raise ValueError(f"no mount of descriptor {number}")
    major, minor = map(int, device.split(":"))
    return f"{major:02x}:{minor:02x}"


def _by(process: int) -> str:
    return f" (process {process})"


def _message(running: str) -> str:
    """Who holds the lock that says ``running``; a process can hold it for one of its own threads."""
    is_here = running.endswith(_by(os.getpid()))
    where = "in another session of this app" if is_here else "on this audit"
    return f"{running.removesuffix(_by(os.getpid()))} is running {where}"


def system_message(error: BaseException) -> str | None:
    """Return what the system refused, in a line for the user; None where ``error`` is something else, and so a bug."""
    if isinstance(error, MemoryError):
        return f"more memory is needed than there is ({str(error) or 'none is left'}); ask for less at once"
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    way_out = _WAY_OUT.get(error.errno, "check the path and its disk, then run again")
    return f"{where or 'a file'}: {error.strerror or error}; {way_out}"


def is_full_disk(error: Exception) -> bool:
    """Return whether an error of the system or of DuckDB says that no space is left."""
    return getattr(error, "errno", None) in _FULL_DISK or os.strerror(errno.ENOSPC) in str(error)


@contextmanager
def report_in_one_line(folder: Path) -> Iterator[None]:
    """Turn 'no space left' and 'not permitted', from the system or from DuckDB, into a line for the user."""
    try:
        yield
    except (OSError, duckdb.Error) as error:
        number = getattr(error, "errno", None)
        if is_full_disk(error):
            free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free / 1e6
            raise AuditError(
                f"{folder}: the disk is full ({free:.0f} MB left); "
                "free some space and run again: finished work is kept"
            ) from error
        if number in _NOT_PERMITTED:
            raise AuditError(
                f"{folder}: not writable ({os.strerror(number)}); mend its permissions or copy it"
            ) from error
        raise
