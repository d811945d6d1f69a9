"""Benchmarks run: their figures are for people, that there are some is for us."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.training.tiny import tiny_folder

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_loop_is_measured_beside_the_bare_model(tmp_path, monkeypatch, capsys):
    model = tiny_folder(tmp_path / "tiny")
    options = ["--batch-size", "4", "--accumulate", "2", "--steps", "3", "--rounds", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["training.py", "--model", model, *options])
    runpy.run_path(str(BENCHMARKS / "training.py"), run_name="__main__")
    told = json.loads(capsys.readouterr().out)
    assert told["batch"] == 8
    assert told["bare_pairs_per_s"] > 0
    assert told["loop_pairs_per_s"] > 0
    assert told["share_of_bare"] == pytest.approx(told["shares"][0])
