"""One ``cfbd bench detection``: base, cells, tables and figures in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from cfbd_core.bench.base import Base, make_base
from cfbd_core.bench.detection import Experiment, NotMeasured, feasible, run, scenario_id
from cfbd_core.bench.figures import write_figures
from cfbd_core.bench.material import Mappings, Material
from cfbd_core.bench.options import BenchOptions
from cfbd_core.bench.place import check_ours, open_results
from cfbd_core.bench.scenario import Attacker, Poisoner
from cfbd_core.bench.tables import Refusal, Tables, about_pairs, not_measured, text_of_not_measured
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import ParameterError
from cfbd_core.machine.files import written_beside
from cfbd_core.machine.progress import Progress
from cfbd_core.poisoning.options import CopyOptions
from cfbd_core.poisoning.place import check_beside, check_place
from cfbd_core.store.bench import BenchResults

TABLES_NAME, FIGURES_NAME = "DETECTION.md", "figures"
BASE_NAME = "base"


class Written(TypedDict):
    """What a benchmark wrote, of how many cells; ``seconds`` are those of each experiment's cells."""

    pairs: int
    left_out_poisoned: int
    cells: int
    skipped: list[Refusal]
    tables: str
    figures: list[str]
    figures_missing: str | None
    seconds: dict[str, float]
    markdown: str


def bench_detection(
    source: str, folder: Path, options: BenchOptions, embed: EmbedParams, progress: Progress
) -> Written:
    """Measure every missing cell and write tables and figures to ``folder``; returns what was written.

    ``progress`` gets every stage. Scenarios that cannot be made of these pairs are left out, and the tables say so.
    Before anything is written, raises SourceError and EncoderError (what cannot be read), ParameterError (options;
    ``folder`` lies in a source or an audit; nothing can be measured) and AuditError (``folder`` holds something else).
    """
    experiments = options.chosen()
    for place in (source, options.pool):
        if place is not None:
            check_place(folder, place)
    check_ours(folder)
    material = Material.read(source, options)
    for pairs in (material.pairs, material.pool_pairs):
        if pairs is not None:
            check_beside(folder, pairs)
    chosen, refused = feasible(experiments, material.plan)
    if not any(experiment.scenarios for experiment in chosen):
        raise ParameterError(f"{source}: nothing chosen can be measured on it: {refused[0].reason}")
    encoder = load_encoder(options.encoder, embed.device)
    mappings = Mappings(options.mapping, encoder)
    mappings.check_enough(material.pairs.image_of)
    about = material.about(encoder, mappings)
    with open_results(folder, about) as results:
        base = make_base(
            source,
            folder / BASE_NAME,
            encoder=encoder,
            copy=CopyOptions(captions=options.captions, keys=options.keys),
            embed=embed,
            progress=progress,
        ).sharing(material.pairs, several=options.captions == "all")
        poisoner = Poisoner(
            base,
            encoder,
            mappings,
            Attacker(
                material.pool,
                folder / "triggers",
                progress,
                material.given,
            ),
        )
        refused += run(chosen, results, poisoner, progress)
        return write_results(folder, results, chosen, refused, about_pairs(about, base), base)


def write_results(
    folder: Path,
    results: BenchResults,
    chosen: Sequence[Experiment],
    refused: Sequence[NotMeasured],
    head: str,
    base: Base,
) -> Written:
    """Write tables and figures of the chosen experiments; returns their paths, the cost, the tables' text."""
    wanted = {
        (scenario_id(scenario), analysis)
        for experiment in chosen
        for scenario, analysis in experiment.cells()
    }
    cells = [cell for cell in results.cells() if (cell.scenario, cell.analysis) in wanted]
    tables = Tables.from_cells(cells)
    parts = (head, tables.markdown(chosen), text_of_not_measured(refused))
    text = "\n\n".join(part for part in parts if part)
    with written_beside(folder / TABLES_NAME) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    figures, missing = write_figures(cells, folder / FIGURES_NAME)
    return {
        "pairs": len(base.keys),
        "left_out_poisoned": base.left_out,
        "cells": len(cells),
        "skipped": not_measured(refused),
        "tables": str(folder / TABLES_NAME),
        "figures": [str(path) for path in figures],
        "figures_missing": missing,
        "seconds": {experiment.name: round(tables.cost(experiment), 1) for experiment in chosen},
        "markdown": text,
    }
