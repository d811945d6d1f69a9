"""One ``cfbd bench training``: scenes, cells, tables and a chart in one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.detection import scenario_id
from cfbd_core.bench.figures import save_figures
from cfbd_core.bench.material import Mappings
from cfbd_core.bench.place import check_ours, open_results
from cfbd_core.bench.training import tables
from cfbd_core.bench.training.cells import Trainer
from cfbd_core.bench.training.photos import Photos
from cfbd_core.bench.training.rows import ROWS, Row
from cfbd_core.bench.training.scenes import Scenes
from cfbd_core.bench.training.workers import Done, Work, one_by_one, side_by_side
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import written_beside
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.machine.workers import usable_cores
from cfbd_core.poisoning.place import check_no_audit
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.poisoning.poison_params import CONTROL
from cfbd_core.store.bench import BenchResults, Cell
from cfbd_core.training.models import build_model

TABLES_NAME, CHART_NAME = "TRAINING.md", "training"
RESULTS_VERSION = 1  # one more whenever a cell would come out otherwise from the same parameters
ENCODER = "mini"  # that CFBD audits with, whatever is trained


@dataclass(frozen=True)
class TrainingBench:
    """What is trained and measured: on what pairs (``setting``), which attacks, rows and seeds.

    ``jobs`` processes share the cells; it does not decide what comes out but for rounding. Raises ParameterError for
    an attack or a row that is not known.
    """

    setting: Scenes | Photos = field(default_factory=Scenes)
    attacks: tuple[str, ...] = field(default_factory=lambda: tuple(ATTACKS))
    rows: tuple[str, ...] = tuple(ROWS)
    seeds: tuple[int, ...] = (0,)
    jobs: int = 1

    def __post_init__(self) -> None:
        for given, known, option in ((self.attacks, ATTACKS, "--attacks"), (self.rows, ROWS, "--defenses")):
            unknown = sorted(set(given) - set(known))
            if unknown or not given:
                raise ParameterError(
                    f"{option} {unknown[0] if unknown else ''!r}: give some of {', '.join(known)}"
                )

    def cells(self) -> list[tuple[PoisonParams, Row]]:
        """Return what has to be trained, scenario by scenario; training on clean pairs is common to all attacks."""
        cells = []
        for seed in self.seeds:
            if "clean" in self.rows:
                cells.append((PoisonParams(CONTROL, seed=seed), ROWS["clean"]))
            for attack in self.attacks:
                cells += [
                    (self.setting.scenario(attack, seed), row)
                    for name, row in ROWS.items()
                    if name in self.rows and name != "clean"
                ]
        return cells

    def about(self, encoder: Encoder, mappings: Mappings) -> dict[str, object]:
        """Return all that decides the cells besides a scenario's parameters, as plain JSON values."""
        budget = self.setting.budget
        model = build_model(budget.model)
        return {
            "results_version": RESULTS_VERSION,
            "setting": self.setting.name,
            **self.setting.about(),
            "budget": dataclasses.asdict(budget) | {"model": model.config},
            "model_sha256": model.origin,
            "encoder_sha256": encoder.sha256,
            "mapping_sha256": mappings.sha256,
        }


class Skipped(TypedDict):
    """A cell that could not be measured, and why."""

    attack: str
    row: str
    reason: str


class Written(TypedDict):
    """What the benchmark wrote, of how many cells; ``seconds`` are those of each."""

    cells: int
    skipped: list[Skipped]
    tables: str
    chart: str
    chart_missing: str | None
    seconds: dict[str, float]
    markdown: str


def bench_training(folder: Path, bench: TrainingBench, progress: Progress) -> Written:
    """Train and measure every missing cell; writes tables and a chart to ``folder``.

    ``progress`` gets every stage. An attack that cannot be made of the pairs, or a cell that cannot be trained, is
    left out, with its reason. Raises AuditError (``folder`` holds something else), ParameterError (it lies in an
    audit), and what reading a source raises.
    """
    check_no_audit(folder)
    check_ours(folder)
    encoder = load_encoder(ENCODER)
    with open_results(folder, bench.about(encoder, Mappings("auto", encoder))) as results:
        work = _missing(bench.cells(), results)
        left, total = sum(len(rows) for _, rows in work), len(bench.cells())
        progress("cells", total - left, total)
        skipped: list[Skipped] = []
        with closing(_measured(folder, bench, work, progress, encoder)) as measured:
            for done in measured:
                if done.result is None:
                    skipped.append(
                        {"attack": done.params.attack, "row": done.row.name, "reason": done.reason or ""}
                    )
                else:
                    place = _place(done.params, done.row)
                    results.put(Cell(*place, done.params.to_dict(), done.result, done.seconds))
                left -= 1
                progress("cells", total - left, total)
        return _write(folder, results, bench, skipped)


def make_trainer(
    folder: Path, bench: TrainingBench, progress: Progress, threads: int, encoder: Encoder | None = None
) -> Trainer:
    """Read what the cells are made of, or make it: slow the first time, then quick.

    ``encoder`` is the one that CFBD audits with; None: it is loaded.
    """
    encoder = encoder or load_encoder(ENCODER)
    setting = bench.setting.make(folder / bench.setting.name, encoder, progress)
    return Trainer(setting, encoder, folder, progress, threads)


def _measured(
    folder: Path, bench: TrainingBench, work: Sequence[Work], progress: Progress, encoder: Encoder
) -> Generator[Done]:
    jobs = min(bench.jobs, len(work))
    if not jobs:
        return
    trainer = make_trainer(folder, bench, progress, usable_cores(), encoder)
    if jobs == 1:
        yield from one_by_one(trainer, work)
    else:
        del trainer  # what it read is made now, for all
        yield from side_by_side(partial(make_trainer, folder, bench, no_progress), work, jobs)


def _missing(wanted: Sequence[tuple[PoisonParams, Row]], results: BenchResults) -> list[Work]:
    """Return the cells that are to be measured, scenario by scenario."""
    done = results.done()
    work: dict[str, Work] = {}
    for params, row in wanted:
        if _place(params, row) not in done:
            work.setdefault(scenario_id(params), (params, []))[1].append(row)
    return list(work.values())


def _write(folder: Path, results: BenchResults, bench: TrainingBench, skipped: Sequence[Skipped]) -> Written:
    places = {_place(params, row) for params, row in bench.cells()}
    cells = [cell for cell in results.cells() if (cell.scenario, cell.analysis) in places]
    parts = [tables.markdown(cells, bench.attacks)]
    if skipped:
        lines = [f"- {one['attack']}, {ROWS[one['row']].title}: {one['reason']}" for one in skipped]
        parts.append("\n".join(["## Not measured", "", *lines]))
    text = "\n\n".join(parts)
    with written_beside(folder / TABLES_NAME) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    charts, missing = save_figures({CHART_NAME: tables.chart(cells, bench.attacks)}, folder)
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
