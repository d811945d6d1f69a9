"""One ``cfbd bench detection``: base, cells, tables and figures in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.source_pairs import picture_pool, read_pairs
from cfbd_core.bench.base import Told, make_base
from cfbd_core.bench.detection import ALL_ATTACKS, SEEDS, Experiment, experiments, run
from cfbd_core.bench.figures import write_figures
from cfbd_core.bench.scenario import Poisoner
from cfbd_core.bench.tables import Tables
from cfbd_core.config import EmbedParams
from cfbd_core.encoder_files import MINI_DIR
from cfbd_core.encoders import Encoder, load_encoder
from cfbd_core.errors import ParameterError
from cfbd_core.files import one_job, written_beside
from cfbd_core.mapping import Mapping, mean_targets, train_mapping
from cfbd_core.scoring import MAPPING_NAME, SELF_FOLDS
from cfbd_core.sources import SourceOptions
from cfbd_core.store.bench import BenchResults

RESULTS_NAME, TABLES_NAME, FIGURES_NAME = "results.duckdb", "DETECTION.md", "figures"


@dataclass(frozen=True)
class BenchOptions:
    """What is measured, and on what.

    ``experiments`` None: all. ``mapping`` is F: ``auto`` (the encoder's own, else ``self``), ``self`` (trained anew
    on every scenario's pairs) or a file. ``pool`` is the source whose pictures optimised attacks work with.
    """

    captions: Literal["first", "all"] = "first"
    keys: Literal["all", "even", "odd"] = "all"
    encoder: str = "mini"
    mapping: str = "auto"
    attacks: tuple[str, ...] = ALL_ATTACKS
    experiments: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = SEEDS
    target: str = "banana"
    pool: str | None = None

    def chosen(self) -> list[Experiment]:
        """The experiments asked for. Raises ParameterError for one that is not known."""
        every = experiments(self.seeds, self.attacks, self.target)
        unknown = sorted(set(self.experiments or ()) - set(every))
        if unknown:
            raise ParameterError(f"--only {unknown[0]!r}: give some of {', '.join(every)}")
        return [every[name] for name in self.experiments or every]


def bench_detection(
    source: str, folder: Path, options: BenchOptions, embed: EmbedParams, told: Told
) -> dict[str, Any]:
    """Measure every missing cell and write tables and figures to ``folder``; returns what was written.

    ``told(stage, done, total)`` is told of progress. Raises ParameterError and what the steps raise.
    """
    chosen = options.chosen()
    folder.mkdir(parents=True, exist_ok=True)
    with one_job(folder, "bench"):
        base = make_base(
            source, folder / "base", captions=options.captions, keys=options.keys, encoder=options.encoder,
            embed=embed, told=told,
        )  # fmt: skip
        about: dict[str, Any] = {
            "source": Path(source).name,
            "captions": options.captions,
            "keys": options.keys,
        }
        about |= {"pairs": len(base.keys), "encoder_sha256": base.sha256, "mapping": options.mapping}
        results = BenchResults(folder / RESULTS_NAME, about)
        encoder = load_encoder(options.encoder, embed.device)
        poisoner = Poisoner(
            base,
            encoder,
            _Mappings(options.mapping, encoder),
            _pool(source, options),
            folder / "triggers",
            lambda done, total: told("trigger", done, total),
        )
        run(chosen, results, poisoner, lambda done, total: told("cells", done, total))
        return write_results(folder, results, chosen)


def write_results(folder: Path, results: BenchResults, chosen: Sequence[Experiment]) -> dict[str, Any]:
    """Write the tables and figures of all finished cells; returns their paths, the cost, the tables' text."""
    cells = results.cells()
    tables = Tables.of(cells)
    text = tables.markdown(chosen)
    with written_beside(folder / TABLES_NAME) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
    figures, missing = write_figures(cells, folder / FIGURES_NAME)
    return {
        "cells": len(cells),
        "tables": str(folder / TABLES_NAME),
        "figures": [str(path) for path in figures],
        "figures_missing": missing,
        "seconds": {experiment.name: round(tables.cost(experiment), 1) for experiment in chosen},
        "markdown": text,
    }


def _pool(source: str, options: BenchOptions) -> Callable[[int], Sequence[Image.Image]]:
    """Pictures to optimise triggers on: the pool's, those of the keys that are left out, or the source's own."""

    @cache
    def pool(count: int) -> Sequence[Image.Image]:
        pairs = read_pairs(options.pool or source, SourceOptions(), "all" if options.pool else options.keys)
        return picture_pool(pairs.left_out or pairs.places(), seed=0)(count)

    return pool


class _Mappings:
    """F for a scenario's embeddings: one file for all, or trained on each."""

    def __init__(self, spec: str, encoder: Encoder) -> None:
        self._encoder = encoder
        self._fixed: Mapping | None = None
        if spec == "auto" and encoder.id == "mini":
            self._fixed = Mapping.load(MINI_DIR / MAPPING_NAME, encoder.sha256)
        elif spec not in ("auto", "self"):
            self._fixed = Mapping.load(Path(spec).expanduser(), encoder.sha256)

    def __call__(self, image: np.ndarray, text: np.ndarray, record_of: np.ndarray) -> Mapping:
        if self._fixed is not None:
            return self._fixed
        ids, target = mean_targets(text, record_of)
        _, first = np.unique(record_of, return_index=True)
        return train_mapping(
            image[first].astype(np.float32),
            target,
            encoder_id=self._encoder.id,
            encoder_sha256=self._encoder.sha256,
            trained_on="self",
            groups=ids,
            folds=SELF_FOLDS,
            device=self._encoder.device,
        )
