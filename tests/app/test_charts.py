from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from app import charts, heat_map, widgets
from cfbd_core import Audit, SplitParams
from cfbd_core.workbench.explorer import Explorer
from tests.app.conftest import HOSTILE, PAIRS, alter, make_audit, write_source

KS, GAMMAS = [1, 2, 3], [0.5, 0.9]


@pytest.fixture(scope="session")
def explorer(_made: Path) -> Explorer:
    return Explorer(Audit.open(_made / "audits" / "toy"))


def drawn(preview, log: bool = True) -> list[charts.Chart]:
    """Every chart of the app."""
    explorer = preview.pairs
    benign, poisons = explorer.benign_by(KS, GAMMAS)
    xy, index = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20)
    groups = {"kept": (charts.GREY, index < 12), "removed": (charts.ORANGE, index >= 12)}
    z = ("z", preview.z.values[:20])
    return [
        charts.consistency(preview, log, explorer.has_truth),
        charts.z_histogram(preview, log, explorer.has_truth),
        heat_map.heat_map("benign_by_k_gamma", "D_b", KS, GAMMAS, benign, (2, 0.9)),
        heat_map.heat_map("poisons_by_k_gamma", "Poisons", KS, GAMMAS, poisons, (9, 0.01)),
        charts.scatter_map(xy, groups, None, index, np.full(20, 7.0)),
        charts.scatter_map(xy, {}, z, index, outline=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))),
        *([charts.precision_recall(preview), charts.roc(preview)] if preview.z.roc else []),
    ]


@pytest.mark.parametrize("k", range(1, 11))
def test_every_chart_offers_whole_columns_and_draws_finite_numbers(explorer, k):
    rule = ("quantile", "posterior")[k % 2]
    sound(explorer.preview(SplitParams(k=k, q=8, rule=rule)), log=k % 3 == 0)


def strict(chart: charts.Chart) -> None:
    """A browser's JSON knows neither NaN nor infinity."""
    json.loads(chart.figure.to_json(), parse_constant=lambda name: pytest.fail(f"{chart.name}: {name}"))


def sound(preview, log: bool = True) -> None:
    """Check that every chart's columns are equally long, and that no browser meets a NaN or an infinity."""
    for chart in drawn(preview, log):
        assert len({len(column) for column in chart.data.values()}) == 1, chart.name
        assert len({*chart.data}) == len(chart.data)
        strict(chart)
        assert chart.alt
        for trace in chart.figure.data:
            for axis in ("x", "y"):
                values = getattr(trace, axis)
                if values is not None and trace.type != "heatmap":
                    assert np.isfinite(np.asarray(values, float)).all(), (chart.name, trace.name)


@pytest.mark.parametrize(
    "params",
    [
        SplitParams(k=1, q=1),  # D_p's one member has no z
        SplitParams(k=2, q=PAIRS),  # everything is D_p: no null, γ_z is infinite
        SplitParams(k=2, q=8, gamma_z_rule="valley"),
        SplitParams(k=2, q=8, gamma_z_rule="mixture"),
        SplitParams(k=2, q=8, gamma_z_rule="manual", gamma_z=1e30),
        SplitParams(k=2, q=8, gamma=1e-12),
        SplitParams(k=2, q=8, gamma=1 - 1e-12, recheck=False),
    ],
    ids=repr,
)
def test_extreme_sliders_are_drawn(explorer, params):
    sound(explorer.preview(params))


@pytest.mark.parametrize(
    "known", ["NULL", "false", "true", "CASE WHEN row % 3 = 0 THEN NULL ELSE poisoned END"]
)
def test_charts_without_full_truth_are_drawn(audit, known):
    alter(audit, f"UPDATE pairs SET poisoned = {known}")
    sound(Explorer(Audit.open(audit.folder)).preview(SplitParams(k=2, q=8)))


@pytest.mark.parametrize("pairs", [2, 3, 10])
def test_charts_of_few_pairs_are_drawn(root, mapping, pairs):
    few = Explorer(make_audit(root / "few", write_source(root / "s", (), pairs=pairs), mapping, split=False))
    xy = np.zeros((pairs, 2))
    for q in {1, pairs}:
        preview = few.preview(SplitParams(k=2, q=q))
        for chart in (
            charts.consistency(preview, True, True),
            charts.z_histogram(preview, True, True),
            charts.scatter_map(xy, {}, ("z", preview.z.values), np.arange(pairs), np.ones(pairs)),
        ):
            strict(chart)


def test_histograms_hold_every_pair_once(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    for chart in (charts.consistency(preview, True, False), charts.z_histogram(preview, True, False)):
        by_subset = [int(np.sum(chart.data[name])) for name in ("benign", "top_q", "suspicious")]
        assert by_subset == [preview.counts.benign, preview.counts.poisoned, preview.counts.suspicious]


def test_the_components_add_up_to_the_mixture_and_to_all_pairs(explorer):
    preview = explorer.preview(SplitParams(k=3, q=8))
    chart = charts.consistency(preview, False, False)
    parts = sum(np.asarray(chart.data[f"component_{number}"]) for number in (1, 2, 3))
    mixture = next(trace for trace in chart.figure.data if trace.name == "mixture")
    np.testing.assert_allclose(parts, mixture.y)
    assert parts.sum() == pytest.approx(PAIRS, rel=0.1)  # tails beyond the histogram are cut


def test_known_poisons_are_drawn_where_they_are(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    for chart in (charts.consistency(preview, True, True), charts.z_histogram(preview, True, True)):
        poisons = next(trace for trace in chart.figure.data if trace.name == "known poisons")
        assert sum(poisons.y) == len(explorer.poisons)


def test_the_cut_and_the_threshold_stand_where_the_split_has_them(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    lines = [shape.x0 for shape in charts.consistency(preview, True, False).figure.layout.shapes]
    assert preview.coarse.cut in lines
    lines = [shape.x0 for shape in charts.z_histogram(preview, True, False).figure.layout.shapes]
    assert preview.gamma_z.value in lines


def test_the_curves_and_the_diamond_are_those_of_the_report(explorer):
    preview = explorer.preview(SplitParams(k=2, q=8))
    truth = explorer.audit.report()["truth"]
    for chart, across, up in (
        (charts.precision_recall(preview), "recall", "precision"),
        (charts.roc(preview), "fpr", "tpr"),
    ):
        diamond = chart.figure.data[-1]
        wanted = {
            "recall": truth["tpr"],
            "precision": truth["precision"],
            "fpr": truth["fpr"],
            "tpr": truth["tpr"],
        }
        assert diamond.y[0] == pytest.approx(wanted[up])
        assert diamond.x[0] == pytest.approx(
            max(wanted[across], 0.5 / (PAIRS - 10)) if across == "fpr" else wanted[across]
        )
        assert [name for name in chart.data if name.endswith("_z")] == [
            f"{across}_z",
            f"{up}_z",
            "threshold_z",
        ]
    area = np.trapezoid(
        [v for v in chart.data["tpr_z"] if v is not None], [v for v in chart.data["fpr_z"] if v is not None]
    )
    assert area == pytest.approx(truth["auroc_z"], abs=1e-6)


def test_the_heat_map_frames_the_sliders_place(explorer):
    benign, _ = explorer.benign_by(KS, GAMMAS)
    chart = heat_map.heat_map("benign", "D_b", KS, GAMMAS, benign, at=(2, 0.88))
    frame = chart.figure.layout.shapes[0]
    assert (frame.x0, frame.y0) == (0.5, 0.5)
    assert list(chart.data["pairs"]) == benign.ravel().tolist()


@pytest.mark.parametrize("name", ["benign_by_k_gamma", "poisons_by_k_gamma"])
def test_every_count_on_a_heat_map_can_be_read(name):
    cells, shares = np.arange(80).reshape(10, 8), [0.1 * n for n in range(1, 9)]
    ramp = heat_map.ALARM if "poison" in name else heat_map.HEAT
    heat, text = heat_map.heat_map(name, "", list(range(1, 11)), shares, cells, None).figure.data
    assert [list(stop) for stop in heat.colorscale] == [[0.0, ramp[0]], [1.0, ramp[1]]]
    for cell, colour, words in zip(cells.ravel(), text.textfont.color, text.text, strict=True):
        assert heat_map.contrast(colour, heat_map.mixed(*ramp, cell / 79)) >= 4.5
        assert words == str(cell)
    assert list(zip(text.x, text.y, strict=True))[9] == (f"{shares[1]:g}", "2")


def test_contrast_is_that_of_wcag():
    assert heat_map.contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert heat_map.contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    for level in range(256):
        grey = f"#{level:02X}{level:02X}{level:02X}"
        assert max(heat_map.contrast(text, grey) for text in ("#000000", "#FFFFFF")) >= 4.5


def test_no_stranger_s_text_reaches_a_chart(explorer):
    # Plotly reads <b>, <a href> and more in names and hover texts.
    for chart in drawn(explorer.preview(SplitParams(k=2, q=8))):
        text = json.dumps(json.loads(chart.figure.to_json()), ensure_ascii=False)
        for words in (*HOSTILE, "k<b>", "banana", "a red "):
            assert words not in text, chart.name


def test_a_chart_s_data_is_csv(explorer):
    for chart in drawn(explorer.preview(SplitParams(k=2, q=8))):
        rows = list(csv.reader(io.StringIO(widgets.as_csv(chart.data).decode())))
        assert rows[0] == list(chart.data)
        assert len(rows) == 1 + len(next(iter(chart.data.values())))
        float(rows[1][1])


@pytest.mark.parametrize(
    ("number", "short"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12.3k"), (999_499, "999k"), (999_500, "1M"), (3_300_000, "3.3M")],
)
def test_counts_on_the_heat_map_are_short(number, short):
    assert heat_map._short(number) == short
