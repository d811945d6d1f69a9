"""One ``cfbd bench training``: scenes, cells, tables and a chart in one folder."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.copy_place import check_no_audit
from cfbd_core.attacks.plan import PoisonParams
from cfbd_core.attacks.poison_params import CONTROL
from cfbd_core.bench.base import Told
from cfbd_core.bench.detection import scenario_id
from cfbd_core.bench.figures import save_figures
from cfbd_core.bench.material import Mappings
from cfbd_core.bench.place import check_ours, held_results
from cfbd_core.bench.training import scenes, tables
from cfbd_core.bench.training.cells import Budget, Trainer, model_config
from cfbd_core.bench.training.rows import ROWS, Row
from cfbd_core.encoders import load_encoder
from cfbd_core.errors import ParameterError
from cfbd_core.files import written_beside
from cfbd_core.store.bench import BenchResults, Cell

TABLES_NAME, CHART_NAME = "TRAINING.md", "training"
RESULTS_VERSION = 1  # one more whenever a cell would come out otherwise from the same parameters
ALL_ATTACKS = tuple(ATTACKS)


@dataclass(frozen=True)
class TrainingBench:
    """What is trained and measured. Raises ParameterError for an attack or a row that is not known."""

    attacks: tuple[str, ...] = ALL_ATTACKS
    rows: tuple[str, ...] = tuple(ROWS)
    seeds: tuple[int, ...] = (0,)
    sizes: scenes.Sizes = field(default_factory=scenes.Sizes)
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        for given, known, option in ((self.attacks, ATTACKS, "--attacks"), (self.rows, ROWS, "--defenses")):
            unknown = sorted(set(given) - set(known))
            if unknown or not given:
                raise ParameterError(
                    f"{option} {unknown[0] if unknown else ''!r}: give some of {', '.join(known)}"
                )

    def cells(self) -> list[tuple[PoisonParams, Row]]:
        """What has to be trained, scenario by scenario; training on clean pairs is common to all attacks."""
        found = []
        for seed in self.seeds:
            if "clean" in self.rows:
                found.append((PoisonParams(CONTROL, seed=seed), ROWS["clean"]))
            for attack in self.attacks:
                found += [
                    (scenes.scenario(attack, seed), row)
                    for name, row in ROWS.items()
                    if name in self.rows and name != "clean"
                ]
        return found


def bench_training(folder: Path, asked: TrainingBench, told: Told) -> dict[str, Any]:
    """Train and measure every missing cell of the setting ``scenes``; writes tables and a chart to ``folder``.

    ``told(stage, done, total)`` is told of progress. An attack that cannot be made of the scenes is left out, with its
    reason. Raises AuditError (``folder`` holds something else) and ParameterError (it lies in an audit).
    """
    check_no_audit(folder)
    check_ours(folder)
    encoder = load_encoder("mini")
    mappings = Mappings("auto", encoder)
    about = {
        "results_version": RESULTS_VERSION,
        "setting": "scenes",
        "sizes": dataclasses.asdict(asked.sizes),
        "budget": dataclasses.asdict(asked.budget) | {"model": model_config(asked.budget)},
        "encoder_sha256": encoder.sha256,
        "mapping_sha256": mappings.sha256,
    }
    with held_results(folder, about) as results:
        drawn = scenes.draw(folder / "scenes", asked.sizes, told)
        base = scenes.embed(folder / "scenes", drawn.train, encoder, told)
        trainer = Trainer(drawn, base, encoder, mappings, folder, asked.budget, told)
        skipped = _run(asked.cells(), results, trainer, told)
        return _write(folder, results, asked, skipped)


def _run(
    wanted: Sequence[tuple[PoisonParams, Row]], results: BenchResults, trainer: Trainer, told: Told
) -> list[dict[str, str]]:
    """Train what is missing; returns what cannot be, with the reason."""
    done, skipped = results.done(), []
    told("cells", len([1 for params, row in wanted if _place(params, row) in done]), len(wanted))
    for number, (params, row) in enumerate(wanted):
        if _place(params, row) not in done:
            began = time.perf_counter()
            try:
                found = trainer.cell(params, row)
            except ParameterError as error:
                skipped.append({"attack": params.attack, "row": row.name, "reason": str(error)})
            else:
                seconds = time.perf_counter() - began
                results.put(Cell(*_place(params, row), params.to_dict(), found, seconds))
        if number + 1 == len(wanted) or scenario_id(wanted[number + 1][0]) != scenario_id(params):
            trainer.finished(params)
        told("cells", number + 1, len(wanted))
    return skipped


def _write(
    folder: Path, results: BenchResults, asked: TrainingBench, skipped: Sequence[dict[str, str]]
) -> dict[str, Any]:
    places = {_place(params, row) for params, row in asked.cells()}
    cells = [cell for cell in results.cells() if (cell.scenario, cell.analysis) in places]
    parts = [tables.markdown(cells, asked.attacks)]
    if skipped:
        lines = [f"- {one['attack']}, {ROWS[one['row']].title}: {one['reason']}" for one in skipped]
        parts.append("\n".join(["## Not measured", "", *lines]))
    text = "\n\n".join(parts)
    with written_beside(folder / TABLES_NAME) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    charts, missing = save_figures({CHART_NAME: tables.chart(cells, asked.attacks)}, folder)
    return {
        "cells": len(cells),
        "skipped": list(skipped),
        "tables": str(folder / TABLES_NAME),
        "chart": str(charts[0]),
        "chart_missing": missing,
        "seconds": {
            f"{cell.params['attack']} {cell.params['seed']} {cell.analysis}": round(cell.seconds, 1)
            for cell in cells
        },
        "markdown": text,
    }


def _place(params: PoisonParams, row: Row) -> tuple[str, str]:
    return scenario_id(params), f"train {row.name}"
