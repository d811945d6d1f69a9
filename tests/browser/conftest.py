"""A demo audit, the app on it, and a browser; skipped where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cfbd_core import Audit
from cfbd_core.cli import main
from tests.browser import driver
from tests.once import Once

SCENES, RATE = 1500, 0.04


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if driver.CHROMIUM is None:
        pytest.skip("needs Chromium; `make chromium` installs Debian's")
    with driver.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def demo(once: Once) -> Path:
    """A demo audit of 1,500 scenes, made once a run."""

    def make(folder: Path) -> None:
        folder.mkdir()
        audit = str(folder / "demo")
        assert main(["demo", "--audit", audit, "--scenes", str(SCENES), "--rate", str(RATE)]) == 0

    return once("demo", make) / "demo"


@pytest.fixture(scope="session")
def worked_on(demo: Path, once: Once) -> Path:
    """A copy of the demo with a map, and with decisions of two people in its log."""

    def make(folder: Path) -> None:
        shutil.copytree(demo, folder / "demo")
        assert main(["map", "--audit", str(folder / "demo"), "--points", "1000"]) == 0
        decide(folder / "demo")

    return once("worked_on", make) / "demo"


def decide(folder: Path) -> None:
    """Decide on some of an audit's flagged pairs, on one and on many, with notes, and undo some of it."""
    audit = Audit.open(folder)
    rows = audit.pairs("verdict = 'poisoned'", order_by="z DESC, row")["row"].to_numpy()
    audit.decide_rows(rows[:20], 2, who="Ada", note="all of one target", filter={"show": "removed"})
    for number, row in enumerate(rows[20:26]):
        audit.decide_rows(
            row[None], 1 + number % 3, who="Bob", note="the same patch again" if number else None
        )
    audit.undo(who="Bob")


@pytest.fixture
def opened(demo, tmp_path) -> Iterator[tuple[str, Path]]:
    """The app on a copy of the demo, and that copy's folder."""
    yield from _app_on(demo, tmp_path)


@pytest.fixture
def opened_worked_on(worked_on, tmp_path) -> Iterator[tuple[str, Path]]:
    """The app on a copy of what was worked on, and that copy's folder."""
    yield from _app_on(worked_on, tmp_path)


def _app_on(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    audit = root / "audits" / "demo"
    shutil.copytree(folder, audit)
    with driver.app(root, audit) as url:
        yield url, audit
