"""A demo audit, the app on it, and a browser; skipped where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cfbd_core.cli import main
from tests.browser import driver

SCENES, RATE = 1500, 0.04


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if driver.CHROMIUM is None:
        pytest.skip("needs Chromium; `make chromium` installs Debian's")
    with driver.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A demo audit of 1,500 scenes, made once a run."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert main(["demo", "--audit", str(folder), "--scenes", str(SCENES), "--rate", str(RATE)]) == 0
    return folder


@pytest.fixture
def opened(demo, tmp_path) -> Iterator[tuple[str, Path]]:
    """The app on a copy of the demo, and that copy's folder."""
    audit = tmp_path / "audits" / "demo"
    shutil.copytree(demo, audit)
    with driver.app(tmp_path, audit) as url:
        yield url, audit
