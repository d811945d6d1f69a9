"""What an auditor finds in so many decisions: by z, by c, and by the queue that learns from them.

    python benchmarks/review.py [--out build/review] [--seeds 0 1 2] [--write benchmarks/WORKBENCH.md]

Flickr8k's odd keys, every caption a pair, encoder `mini` and its F; the copy and its embeddings are kept in the
folder of --out. Scenarios are made in memory as `cfbd bench detection` makes them, at 0.3 % poison, where z alone is
weak. The auditor always answers by the truth. *Left* is how well the order ranks what is still undecided (AUPRC; no
figure where every poison was found). After the last decision a fresh control sample of what is left is answered, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cfbd_core.bench.scenario import Attacker
from cfbd_core.poisoning.options import CopyOptions
from cfbd_core.review.control import JudgedPairs
from cfbd_core.review.queue import Candidates

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from cfbd_core.bench.base import Base, make_base
from cfbd_core.bench.markdown import header, line, mean_and_spread
from cfbd_core.bench.material import Mappings
from cfbd_core.bench.scenario import Poisoner, Scenario
from cfbd_core.detectors import DETECTORS
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.method.metrics import areas_under
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.review import (
    ReviewPairs,
    Risk,
    Shares,
    draw_control,
    estimate,
    learn,
    next_queue,
    reviews_needed,
)
from cfbd_core.store.columns import KEEP, REMOVE
from cfbd_core.wording import NONE

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
BUDGETS = (50, 100, 200, 300)
BATCH = 10  # decisions after which the order is learned anew
CONTROL = 200
RATE = 0.003
SCENARIOS = {
    "mmPoison (sheep)": PoisonParams("mmpoison", RATE, targets=("sheep",)),
    "mmPoison (horse)": PoisonParams("mmpoison", RATE, targets=("horse",)),
    "three natural targets": PoisonParams(
        "badnets", RATE, targets=("banana", "cheeseburger", "volcano"), captions="natural"
    ),
    "BadNets": PoisonParams("badnets", RATE),
}
BEGIN, END = "<!-- review -->", "<!-- /review -->"


@dataclass(frozen=True)
class Case:
    """One scenario with the default split: what an auditor starts from."""

    truth: np.ndarray
    z: np.ndarray
    consistency: np.ndarray
    flagged: np.ndarray
    pairs: ReviewPairs
    seed: int

    @classmethod
    def from_scenario(cls, scenario: Scenario) -> Case:
        """Split by default and make features."""
        found, scores = DETECTORS["cfbd"].detect(scenario.pairs), scenario.pairs.scores
        columns = (found.score, scores.consistency, scores.residual, scores.s_o, scores.s_g, scores.intra)
        pairs = ReviewPairs.from_scores(np.column_stack(columns), scenario.pairs.text, scenario.pairs.image)
        return cls(
            scenario.truth, found.score, scores.consistency, found.flagged, pairs, scenario.params.seed
        )

    def answer(self, decisions: np.ndarray, at: np.ndarray) -> None:
        """Decide on the pairs ``at`` by the truth."""
        decisions[at] = np.where(self.truth[at], REMOVE, KEEP)


@dataclass(frozen=True)
class Trace:
    """Poisons found and the AUPRC of what is left (None: nothing left to find) at each budget; the end."""

    found: list[int]
    auprc: list[float | None]
    decisions: np.ndarray
    risk: Risk | None


def by_order(case: Case, score: np.ndarray) -> Trace:
    decisions = np.zeros(len(case.truth), np.int8)
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    found, auprc = [], []
    for budget in BUDGETS:
        case.answer(decisions, order[:budget])
        found.append(int(case.truth[order[:budget]].sum()))
        auprc.append(of_what_is_left(case, decisions, score))
    return Trace(found, auprc, decisions, None)


def by_queue(case: Case, shares: Shares) -> Trace:
    decisions = np.zeros(len(case.truth), np.int8)
    control = draw_control(JudgedPairs(case.z, case.flagged, decisions), seed=case.seed)
    risk = learn(case.pairs, decisions, case.z, case.seed)
    found, auprc = [], []
    while np.count_nonzero(decisions) < max(BUDGETS):
        queue = next_queue(
            Candidates(risk, case.consistency, decisions), control, count=BATCH, shares=shares, seed=case.seed
        )
        case.answer(decisions, queue.positions)
        risk = learn(case.pairs, decisions, case.z, case.seed)
        if np.count_nonzero(decisions) in BUDGETS:
            found.append(int(np.count_nonzero(decisions == REMOVE)))
            auprc.append(of_what_is_left(case, decisions, risk.values))
    return Trace(found, auprc, decisions, risk)


def of_what_is_left(case: Case, decisions: np.ndarray, score: np.ndarray) -> float | None:
    left = decisions == 0
    areas = areas_under(case.truth[left], score[left])
    return areas[1] if areas else None


WAYS: dict[str, Callable[[Case], Trace]] = {
    "z order": lambda case: by_order(case, case.z),
    "c order": lambda case: by_order(case, case.consistency),
    "learned queue": lambda case: by_queue(case, Shares()),
    "learned queue, no control sample": lambda case: by_queue(case, Shares(control=0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--out", type=Path, default=Path("build/review"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", type=Path, help="put the tables into this file's section Review")
    options = parser.parse_args()
    began = time.perf_counter()
    poisoner, base = made(options.data / "flickr8k", options.out)
    tables = measured(poisoner, base, options.seeds)
    print(tables)
    print(
        f"{time.perf_counter() - began:.0f} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
    )
    if options.write:
        put_section(options.write, tables)


def made(source: Path, out: Path) -> tuple[Poisoner, Base]:
    out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder("mini")
    base = make_base(str(source), out, encoder=encoder, copy=CopyOptions(captions="all", keys="odd"))
    return Poisoner(base, encoder, Mappings("auto", encoder), Attacker(lambda _n: [], out / "triggers")), base


def measured(poisoner: Poisoner, base: Base, seeds: list[int]) -> str:
    finds = header(["scenario", "order", *(f"found in {b} (left: AUPRC)" for b in BUDGETS)])
    ends = header(
        [
            "scenario, seed",
            "poisons left in the kept set",
            "estimate",
            "95 % interval",
            "at most",
            "control pairs more for at most 100",
            "what the model expects",
        ]
    )
    for title, params in SCENARIOS.items():
        traces: dict[str, list[Trace]] = {way: [] for way in WAYS}
        poisons = 0
        for seed in seeds:
            case = Case.from_scenario(poisoner.scenario(replace(params, seed=seed)))
            poisons = int(case.truth.sum())
            for way, audit in WAYS.items():
                traces[way].append(audit(case))
            ends.append(line([f"{title}, {seed}", *ending(case, traces["learned queue"][-1])]))
        for way, runs in traces.items():
            cells = [cell(runs, at) for at in range(len(BUDGETS))]
            finds.append(line([f"{title}: {poisons}", way, *cells]))
    head = f"{len(base.keys):,} pairs, seeds {', '.join(map(str, seeds))}; found: mean ± half the range.\n"
    return "\n".join([head, *finds, "", *ends])


def cell(runs: list[Trace], at: int) -> str:
    left = [run.auprc[at] for run in runs]
    known = [value for value in left if value is not None]
    return f"{mean_and_spread([run.found[at] for run in runs], 1)} ({mean_and_spread(known, 2)})"


def ending(case: Case, trace: Trace) -> list[str]:
    """After the queue's decisions: a control sample of what is left, its bounds, and the truth."""
    decisions = trace.decisions.copy()
    control = draw_control(
        JudgedPairs(case.z, case.flagged, decisions), kept_size=CONTROL, removed_size=0, seed=case.seed + 100
    )
    assert trace.risk is not None
    expected = trace.risk.values[decisions == 0].sum() if trace.risk.learned else None
    case.answer(decisions, control.order)
    left = estimate(control, decisions).kept
    truly = int((case.truth & ~case.flagged & (decisions != REMOVE)).sum())
    needed = reviews_needed(control, decisions, 100)
    return [
        str(truly),
        NONE if left.point is None else f"{left.point:.0f}",
        f"{left.low}–{left.high}",
        str(left.at_most),
        NONE if needed is None else f"{needed:,}",
        NONE if expected is None else f"{expected:.1f}",
    ]


def put_section(path: Path, tables: str) -> None:
    """Put the tables between the section's marks, which the file must have."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
