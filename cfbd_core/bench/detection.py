"""``cfbd bench detection``: which scenarios make the paper's detection results, and what is measured on each.

A cell is one analysis of one scenario. Cells that several tables share are computed once, and a cell that
is done is never computed again: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.plan import PoisonParams
from cfbd_core.bench.analyses import analyse
from cfbd_core.bench.paper import TABLE_3_RATES
from cfbd_core.bench.scenario import Poisoner
from cfbd_core.detectors import DETECTORS
from cfbd_core.errors import ParameterError
from cfbd_core.store.bench import BenchResults, Cell

SEEDS = (0, 1, 2)
PIXEL_ATTACKS = ("badnets", "blended", "sig", "wanet", "trojan", "issba")
ALL_ATTACKS = (*PIXEL_ATTACKS, "label-consistent", "mmpoison", "badclip")
TABLE_4_RATES = (0.006, 0.003)
TABLE_5_RATE = 0.02  # q = 400 of which 20 % are benign needs 320 poisons
LABEL_CONSISTENT_TARGET = "basketball"  # captions must name it; five of Flickr8k's name a banana
MMPOISON_TARGETS = ("dog", "soccer", "horse", "sheep")
SEVERAL_TARGETS = ("banana", "cheeseburger", "volcano")
TRAPS: tuple[dict[str, Any], ...] = (
    {},
    {"mismatched": 0.01},
    {"mismatched": 0.05},
    {"duplicate_captions": 0.2},
    {"boilerplate": 0.02},
    {"near_duplicates": 0.02},
)
BOTH = ("detector cfbd", "detector cfbd_centred")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Experiment:
    """One table or figure: its scenarios, and the analyses that each of them needs."""

    name: str
    title: str
    scenarios: tuple[PoisonParams, ...]
    analyses: tuple[str, ...]

    def cells(self) -> list[tuple[PoisonParams, str]]:
        """What has to be measured for it."""
        return [(scenario, analysis) for scenario in self.scenarios for analysis in self.analyses]


def experiments(
    seeds: Sequence[int] = SEEDS, attacks: Iterable[str] = ALL_ATTACKS, target: str = SEVERAL_TARGETS[0]
) -> dict[str, Experiment]:
    """Every table and figure, by name, for these seeds and attacks.

    Raises ParameterError for an attack that is not known.
    """
    attacks = tuple(attacks)
    unknown = sorted(set(attacks) - set(ATTACKS))
    if unknown:
        raise ParameterError(f"attack {unknown[0]!r} is unknown; there are: {', '.join(ATTACKS)}")
    pixel = [attack for attack in PIXEL_ATTACKS if attack in attacks]
    every = tuple(f"detector {name}" for name, detector in DETECTORS.items() if not detector.trains)

    def of(rates: Iterable[float], names: Iterable[str], **others: Any) -> tuple[PoisonParams, ...]:
        return tuple(
            scenario
            for rate in rates
            for name in names
            for seed in seeds
            for scenario in _scenarios(name, rate, seed, target, **others)
        )

    traps = tuple(PoisonParams("none", 0.0, seed=seed, **trap) for trap in TRAPS for seed in seeds)
    several = tuple(
        PoisonParams("badnets", rate, targets=SEVERAL_TARGETS, captions=captions, seed=seed)
        for rate in TABLE_4_RATES
        for captions in ("templates", "natural")
        for seed in seeds
    )
    found = (
        Experiment("table3", "Table 3: TPR and FPR by poison rate", of(TABLE_3_RATES, pixel), every),
        Experiment("table4", "Table 4: AUROC and AUPRC", of(TABLE_4_RATES, attacks), BOTH),
        Experiment(
            "table5", "Table 5: AUROC where D_p holds benign pairs", of([TABLE_5_RATE], pixel), ("faults",)
        ),
        Experiment(
            "natural",
            "Natural captions for every attack",
            of(TABLE_4_RATES, pixel, captions="natural"),
            BOTH,
        ),
        Experiment(
            "adaptive",
            "An adversary whose patch aims at the encoder that audits",
            of(TABLE_4_RATES, [attack for attack in pixel if attack == "trojan"], choice="target"),
            BOTH,
        ),
        Experiment("several", "Three targets at once", several if "badnets" in attacks else (), BOTH),
        Experiment("traps", "No attack, and benign traps", traps, BOTH),
        Experiment(
            "figures",
            "Figures 2 and 5–7",
            of([0.006], pixel)[:: len(seeds)],
            ("distributions", "curves", "ablation", "mixture"),
        ),
    )
    return {experiment.name: experiment for experiment in found}


def run(
    chosen: Iterable[Experiment],
    results: BenchResults,
    poisoner: Poisoner,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Measure every missing cell; ``progress(done, total)`` counts cells."""
    wanted = {
        (scenario_id(scenario), analysis): scenario
        for experiment in chosen
        for scenario, analysis in experiment.cells()
    }
    missing: dict[str, list[str]] = {}
    done = results.done() & set(wanted)
    for name, analysis in wanted:
        if (name, analysis) not in done:
            missing.setdefault(name, []).append(analysis)
    finished = len(done)
    progress(finished, len(wanted))
    for name, analyses in missing.items():
        params = wanted[name, analyses[0]]
        began = time.perf_counter()
        scenario = poisoner.scenario(params)
        shared = (time.perf_counter() - began) / len(analyses)
        for analysis in analyses:
            began = time.perf_counter()
            found = analyse(analysis, scenario)
            seconds = time.perf_counter() - began + shared
            results.put(Cell(name, analysis, params.to_dict(), found, seconds))
            finished += 1
            progress(finished, len(wanted))


def scenario_id(params: PoisonParams) -> str:
    """A short id that changes whenever a parameter does."""
    return hashlib.sha256(json.dumps(params.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _scenarios(attack: str, rate: float, seed: int, target: str, **others: Any) -> Iterable[PoisonParams]:
    """The scenarios of an attack; its triggers are those of seed 0, for optimising one takes minutes."""
    targets = {"label-consistent": (LABEL_CONSISTENT_TARGET,), "mmpoison": MMPOISON_TARGETS}.get(
        attack, (target,)
    )
    options = {"seed": 0} if ATTACKS[attack].optimised else {}
    if attack == "trojan":
        options |= {"choice": others.pop("choice", "connected")}
    for one in targets:
        yield PoisonParams(attack, rate, targets=(one,), seed=seed, options=options, **others)
