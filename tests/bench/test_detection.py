"""The benchmark's cells: what each table needs, computed once, gone on with after a stop."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.analyses import ANALYSES, analyse
from cfbd_core.bench.detection import Experiment, experiments, feasible, run, scenario_id
from cfbd_core.detectors import DETECTORS
from cfbd_core.errors import ParameterError
from cfbd_core.method.metrics import areas_under
from cfbd_core.method.scores import textual_correlation
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.store.bench import BenchResults

EXPERIMENT = Experiment(
    "x",
    "X",
    tuple(PoisonParams("badnets", 0.1, seed=seed) for seed in range(3)),
    ("detector cfbd", "mixture"),
)


def test_every_table_asks_for_its_attacks_rates_and_seeds() -> None:
    found = experiments()
    assert list(found) == [
        "table3",
        "table4",
        "table5",
        "natural",
        "adaptive",
        "several",
        "traps",
        "figures",
    ]
    assert len(found["table3"].scenarios) == 4 * 6 * 3
    assert {s.attack for s in found["table4"].scenarios} == set(ATTACKS)
    assert {s.targets for s in found["table4"].scenarios if s.attack == "mmpoison"} == {
        (target,) for target in ("dog", "soccer", "horse", "sheep")
    }
    assert {s.rate for s in found["table5"].scenarios} == {0.02}
    assert all(s.attack == "none" for s in found["traps"].scenarios)
    assert {analysis for e in found.values() for _, analysis in e.cells()} >= set(ANALYSES)
    assert len({scenario_id(s) for s in found["table4"].scenarios}) == len(found["table4"].scenarios)
    with pytest.raises(ParameterError, match="unknown"):
        experiments(attacks=("badnet",))


def test_trojans_own_triggers_are_one_for_all_seeds_and_its_aim_is_told() -> None:
    found = experiments()
    assert {s.options["choice"] for s in found["table4"].scenarios if s.attack == "trojan"} == {"connected"}
    assert {s.options["choice"] for s in found["adaptive"].scenarios} == {"target"}
    optimised = [s for e in found.values() for s in e.scenarios if s.attack in ("trojan", "badclip")]
    assert {s.options["seed"] for s in optimised} == {0}
    assert {s.seed for s in optimised} == {0, 1, 2}


def test_targets_and_origin_take_the_place_of_the_built_in_ones() -> None:
    one, two = experiments(targets=("red ball",)), experiments(targets=("red", "green", "blue"), origin="car")
    for found, first in ((one, "red ball"), (two, "red")):
        apart = [
            s
            for name in ("table3", "table4", "natural", "adaptive", "figures")
            for s in found[name].scenarios
        ]
        assert {s.attack for s in apart} == set(ATTACKS)
        assert {s.targets for s in apart} == {(first,)}
    assert {s.targets for s in one["several"].scenarios} == {("banana", "cheeseburger", "volcano")}
    assert {s.targets for s in two["several"].scenarios} == {("red", "green", "blue")}
    origins = {s.options.get("origin") for s in two["table4"].scenarios if s.attack == "mmpoison"}
    assert origins == {"car"}
    assert not any("origin" in s.options for s in one["table4"].scenarios)
    assert {s.targets for s in experiments()["table4"].scenarios if s.attack == "label-consistent"} == {
        ("basketball",)
    }
    with pytest.raises(ParameterError, match="twice"):
        experiments(targets=("red", "Red"))
    with pytest.raises(ParameterError, match="empty"):
        experiments(targets=("red", ""))


def test_a_changed_default_of_an_attack_makes_new_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    params, other = PoisonParams("badnets"), PoisonParams("sig")
    before = scenario_id(params), scenario_id(other)

    @dataclass(frozen=True)
    class Larger(ATTACKS["badnets"].params):
        size: int = 17

    assert Larger().size != ATTACKS["badnets"].params().size
    monkeypatch.setitem(ATTACKS._own, "badnets", replace(ATTACKS["badnets"], params=Larger))
    assert scenario_id(params) != before[0]
    assert scenario_id(other) == before[1]
    assert scenario_id(PoisonParams("none"))  # which has no parameters of its own


def test_what_cannot_be_planned_is_left_out_with_its_reason() -> None:
    planned = []

    def plan(params: PoisonParams) -> None:
        planned.append((params.attack, params.seed))
        if params.attack == "sig":
            raise ParameterError("no wave")

    scenarios = tuple(PoisonParams(attack, seed=seed) for attack in ("badnets", "sig") for seed in (0, 1))
    asked = [Experiment(name, name.upper(), scenarios, ("faults",)) for name in "ab"]
    left, refused = feasible(asked, plan)
    assert planned == [("badnets", 0), ("sig", 0)]  # once, whatever the seed and the experiment
    assert [experiment.scenarios for experiment in left] == [scenarios[:2]] * 2
    assert [(one.params, one.reason) for one in refused] == [(s, "no wave") for s in scenarios[2:]]


def test_what_is_refused_on_the_way_does_not_stop_the_rest(
    tmp_path: Path, make_poisoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise ParameterError("neurons too few")

    monkeypatch.setitem(ATTACKS._own, "sig", replace(ATTACKS["sig"], trigger=refuses))
    monkeypatch.setitem(ANALYSES, "faults", refuses)
    scenarios = (PoisonParams("sig", 0.1), PoisonParams("badnets", 0.1))
    results = BenchResults(tmp_path / "r.duckdb", {})
    reports = []
    refused = run(
        [Experiment("x", "X", scenarios, ("faults", "mixture"))],
        results,
        make_poisoner(),
        lambda *report: reports.append(report),
    )
    assert [(cell.params["attack"], cell.analysis) for cell in results.cells()] == [("badnets", "mixture")]
    assert [(one.params.attack, one.analysis, one.reason) for one in refused] == [
        ("sig", None, "neurons too few"),
        ("badnets", "faults", "neurons too few"),
    ]
    assert reports == [("cells", 0, 4), ("cells", 2, 4), ("cells", 3, 4), ("cells", 4, 4)]


def test_tables_share_cells() -> None:
    found = experiments()
    shared = {(scenario_id(s), a) for s, a in found["table3"].cells()}
    again = {(scenario_id(s), a) for s, a in found["table4"].cells()}
    assert len(shared & again) == 6 * 2 * 3 * 2  # attacks, rates, seeds, detectors


def test_a_stopped_benchmark_goes_on(tmp_path: Path, make_poisoner, monkeypatch: pytest.MonkeyPatch) -> None:
    results = BenchResults(tmp_path / "r.duckdb", {})

    def stop_at(_stage: str, done: int, _total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([EXPERIMENT], results, make_poisoner(), stop_at)
    kept = results.cells()
    assert len(kept) == 3
    poisoner = make_poisoner()
    made = []
    whole = type(poisoner).scenario
    monkeypatch.setattr(
        type(poisoner), "scenario", lambda self, params: made.append(params) or whole(self, params)
    )
    reports = []
    run([EXPERIMENT], results, poisoner, lambda *report: reports.append(report))
    assert [params.seed for params in made] == [1, 2]  # of the first nothing was missing
    assert reports == [("cells", done, 6) for done in range(3, 7)]
    assert [cell for cell in results.cells() if cell in kept] == kept
    run([EXPERIMENT], results, make_poisoner())
    assert len(made) == 2


@pytest.mark.parametrize(
    "name", [*ANALYSES, *(f"detector {name}" for name, one in DETECTORS.items() if not one.trains)]
)
def test_every_analysis_is_plain_json(name: str, make_poisoner) -> None:
    for params in (PoisonParams("badnets", 0.1), PoisonParams("none")):
        scenario = make_poisoner().scenario(params)
        if params.attack == "none" and name in ("faults", "distributions"):
            continue  # these compare poisons with the rest
        assert json.loads(json.dumps(analyse(name, scenario), allow_nan=False))


def test_the_ablation_of_a_small_source_ends_where_its_pairs_do(make_poisoner, base) -> None:
    def qs(pairs: int) -> list[int]:
        scenario = make_poisoner().scenario(PoisonParams("badnets", 0.1))
        scores, found = scenario.pairs.scores, scenario.pairs
        known = np.where(np.arange(len(base.keys)) < pairs, scores.consistency, np.nan)
        scenario = replace(scenario, pairs=replace(found, scores=replace(scores, consistency=known)))
        return [point["q"] for point in analyse("ablation", scenario)["q"]]

    assert qs(400) == [50, 100, 200, 300, 400]
    assert qs(200) == [50, 100, 200]


def test_detection_counts_against_the_truth(make_poisoner) -> None:
    scenario = make_poisoner().scenario(PoisonParams("badnets", 0.1))
    found, detection = analyse("detector cfbd", scenario), DETECTORS["cfbd"].detect(scenario.pairs)
    truth = scenario.truth
    assert found["poisons"] == 40
    assert found["tpr"] == pytest.approx(detection.flagged[truth].mean())
    assert found["fpr"] == pytest.approx(detection.flagged[~truth].mean())
    assert found["auroc"] == pytest.approx(areas_under(truth, detection.score)[0])
    assert found["probe_purity"] == pytest.approx(truth[detection.info["probe"]].mean())
    assert found["auroc"] > 0.99


def test_faults_build_the_probe_by_hand(make_poisoner) -> None:
    scenario = make_poisoner().scenario(PoisonParams("badnets", 0.15, seed=4))  # 60 poisons
    found = analyse("faults", scenario)
    assert found["400 0.2"] is None  # 320 poisons are not there
    rng = np.random.default_rng([4, 5])
    poisons, clean = np.flatnonzero(scenario.truth), np.flatnonzero(~scenario.truth)
    probe = np.concatenate([rng.choice(poisons, 40, replace=False), rng.choice(clean, 10, replace=False)])
    slow = areas_under(scenario.truth, textual_correlation(scenario.pairs.text, probe))
    assert found["50 0.2"] == pytest.approx(slow[0])
