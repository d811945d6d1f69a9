"""``cfbd bench training``: its options, and what it prints."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cfbd_core.attacks import ATTACKS
from cfbd_core.cli.options import MOST_SEEDS, Result, names_of, number, place, whole
from cfbd_core.cli.progress import StageBars
from cfbd_core.errors import ParameterError
from cfbd_core.machine.workers import MOST_WORKERS

if TYPE_CHECKING:
    from cfbd_core.bench.training.photos import Photos
    from cfbd_core.bench.training.scenes import Scenes

STAGES = {"scenes": "scenes", "photos": "photos", "embed": "pairs", "trigger": "steps", "train": "pairs"}


def add_bench_training(kinds: Any) -> None:
    """Add ``training`` to ``bench``."""
    about = "Tables 1 and 2: accuracy and attack success of models trained with and without each defence"
    training = kinds.add_parser("training", help=about, description=f"{about}.")
    training.set_defaults(run=_training)
    training.add_argument(
        "--out", required=True, type=place, metavar="DIR", help="results; called again, it goes on"
    )
    training.add_argument(
        "--setting",
        choices=("scenes", "photos"),
        default="scenes",
        help="a small CLIP from scratch on demo scenes (default), or a checkpoint fine-tuned on photos",
    )
    training.add_argument("--attacks", metavar="A,B", help="default: all nine")
    training.add_argument(
        "--defenses",
        metavar="A,B",
        help="rows: some of clean, none, cleanclip, roclip, abl, safeclip, coarse, cfbd (all)",
    )
    training.add_argument(
        "--seeds", type=whole(1, MOST_SEEDS), default=1, metavar="N", help="seeds 0 to N − 1 (1)"
    )
    training.add_argument(
        "--jobs",
        type=whole(1, MOST_WORKERS),
        metavar="N",
        help="processes that share the cells (1 with a GPU, else one a core)",
    )
    training.add_argument("--model", metavar="M", help="what is trained, as for `cfbd train`")
    training.add_argument(
        "--steps", type=whole(1), metavar="N", help="of every model (scenes 4,000, photos 316)"
    )
    training.add_argument("--batch-size", type=whole(1), metavar="N", help="pairs a step (64)")
    training.add_argument("--json", action="store_true", help="print one JSON object")

    photos = training.add_argument_group("photos")
    photos.add_argument("--source", metavar="SOURCE", help="pairs to train on; only read")
    photos.add_argument("--classes", metavar="SOURCE", help="labelled pictures to measure on")
    photos.add_argument(
        "--keys", choices=("odd", "even"), help="which to train on (odd); others are held out"
    )
    photos.add_argument("--rate", type=number, metavar="X", help="share that is poisoned (0.03)")


def _training(options: argparse.Namespace) -> Result:
    from cfbd_core.bench.training.job import TrainingBench, bench_training
    from cfbd_core.bench.training.rows import ROWS

    bench = TrainingBench(
        setting=_setting(options),
        attacks=names_of(options.attacks) or tuple(ATTACKS),
        rows=names_of(options.defenses) or tuple(ROWS),
        seeds=tuple(range(options.seeds)),
        jobs=options.jobs or _jobs(),
    )
    with StageBars(STAGES | {"cells": "cells"}) as bars:
        result = bench_training(options.out, bench, bars.report)
    missing = f"\n\n{result['chart_missing']}" if result["chart_missing"] else ""
    return result, f"{result['markdown']}\n\ntables: {result['tables']}\nchart: {result['chart']}{missing}"


def _setting(options: argparse.Namespace) -> Scenes | Photos:
    from cfbd_core.bench.training.photos import Photos
    from cfbd_core.bench.training.scenes import Scenes

    own = _given(options, "source", "classes", "keys", "rate")
    setting: Scenes | Photos
    if options.setting == "photos":
        missing = [f"--{name}" for name in ("source", "classes") if name not in own]
        if missing:
            raise ParameterError(f"--setting photos: needs {' and '.join(missing)}")
        setting = Photos(**own)
    elif own:
        raise ParameterError(f"--{next(iter(own))}: is of --setting photos")
    else:
        setting = Scenes()
    length = _given(options, "model", "steps", "batch_size")
    return replace(setting, budget=replace(setting.budget, **length))


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _jobs() -> int:
    import torch

    from cfbd_core.machine.workers import usable_cores

    return 1 if torch.cuda.is_available() else usable_cores()
