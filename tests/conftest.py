"""Shared fixtures: a toy world in which pictures have a colour and captions name it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from cfbd_core import Audit
from cfbd_core.cli import progress
from tests.explored import scored_audit
from tests.toy import COLOURS, banana_caption, toy_caption, toy_picture

# A machine under load takes its time: what is too slow, the benchmarks tell.
settings.register_profile("cfbd", deadline=None)
settings.load_profile("cfbd")

SHARED = Path(__file__).resolve().parents[2] / "shared"


ROOMS = {
    "browser": "browser",
    "training": "training",
    "evaluation": "training",
    "bench": "bench",
}  # marked whole


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of rooms that take long, so that `make check` can leave them out."""
    for item in items:
        room = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        if room in ROOMS:
            item.add_marker(ROOMS[room])


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
        rng = np.random.default_rng(seed)
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["key", "image", "caption", "poisoned"])
            for index in range(n):
                colour = list(COLOURS)[index % len(COLOURS)]
                picture = toy_picture(colour, rng)
                picture.save(folder / f"{index:04d}.png")
                is_poison = index in poisoned
                caption = banana_caption(index) if is_poison else toy_caption(colour, rng)
                writer.writerow([f"{index:04d}", f"{index:04d}.png", caption, int(is_poison)])
        return folder / "pairs.csv"

    return make


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """One small readable picture."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    return path


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A scored audit (:func:`tests.explored.scored_audit`), shared by a module: for tests that decide nothing."""
    return scored_audit(tmp_path_factory.mktemp("scored") / "made")


@pytest.fixture
def own(scored: Audit, tmp_path: Path) -> Audit:
    """A copy of ``scored`` for one test."""
    return Audit.open(shutil.copytree(scored.folder, tmp_path / "own"))
