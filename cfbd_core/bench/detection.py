"""``cfbd bench detection``: which scenarios make the paper's detection results, and what is measured on each.

A cell is one analysis of one scenario. Cells that several tables share are computed once, and a cell that
is done is never computed again: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cfbd_core.attacks import ATTACKS, Attack
from cfbd_core.bench.analyses import analyse
from cfbd_core.bench.paper import TABLE_3_RATES
from cfbd_core.bench.scenario import Poisoner
from cfbd_core.detectors import DETECTORS
from cfbd_core.errors import EncoderError, ParameterError
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.poisoning.plan import PoisonParams, settings
from cfbd_core.store.bench import BenchResults, Cell

SEEDS = (0, 1, 2)
TABLE_4_RATES = (0.006, 0.003)
TABLE_5_RATE = 0.02  # q = 400 of which 20 % are benign needs 320 poisons
TARGET = "banana"
LABEL_CONSISTENT_TARGET = "basketball"  # captions must name it; five of Flickr8k's name a banana
MMPOISON_TARGETS = ("dog", "soccer", "horse", "sheep")
SEVERAL_TARGETS = (TARGET, "cheeseburger", "volcano")
TRAPS: tuple[dict[str, Any], ...] = (
    {},
    {"mismatched": 0.01},
    {"mismatched": 0.05},
    {"duplicate_captions": 0.2},
    {"boilerplate": 0.02},
    {"near_duplicates": 0.02},
)
BOTH = ("detector cfbd", "detector cfbd_centred")


@dataclass(frozen=True)
class Experiment:
    """One table or figure: its scenarios, and the analyses that each of them needs."""

    name: str
    title: str
    scenarios: tuple[PoisonParams, ...]
    analyses: tuple[str, ...]

    def cells(self) -> list[tuple[PoisonParams, str]]:
        """Return what has to be measured for it."""
        return [(scenario, analysis) for scenario in self.scenarios for analysis in self.analyses]


@dataclass(frozen=True)
class NotMeasured:
    """A scenario that could not be made, or of which one ``analysis`` was refused, and why."""

    params: PoisonParams
    reason: str
    analysis: str | None = None


def experiments(
    seeds: Sequence[int] = SEEDS,
    attacks: Iterable[str] | None = None,
    targets: Sequence[str] = (),
    origin: str | None = None,
) -> dict[str, Experiment]:
    """Return every table and figure, by name, for these seeds and attacks; None: all that are registered.

    ``targets`` take the place of the built-in ones: the first in every scenario of one target, two and more
    together in those of several. ``origin`` is what mmPoison's pictures show (None: the attack's own).
    Raises ParameterError for an attack that is not known, or a target or origin that is none.
    """
    targets = PoisonParams(targets=tuple(targets)).targets if targets else ()
    attacks = tuple(ATTACKS if attacks is None else attacks)
    unknown = sorted(set(attacks) - set(ATTACKS))
    if unknown:
        raise ParameterError(f"attack {unknown[0]!r} is unknown; there are: {', '.join(ATTACKS)}")
    pixel = [attack for attack in ATTACKS if attack in attacks and is_pixel_attack(ATTACKS[attack])]
    every = tuple(f"detector {name}" for name, detector in DETECTORS.items() if not detector.trains)

    def scenarios_at(rates: Iterable[float], names: Iterable[str], **others: Any) -> tuple[PoisonParams, ...]:
        return tuple(
            scenario
            for rate in rates
            for name in names
            for seed in seeds
            for scenario in _scenarios(name, rate, seed, targets[:1], origin, **others)
        )

    traps = tuple(PoisonParams("none", 0.0, seed=seed, **trap) for trap in TRAPS for seed in seeds)
    together = targets if len(targets) > 1 else SEVERAL_TARGETS
    several = tuple(
        PoisonParams("badnets", rate, targets=together, captions=captions, seed=seed)
        for rate in TABLE_4_RATES
        for captions in ("templates", "natural")
        for seed in seeds
    )
    all_experiments = (
        Experiment(
            "table3", "Table 3: TPR and FPR by poison rate", scenarios_at(TABLE_3_RATES, pixel), every
        ),
        Experiment("table4", "Table 4: AUROC and AUPRC", scenarios_at(TABLE_4_RATES, attacks), BOTH),
        Experiment(
            "table5",
            "Table 5: AUROC where D_p holds benign pairs",
            scenarios_at([TABLE_5_RATE], pixel),
            ("faults",),
        ),
        Experiment(
            "natural",
            "Natural captions for every attack",
            scenarios_at(TABLE_4_RATES, pixel, captions="natural"),
            BOTH,
        ),
        Experiment(
            "adaptive",
            "An adversary whose patch aims at the encoder that audits",
            scenarios_at(TABLE_4_RATES, [attack for attack in pixel if attack == "trojan"], choice="target"),
            BOTH,
        ),
        Experiment("several", "Several targets at once", several if "badnets" in attacks else (), BOTH),
        Experiment("traps", "No attack, and benign traps", traps, BOTH),
        Experiment(
            "figures",
            "Figures 2 and 5–7",
            scenarios_at([0.006], pixel)[:: len(seeds)],
            ("distributions", "curves", "ablation", "mixture"),
        ),
    )
    return {experiment.name: experiment for experiment in all_experiments}


def is_pixel_attack(attack: Attack) -> bool:
    """Return whether it stamps any pair's picture and writes a template's caption: those of the paper's Table 3."""
    return attack.victims == "others" and attack.captions == "templates"


def feasible(
    chosen: Iterable[Experiment], plan: Callable[[PoisonParams], Any]
) -> tuple[list[Experiment], list[NotMeasured]]:
    """Leave out scenarios that ``plan`` refuses by a ParameterError; returns what is left, and what is not.

    Whether a plan can be made does not depend on the seed: of scenarios that differ in it alone one is planned.
    """
    refused: dict[str, str | None] = {}
    left, out = [], {}
    for experiment in chosen:
        left_over = []
        for scenario in experiment.scenarios:
            group = scenario_id(replace(scenario, seed=0))
            if group not in refused:
                refused[group] = _refusal(plan, scenario)
            reason = refused[group]
            if reason is None:
                left_over.append(scenario)
            else:
                out[scenario_id(scenario)] = NotMeasured(scenario, reason)
        left.append(replace(experiment, scenarios=tuple(left_over)))
    return left, list(out.values())


def run(
    chosen: Iterable[Experiment],
    results: BenchResults,
    poisoner: Poisoner,
    progress: Progress = no_progress,
) -> list[NotMeasured]:
    """Measure every missing cell; ``progress`` counts them ("cells"), also those that cannot be had.

    Returns what was refused on the way: an optimiser or a detector may do so where a plan did not.
    """
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
    finished, refused = len(done), []
    progress("cells", finished, len(wanted))
    for name, analyses in missing.items():
        params = wanted[name, analyses[0]]
        began = time.perf_counter()
        try:
            scenario = poisoner.scenario(params)
        except (ParameterError, EncoderError) as error:
            refused.append(NotMeasured(params, str(error)))
            finished += len(analyses)
            progress("cells", finished, len(wanted))
            continue
        shared = (time.perf_counter() - began) / len(analyses)
        for analysis in analyses:
            began = time.perf_counter()
            try:
                result = analyse(analysis, scenario)
            except ParameterError as error:
                refused.append(NotMeasured(params, str(error), analysis))
            else:
                seconds = time.perf_counter() - began + shared
                results.put(Cell(name, analysis, params.to_dict(), result, seconds))
            finished += 1
            progress("cells", finished, len(wanted))
    return refused


def scenario_id(params: PoisonParams) -> str:
    """Return a short id that changes whenever a parameter does, or what the attack makes of those not given."""
    deciding: dict[str, object] = {**params.to_dict()}
    if params.attack in ATTACKS:
        deciding["settings"] = asdict(settings(params))  # a default may change
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


def _refusal(plan: Callable[[PoisonParams], Any], scenario: PoisonParams) -> str | None:
    try:
        plan(scenario)
    except ParameterError as error:
        return str(error)
    return None


def _scenarios(
    attack: str, rate: float, seed: int, target: Sequence[str], origin: str | None, **others: Any
) -> Iterable[PoisonParams]:
    """Return the scenarios of an attack; its triggers are those of seed 0, for optimising one takes minutes."""
    builtin = {"label-consistent": (LABEL_CONSISTENT_TARGET,), "mmpoison": MMPOISON_TARGETS}
    options: dict[str, Any] = {"seed": 0} if ATTACKS[attack].optimised else {}
    if attack == "trojan":
        options |= {"choice": others.pop("choice", "connected")}
    if attack == "mmpoison" and origin is not None:
        options |= {"origin": origin}
    for one in target or builtin.get(attack, (TARGET,)):
        yield PoisonParams(attack, rate, targets=(one,), seed=seed, options=options, **others)
