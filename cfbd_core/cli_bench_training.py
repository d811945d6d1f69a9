"""``cfbd bench training``: its options, and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cfbd_core.cli_options import names_of
from cfbd_core.cli_progress import StageBars
from cfbd_core.errors import ParameterError


def add_bench_training(kinds: Any) -> None:
    """Add ``training`` to ``bench``."""
    about = "Tables 1 and 2: accuracy and attack success of models trained with and without each defence"
    training = kinds.add_parser("training", help=about, description=f"{about}, on demo scenes.")
    training.set_defaults(run=_training)
    training.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="results; called again, it goes on"
    )
    training.add_argument("--attacks", metavar="A,B", help="default: all nine")
    training.add_argument(
        "--defenses",
        metavar="A,B",
        help="rows: some of clean, none, cleanclip, roclip, abl, safeclip, coarse, cfbd (all)",
    )
    training.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N − 1 (1)")
    training.add_argument("--json", action="store_true", help="print one JSON object")


def _training(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from cfbd_core.bench.training.job import ALL_ATTACKS, TrainingBench, bench_training
    from cfbd_core.bench.training.rows import ROWS

    if options.seeds < 1:
        raise ParameterError(f"--seeds {options.seeds}: give at least 1")
    asked = TrainingBench(
        attacks=names_of(options.attacks) or ALL_ATTACKS,
        rows=names_of(options.defenses) or tuple(ROWS),
        seeds=tuple(range(options.seeds)),
    )
    with StageBars({"scenes": "scenes", "trigger": "steps", "train": "pairs", "cells": "cells"}) as bars:
        found = bench_training(options.out, asked, bars.update)
    missing = f"\n\n{found['chart_missing']}" if found["chart_missing"] else ""
    return found, f"{found['markdown']}\n\ntables: {found['tables']}\nchart: {found['chart']}{missing}"
