"""Tables and figures: what the cells hold, beside the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go
import pytest

from cfbd_core.bench.detection import NotMeasured, experiments, run, scenario_id
from cfbd_core.bench.figures import make_figures, write_figures
from cfbd_core.bench.tables import Tables, not_measured, text_of_not_measured
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.store.bench import BenchResults, Cell

EVIDENCE = {"level": "strong", "cohesion": 0.5, "null_max": 0.2}


def cells_of(name: str, **values: list[float | None]) -> list[Cell]:
    """A cell for each seed of the experiment's scenarios; ``values`` are by seed."""
    found = []
    for scenario, analysis in experiments(attacks=("badnets",))[name].cells():
        result = {key: by_seed[scenario.seed] for key, by_seed in values.items()}
        result |= {"evidence": EVIDENCE, "pairs": 1000, "flagged": scenario.seed}
        found.append(Cell(scenario_id(scenario), analysis, scenario.to_dict(), result, 2.0))
    return found


def row(text: str, *starts: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("| " + " | ".join(starts) + " |")]
    assert len(lines) == 1, text
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_table_3_shows_mean_and_half_the_range_beside_the_paper() -> None:
    cells = cells_of("table3", tpr=[1.0, 0.99, 0.98], fpr=[0.001] * 3, auroc=[0.5] * 3, auprc=[0.5] * 3)
    text = Tables.from_cells(cells).markdown([experiments(attacks=("badnets",))["table3"]])
    assert row(text, "0.6%", "CFBD")[2] == "99.00 ± 1.00 (0.10)"
    assert row(text, "0.6%", "CFBD, paper: TPR")[2] == "98.46"
    assert row(text, "0.3%", "ABL, paper: TPR")[2] == "29.57"


def test_detectors_are_ranked_by_what_table_3_measured() -> None:
    values = {"tpr": [1.0] * 3, "fpr": [0.0] * 3, "auroc": [0.9, 0.8, 0.7], "auprc": [0.25] * 3}
    experiment = experiments(attacks=("badnets", "sig"))["table3"]
    text = Tables.from_cells(cells_of("table3", **values)).markdown([experiment])
    ranked = text.partition("### Ranking by detector")[2]
    assert row(ranked, "Detector", "Poison rate")[2:] == ["BadNets", "SIG"]
    for rate in ("0.6%", "0.3%"):
        assert row(ranked, "SafeCLIP posterior", rate)[2:] == ["0.8000 ± 0.1000 / 0.2500", "–"]
    assert "0.5%" not in ranked
    assert "ABL |" not in ranked  # it was not measured


def test_what_was_not_measured_is_told_with_its_reason_and_seeds() -> None:
    refused = [
        NotMeasured(PoisonParams("label-consistent", 0.006, targets=("sushi",), seed=seed), "none name it")
        for seed in (0, 1)
    ]
    refused += [NotMeasured(PoisonParams("mmpoison", 0.006, options={"origin": "car"}), "too few", "faults")]
    refused += [NotMeasured(PoisonParams("none", mismatched=0.01), "no trap")]
    told = not_measured(refused)
    assert [(one["name"], one["seeds"], one["analysis"], one["reason"]) for one in told] == [
        ("Label-consistent (sushi), 0.6%", [0, 1], None, "none name it"),
        ("mmPoison (banana) from car, 0.6%", [0], "faults", "too few"),
        ("1% mismatched captions", [0], None, "no trap"),
    ]
    assert json.loads(json.dumps(told)) == told
    assert text_of_not_measured(refused).splitlines() == [
        "## Not measured",
        "",
        "- Label-consistent (sushi), 0.6%: none name it",
        "- mmPoison (banana) from car, 0.6%, faults: too few",
        "- 1% mismatched captions: no trap",
    ]
    assert text_of_not_measured([]) == ""


def test_table_4_leaves_out_what_is_not_measured_and_tells_undefined_figures() -> None:
    experiment = experiments(attacks=("badnets", "blended"))["table4"]
    values = {name: [0.99995, 0.99995, None] for name in ("auroc", "auprc", "tpr", "fpr")}
    values |= {name: [None] * 3 for name in ("auroc_consistency", "auprc_consistency")}
    text = Tables.from_cells(cells_of("table4", probe_purity=[0.5] * 3, **values)).markdown([experiment])
    found = row(text, "BadNets", "0.3%", "Eq. 6")
    assert found[3:5] == ["1.0000", "0.9999"]
    assert found[8] == "–"
    assert row(text, "BadNets", "0.3%", "centred")[3] == "1.0000"
    assert found[-1] == "strong"
    assert "Blended" not in text


def test_table_5_names_the_papers_cell_beside_ours() -> None:
    keys = [
        f"{q} {share}{kind}" for q in (50, 400) for share in (0.2, 0.4, 0.6, 0.8) for kind in ("", " centred")
    ]
    cells = cells_of("table5", **{key: [0.95] * 3 for key in keys})
    text = Tables.from_cells(cells).markdown([experiments(attacks=("badnets",))["table5"]])
    assert row(text, "BadNets")[4] == "0.9500 (0.9217)"
    assert row(text, "BadNets, centred z")[8] == "0.9500 (0.9905)"


def test_traps_show_every_seed() -> None:
    text = Tables.from_cells(cells_of("traps")).markdown([experiments(attacks=("badnets",))["traps"]])
    assert row(text, "no attack", "Eq. 6")[2:4] == ["0, 1, 2", "0.200"]
    assert row(text, "5% mismatched captions", "centred")[4] == "strong, strong, strong"


def test_nothing_measured_gives_no_table() -> None:
    assert Tables.from_cells([]).markdown(experiments().values()) == ""


def test_cost_counts_an_experiments_own_cells() -> None:
    found = experiments(attacks=("badnets",))
    tables = Tables.from_cells(cells_of("table5") + cells_of("traps"))
    assert tables.cost(found["table5"]) == 2.0 * 3


def test_figures_are_drawn_from_cells(tmp_path: Path, make_poisoner, monkeypatch: pytest.MonkeyPatch) -> None:
    results = BenchResults(tmp_path / "r.duckdb", {})
    experiment = experiments(seeds=(0,), attacks=("badnets", "sig"))["figures"]
    run([experiment], results, make_poisoner())
    figures = make_figures(results.cells())
    assert list(figures) == ["figure_2", "figure_5", "figure_6", "figure_7a"]
    assert [note.text for note in figures["figure_5"].layout.annotations] == ["BadNets", "SIG"]
    assert len([trace for trace in figures["figure_6"].data if trace.type == "scatter"]) == 2

    def no_browser(self: go.Figure, *_: object, **__: object) -> None:
        raise RuntimeError("Kaleido requires Google Chrome")

    monkeypatch.setattr(go.Figure, "write_image", no_browser)
    written, missing = write_figures(results.cells(), tmp_path / "figures")
    assert [path.suffix for path in written] == [".html"] * 4
    assert missing is not None
    assert missing.startswith("no PNGs")
    assert "requires Google Chrome" in missing
