"""Logs of training runs as they grow, and their charts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from app.training import charts as train_charts
from app.training import metrics as train_metrics
from tests.app.train_folders import evaluated, step


def test_a_log_is_read_on_and_a_line_half_written_waits(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert train_metrics.curves(tmp_path).step == ()
    log.write_text(step(10, 2.0) + evaluated(10, 0.5, None) + step(20, 1.0)[:30])
    found = train_metrics.curves(tmp_path)
    assert (found.step, found.loss, found.measured_at, found.asr) == ((10,), (2.0,), (10,), (None,))
    with log.open("a") as file:
        file.write(step(20, 1.0)[30:] + "rubbish\n")
    found = train_metrics.curves(tmp_path)
    assert (found.step, found.pairs_per_s) == ((10, 20), 40.0)
    with log.open("a") as file:
        file.write(step(20, 0.5))
    assert train_metrics.curves(tmp_path).loss == (2.0, 0.5)
    os.replace(_written(tmp_path / "new", step(10, 3.0) + step(20, 2.0) + step(30, 1.0)), log)
    assert train_metrics.curves(tmp_path).loss == (3.0, 2.0, 1.0)
    log.write_text(step(10, 4.0))
    assert train_metrics.curves(tmp_path).loss == (4.0,)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_curve_that_grows_stays_where_it_was():
    rng = np.random.default_rng(0)
    values = rng.random(20_000).tolist()
    steps = list(range(20_000))
    for n in (1, 600, 601, 5000, 19_999):
        at, shown = train_charts.thinned(steps[:n], values[:n])
        assert len(at) == len(shown) <= train_charts.MOST_CURVE_POINTS
        stride = round(at[1] - at[0]) if n > 1 else 1
        for place in (0, len(at) // 2, len(at) - 1):  # literally
            part = values[:n][place * stride : (place + 1) * stride]
            assert shown[place] == pytest.approx(sum(part) / len(part))
    whole, longer = (
        train_charts.thinned(steps[:1300], values[:1300]),
        train_charts.thinned(steps[:2000], values[:2000]),
    )
    assert np.array_equal(whole[1][:-1], longer[1][: len(whole[1]) - 1])


def test_names_of_runs_are_plain_text_in_charts():
    curves = train_metrics.Curves((1,), (1.0,), (None,), (1,), (0.5,), (None,))
    names = ["CFBD · <b>a</b>"]
    bars, lines = train_charts.compared(names, [0.5], [None]), train_charts.overlaid(names, [curves], 1)
    assert bars.figure.data[0].y == ("CFBD<br>&lt;b&gt;a&lt;/b&gt;",)
    assert lines.figure.data[0].name == "CFBD · &lt;b&gt;a&lt;/b&gt;"
    assert bars.data["run"] == lines.data["run"][:1] == names


def test_charts_hold_no_number_that_a_browser_cannot_read():
    curves = train_metrics.Curves((1, 2), (1.0, None), (None, None), (2,), (0.5,), (None,))
    for chart in (
        train_charts.loss(curves, None),
        train_charts.measured(curves, 2, "none"),
        train_charts.overlaid(["a", "b"], [curves, train_metrics.Curves()], None),
        train_charts.compared(["a"], [0.5], [None]),
    ):
        assert len({len(column) for column in chart.data.values()}) == 1
        json.loads(chart.figure.to_json(), parse_constant=pytest.fail)
