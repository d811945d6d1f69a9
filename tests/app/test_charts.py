from __future__ import annotations

import json

import numpy as np
import pytest

from app import charts
from cfbd_core import SplitParams
from cfbd_core.explorer import Explorer


@pytest.fixture
def explorer(audit) -> Explorer:
    return Explorer(audit)


@pytest.mark.parametrize("k", range(1, 11))
@pytest.mark.parametrize("log", [False, True])
def test_every_chart_offers_whole_columns_and_draws_finite_numbers(explorer, k, log):
    preview = explorer.preview(SplitParams(k=k, q=8))
    for chart in (
        charts.consistency(preview, log, poisons=True),
        charts.z_histogram(preview, log, poisons=True),
        charts.precision_recall(preview),
        charts.roc(preview),
    ):
        assert len({len(column) for column in chart.data.values()}) == 1, chart.name
        assert "NaN" not in json.dumps(json.loads(chart.figure.to_json()))


def test_histograms_hold_every_pair_once(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    for chart in (charts.consistency(preview, True, False), charts.z_histogram(preview, True, False)):
        by_subset = [int(np.sum(chart.data[name])) for name in ("benign", "top_q", "suspicious")]
        assert by_subset == [preview.counts.benign, preview.counts.poisoned, preview.counts.suspicious]


def test_the_cut_and_the_threshold_stand_where_the_split_has_them(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    lines = [shape.x0 for shape in charts.consistency(preview, True, False).figure.layout.shapes]
    assert preview.coarse.cut in lines
    lines = [shape.x0 for shape in charts.z_histogram(preview, True, False).figure.layout.shapes]
    assert preview.gamma_z.value in lines


def test_the_heat_map_frames_the_sliders_place(explorer):
    ks, gammas = [1, 2, 3], [0.5, 0.9]
    benign, _ = explorer.benign_by(ks, gammas)
    chart = charts.heat_map("benign", "D_b", ks, gammas, benign, at=(2, 0.88))
    frame = chart.figure.layout.shapes[0]
    assert (frame.x0, frame.y0) == (0.5, 0.5)
    assert list(chart.data["pairs"]) == benign.ravel().tolist()
