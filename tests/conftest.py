"""Shared fixtures: a toy world in which pictures have a colour and captions name it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from cfbd_core import Audit
from cfbd_core.cli import progress
from tests.explored import scored_audit
from tests.once import Once, once_a_run
from tests.toy import write_toy_source

# The workers of pytest-xdist share the cores: threads of torch and BLAS in each would fight over them. The children
# inherit it. Tests that compare bits under several threads ask for them.
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

# One profile: a machine under load takes its time (what is too slow, the benchmarks tell), and a failure comes again.
settings.register_profile(
    "cfbd",
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("cfbd")

SHARED = Path(__file__).resolve().parents[2] / "shared"


ROOMS = {
    "browser": "browser",
    "training": "training",
    "evaluation": "training",
    "bench": "bench",
}  # marked whole


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of rooms that take long, so that `make check` can leave them out, and put them first.

    Workers of pytest-xdist take file by file: where the long ones come last, one works while the others wait.
    """
    for item in items:
        if (room := _room(item)) in ROOMS:
            item.add_marker(ROOMS[room])
    items.sort(key=lambda item: [*ROOMS, "", "changed", "app", "cli", _room(item)].index(_room(item)))


def _room(item: pytest.Item) -> str:
    """The folder of a test below ``tests``, empty for the files beside the folders."""
    return "/".join(Path(item.path).relative_to(Path(__file__).parent).parts[:-1])


@pytest.fixture(autouse=True)
def _no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress bar among the lines that a test looks at, however long a busy machine takes."""
    monkeypatch.setattr(progress, "DELAY_SECONDS", 3600.0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The photo collections beside the repository; the test is skipped where they are absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the photo collections in ../shared/data, which do not ship with the project")
    return SHARED / "data"


@pytest.fixture
def toy_source(tmp_path: Path):
    """Return a function that writes a CSV of toy pairs: ``make(n, poisoned=(), name="pairs")`` -> its path."""

    def make(n: int = 60, poisoned: tuple[int, ...] = (), name: str = "pairs", seed: int = 0) -> Path:
        return write_toy_source(tmp_path / name, n, poisoned, seed)

    return make


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """One small readable picture."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that makes a folder once a run, for all workers: ``once(name, make)`` -> its path."""
    return once_a_run(tmp_path_factory)


@pytest.fixture(scope="session")
def scored(once: Once) -> Audit:
    """A scored audit (:func:`tests.explored.scored_audit`), shared by a run: for tests that decide nothing."""
    return Audit.open(once("scored", scored_audit) / "audit")


@pytest.fixture
def own(scored: Audit, tmp_path: Path) -> Audit:
    """A copy of ``scored`` for one test."""
    return Audit.open(shutil.copytree(scored.folder, tmp_path / "own"))
