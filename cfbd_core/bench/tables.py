"""The cells of a detection benchmark as Markdown tables, our figures beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.analyses import FAULT_QS, DetectorResult
from cfbd_core.bench.base import Base
from cfbd_core.bench.detection import TABLE_4_RATES, TARGET, Experiment, NotMeasured, scenario_id
from cfbd_core.bench.markdown import header, line, mean_and_spread
from cfbd_core.bench.material import AboutPairs
from cfbd_core.bench.paper import TABLE_3, TABLE_3_RATES, TABLE_4, TABLE_5, TABLE_5_SHARES
from cfbd_core.detectors import DETECTORS
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.store.bench import Cell
from cfbd_core.wording import NONE

Z_KINDS = {"cfbd": "Eq. 6", "cfbd_centred": "centred"}
TRAP_NAMES = {
    "mismatched": "mismatched captions",
    "duplicate_captions": "duplicate captions",
    "boilerplate": "boilerplate captions",
    "near_duplicates": "near-duplicate images",
}
Group = tuple[Any, ...]


@dataclass(frozen=True)
class Tables:
    """Finished cells, found by scenario and analysis."""

    cells: dict[tuple[str, str], Cell]

    @classmethod
    def from_cells(cls, cells: Iterable[Cell]) -> Tables:
        """Take in the cells of a benchmark."""
        return cls({(cell.scenario, cell.analysis): cell for cell in cells})

    def markdown(self, experiments: Iterable[Experiment]) -> str:
        """Return every table that has at least one finished cell."""
        makers: dict[str, Callable[[Experiment], list[str]]] = {
            "table3": self._table_3,
            "table4": self._ranking,
            "table5": self._table_5,
            "natural": self._ranking,
            "adaptive": self._ranking,
            "several": self._ranking,
            "traps": self._traps,
        }
        parts = []
        for experiment in experiments:
            if experiment.name in makers and any(
                (scenario_id(scenario), analysis) in self.cells for scenario, analysis in experiment.cells()
            ):
                parts.append("\n".join([f"## {experiment.title}", "", *makers[experiment.name](experiment)]))
        return "\n\n".join(parts)

    def cost(self, experiment: Experiment) -> float:
        """Seconds that an experiment's finished cells took."""
        wanted = {(scenario_id(scenario), analysis) for scenario, analysis in experiment.cells()}
        return sum(cell.seconds for place, cell in self.cells.items() if place in wanted)

    def _table_3(self, experiment: Experiment) -> list[str]:
        attacks = _distinct(scenario.attack for scenario in experiment.scenarios)
        lines = header(["Poison rate", "Method", *(ATTACKS[name].title for name in attacks)])
        for rate in TABLE_3_RATES:
            here = [scenario for scenario in experiment.scenarios if scenario.rate == rate]
            if not here:
                continue
            for name, detector in DETECTORS.items():
                rows = self._by_attack(here, attacks, name)
                if any(rows):
                    row = [
                        f"{_percent(one['tpr'] for one in by_seed)} ({_percent(one['fpr'] for one in by_seed)})"
                        if by_seed
                        else NONE
                        for by_seed in rows
                    ]
                    lines.append(line([f"{rate:.1%}", detector.title, *row]))
            for method, title in (("cfbd", "CFBD, paper: TPR"), ("abl", "ABL, paper: TPR")):
                values = TABLE_3[method]
                at = TABLE_3_RATES.index(rate)
                lines.append(line([f"{rate:.1%}", title, *(_of_paper(values.get(a), at) for a in attacks)]))
        caption = "TPR (FPR) in per cent at each detector's own operating point."
        return [caption, "", *lines, "", *self._by_detector(experiment)]

    def _by_detector(self, experiment: Experiment) -> list[str]:
        attacks = _distinct(scenario.attack for scenario in experiment.scenarios)
        lines = header(["Detector", "Poison rate", *(ATTACKS[name].title for name in attacks)])
        for rate in TABLE_4_RATES:
            here = [scenario for scenario in experiment.scenarios if scenario.rate == rate]
            for name, detector in DETECTORS.items():
                rows = self._by_attack(here, attacks, name)
                if any(rows):
                    row = [
                        f"{_mean(one['auroc'] for one in by_seed)} / {_mean(one['auprc'] for one in by_seed)}"
                        if by_seed
                        else NONE
                        for by_seed in rows
                    ]
                    lines.append(line([detector.title, f"{rate:.1%}", *row]))
        caption = "AUROC / AUPRC of each detector's score: how well it ranks, wherever it cuts."
        return ["### Ranking by detector", "", caption, "", *lines]

    def _ranking(self, experiment: Experiment) -> list[str]:
        columns = ["Attack", "Poison rate", "z", "AUROC of z", "paper", "AUPRC of z", "TPR %", "FPR %"]
        lines = header([*columns, "AUROC of c", "AUPRC of c", "poisons in D_p %", "evidence"])
        for scenarios in _groups(experiment.scenarios):
            first = scenarios[0]
            paper = TABLE_4.get(first.attack) if experiment.name == "table4" else None
            for detector, title in Z_KINDS.items():
                results = self._of_detector(scenarios, detector)
                if not results:
                    continue
                lines.append(
                    line(
                        [
                            _name(first),
                            f"{first.rate:.1%}",
                            title,
                            _mean(one["auroc"] for one in results),
                            f"{paper:.4f}" if paper else NONE,
                            _mean(one["auprc"] for one in results),
                            _percent(one["tpr"] for one in results),
                            _percent(one["fpr"] for one in results),
                            _mean(one["auroc_consistency"] for one in results),
                            _mean(one["auprc_consistency"] for one in results),
                            _percent(one["probe_purity"] for one in results),
                            ", ".join(_distinct(result["evidence"]["level"] for result in results)),
                        ]
                    )
                )
        return lines

    def _table_5(self, experiment: Experiment) -> list[str]:
        columns = [f"q = {q}, {share:.0%}" for q in FAULT_QS for share in TABLE_5_SHARES]
        lines = header(["Attack", *columns])
        for scenarios in _groups(experiment.scenarios):
            results: list[dict[str, float | None]] = self._results(scenarios, "faults")
            if not results:
                continue
            for kind in ("", " centred"):
                row = []
                for q in FAULT_QS:
                    for at, share in enumerate(TABLE_5_SHARES):
                        paper = TABLE_5.get(scenarios[0].attack, {}).get(q)
                        beside = f" ({paper[at]:.4f})" if paper else ""
                        row.append(_mean(one[f"{q} {share}{kind}"] for one in results) + beside)
                lines.append(line([_name(scenarios[0]) + (", centred z" if kind else ""), *row]))
        rate = f"{experiment.scenarios[0].rate:.0%}" if experiment.scenarios else NONE
        caption = (
            f"AUROC of z with that share of benign pairs in D_p, at {rate} poison; in brackets the paper's."
        )
        return [caption, "", *lines]

    def _traps(self, experiment: Experiment) -> list[str]:
        lines = header(["Pairs", "z", "flagged, by seed", "% at most", "evidence", "cohesion / null's most"])
        for scenarios in _groups(experiment.scenarios):
            for detector, title in Z_KINDS.items():
                results = self._of_detector(scenarios, detector)
                if not results:
                    continue
                evidence = [result["evidence"] for result in results]
                shares = [100 * result["flagged"] / result["pairs"] for result in results]
                lines.append(
                    line(
                        [
                            _trap_name(scenarios[0]),
                            title,
                            ", ".join(str(result["flagged"]) for result in results),
                            f"{max(shares):.3f}",
                            ", ".join(one["level"] for one in evidence),
                            ", ".join(f"{one['cohesion']:.3f} / {one['null_max']:.3f}" for one in evidence),
                        ]
                    )
                )
        return lines

    def _by_attack(
        self, scenarios: Sequence[PoisonParams], attacks: Sequence[str], detector: str
    ) -> list[list[DetectorResult]]:
        """Return a detector's results on each attack, by seed."""
        return [
            self._of_detector([one for one in scenarios if one.attack == attack], detector)
            for attack in attacks
        ]

    def _of_detector(self, scenarios: Sequence[PoisonParams], detector: str) -> list[DetectorResult]:
        return self._results(scenarios, f"detector {detector}")

    def _results(self, scenarios: Sequence[PoisonParams], analysis: str) -> list[Any]:
        places = [(scenario_id(scenario), analysis) for scenario in scenarios]
        return [self.cells[place].result for place in places if place in self.cells]


def about_pairs(about: AboutPairs, base: Base) -> str:
    """Say on what was measured, and what of the source was not looked at."""
    text = (
        f"Measured on {len(base.keys):,} pairs of `{about['source']}` (captions: {about['captions']}, keys: "
        f"{about['keys']}) with the encoder `{base.encoder}`."
    )
    if base.left_out:
        text += f" {base.left_out:,} pairs that are known to be poisoned were left out."
    unreadable = about["pairs"] - len(base.keys)
    if unreadable:
        text += f" {unreadable:,} pairs have no picture that can be read."
    return text


class Refusal(TypedDict):
    """What was not measured, under which parameters and seeds, and why."""

    name: str
    analysis: str | None
    reason: str
    params: dict[str, object]
    seeds: list[int]


def not_measured(refused: Iterable[NotMeasured]) -> list[Refusal]:
    """Return what was not measured, and why, as plain JSON values; those that differ in the seed alone together."""
    entries: dict[str, Refusal] = {}
    for one in refused:
        settings = {name: value for name, value in one.params.to_dict().items() if name != "seed"}
        entry: Refusal = {
            "name": _title(one.params),
            "analysis": one.analysis,
            "reason": one.reason,
            "params": settings,
            "seeds": [],
        }
        entries.setdefault(repr(entry), entry)["seeds"].append(one.params.seed)
    return list(entries.values())


def text_of_not_measured(refused: Iterable[NotMeasured]) -> str:
    """Return what was not measured, and why, as Markdown; empty where all was."""
    lines = [
        f"- {one['name']}{', ' + one['analysis'] if one['analysis'] else ''}: {one['reason']}"
        for one in not_measured(refused)
    ]
    return "\n".join(["## Not measured", "", *lines]) if lines else ""


def _groups(scenarios: Iterable[PoisonParams]) -> list[list[PoisonParams]]:
    """Scenarios that differ in the seed alone, together."""
    by_settings: dict[str, list[PoisonParams]] = {}
    for scenario in scenarios:
        settings = {name: value for name, value in scenario.to_dict().items() if name != "seed"}
        by_settings.setdefault(repr(settings), []).append(scenario)
    return list(by_settings.values())


def _name(params: PoisonParams) -> str:
    name = ATTACKS[params.attack].title
    if params.attack in ("mmpoison", "label-consistent") or params.targets != (TARGET,):
        name += f" ({', '.join(params.targets)})"
    if "origin" in params.options:
        name += f" from {params.options['origin']}"
    if params.options.get("choice") == "target":
        name += ", aimed at the target"
    return f"{name}, {params.captions} captions" if params.captions else name


def _title(params: PoisonParams) -> str:
    return f"{_name(params)}, {params.rate:.1%}" if params.attack in ATTACKS else _trap_name(params)


def _trap_name(params: PoisonParams) -> str:
    parts = [
        f"{getattr(params, name):.0%} {title}" for name, title in TRAP_NAMES.items() if getattr(params, name)
    ]
    return ", ".join(parts) or "no attack"


def _mean(values: Iterable[float | None], digits: int = 4) -> str:
    """Return the mean of a figure over seeds, and its spread."""
    return mean_and_spread([value for value in values if value is not None], digits)


def _percent(values: Iterable[float | None]) -> str:
    return _mean((None if value is None else 100 * value for value in values), 2)


def _of_paper(values: tuple[float, ...] | None, at: int) -> str:
    return NONE if values is None else f"{values[at]:.2f}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
