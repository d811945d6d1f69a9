"""What a watcher is told of a job: the stage that it is at, and a rate of that stage's own time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cfbd_core.cli import progress as cli_progress
from cfbd_core.cli.progress import StageBars
from cfbd_core.jobs.process import PROGRESS_VARIABLE


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    held = Clock()
    monkeypatch.setattr("tqdm.std.time", held)
    monkeypatch.setattr(cli_progress, "WRITE_SECONDS", 0.0)
    monkeypatch.setattr(cli_progress, "DELAY_SECONDS", 0.5)
    return held


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What a watcher reads now."""
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress.json"))
    return lambda: json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))


def test_what_comes_in_between_is_told_and_costs_the_stage_around_it_no_rate(clock, told) -> None:
    with StageBars({"measuring": "pictures"}) as bars:
        for done in range(100, 600, 100):
            clock.now += 1
            bars.report("train", done, 1000)
        assert (told()["stage"], told()["done"]) == ("train", 500)
        before = told()["seconds_left"]
        for done in (10, 20, 30):
            clock.now += 200
            bars.aside("measuring", done, 30)
        assert (told()["stage"], told()["done"], told()["total"]) == ("measuring", 30, 30)
        clock.now += 1
        bars.report("train", 600, 1000)
        assert (told()["stage"], told()["done"]) == ("train", 600)
        assert told()["seconds_left"] == pytest.approx(0.8 * before, rel=0.2)


def test_a_stage_that_begins_anew_counts_from_its_beginning(clock, told) -> None:
    with StageBars({}) as bars:
        for _ in range(2):  # two triggers, one after the other
            for done in (5, 10):
                clock.now += 1
                bars.report("triggers", done, 10)
        assert (told()["done"], told()["total"]) == (10, 10)
        assert 0 < told()["rate"] < 100
