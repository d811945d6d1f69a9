"""``cfbd bench detection`` from a source to tables and figures, and its bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cfbd_core.bench import detection, job
from cfbd_core.cli import main
from tests.toy import ToyEncoder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy encoder, rates that make poison of few pairs, and no browser for PNGs."""
    monkeypatch.setattr("cfbd_core.embed_job.load_encoder", lambda *_: ToyEncoder())
    monkeypatch.setattr(job, "load_encoder", lambda *_: ToyEncoder())
    monkeypatch.setattr(detection, "TABLE_4_RATES", (0.1, 0.05))
    monkeypatch.setattr("plotly.graph_objects.Figure.write_image", lambda *_, **__: None)


def bench(source: Path, out: Path, *more: str) -> int:
    return main(["bench", "detection", str(source), "--out", str(out), "--mapping", "self", *more, "--json"])


def test_a_benchmark_makes_tables_and_figures_and_does_nothing_twice(toy_source, tmp_path, capsys) -> None:
    source, out = toy_source(120), tmp_path / "out"
    assert bench(source, out, "--attacks", "badnets", "--only", "table4", "--seeds", "2") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["cells"] == 2 * 2 * 2
    assert first["seconds"]["table4"] > 0
    assert "| BadNets | 10.0% |" in first["markdown"]
    assert (out / job.TABLES_NAME).read_text(encoding="utf-8").strip() == first["markdown"]
    stamp = (out / job.RESULTS_NAME).stat().st_mtime_ns
    assert bench(source, out, "--attacks", "badnets", "--only", "table4", "--seeds", "2") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert (out / job.RESULTS_NAME).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--attacks", "badnet"], "attack 'badnet' is unknown"),
        (["--only", "table9"], "--only 'table9'"),
        (["--seeds", "0"], "--seeds 0"),
    ],
)
def test_bad_input_is_one_line_before_any_work(toy_source, tmp_path, capsys, more, told) -> None:
    assert bench(toy_source(60), tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_results_of_other_pairs_are_not_mixed(toy_source, tmp_path, capsys) -> None:
    assert (
        bench(toy_source(120), tmp_path / "out", "--attacks", "badnets", "--only", "table4", "--seeds", "1")
        == 0
    )
    capsys.readouterr()
    other = toy_source(130, name="other", seed=1)
    assert bench(other, tmp_path / "out", "--attacks", "badnets", "--only", "table4", "--seeds", "1") == 2
    assert "out" in capsys.readouterr().err
