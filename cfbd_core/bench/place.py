"""The folder of a benchmark: whose it is, and who is at work in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cfbd_core.errors import AuditError
from cfbd_core.machine.files import one_job
from cfbd_core.machine.places import LOCK_NAME
from cfbd_core.poisoning.place import report_for
from cfbd_core.store.bench import BenchResults

RESULTS_NAME = "results.duckdb"


def check_ours(folder: Path) -> None:
    """Raise AuditError where ``folder`` holds things, but no results: they are another's."""
    with report_for(folder):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    started = {name for name in names if name == LOCK_NAME or name.startswith(f"{RESULTS_NAME}.")}
    if names - started and RESULTS_NAME not in names:
        raise AuditError(f"{folder}: is not empty and holds no results of a benchmark; give a new folder")


@contextmanager
def open_results(folder: Path, about: Mapping[str, object]) -> Iterator[BenchResults]:
    """Make the folder, hold it, and open its results on ``about``, which come first: they say whose folder this is.

    Raises AuditError: another job is at work there, or the results are of something else.
    """
    if (folder / RESULTS_NAME).exists():
        BenchResults(folder / RESULTS_NAME, about)  # refuses others before a lock is left there
    with report_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with one_job(folder, "bench"):
        yield BenchResults(folder / RESULTS_NAME, about)
