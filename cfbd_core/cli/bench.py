"""``cfbd bench``: its options, and what it prints."""

from __future__ import annotations

import argparse

from cfbd_core.attacks import ATTACKS
from cfbd_core.cli.bench_training import add_bench_training
from cfbd_core.cli.options import MOST_SEEDS, Result, names_of, place, whole
from cfbd_core.cli.progress import StageBars
from cfbd_core.config import EmbedParams


def add_bench(bench: argparse.ArgumentParser) -> None:
    """``bench detection`` and ``bench training``."""
    kinds = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")
    add_bench_training(kinds)
    detection = kinds.add_parser(
        "detection",
        help="Tables 3–5, Figures 2 and 5–7, benign traps",
        description="Tables 3–5, Figures 2 and 5–7, benign traps; what a source does not allow is told, not measured.",
    )
    detection.set_defaults(run=_detection)
    detection.add_argument("source", metavar="SOURCE", help="a folder, a file or a glob ('shards/*.tar')")
    detection.add_argument(
        "--out", required=True, type=place, metavar="DIR", help="results; called again, it goes on"
    )
    detection.add_argument(
        "--captions", choices=("first", "all"), default="first", help="of several captions"
    )
    detection.add_argument(
        "--keys", choices=("all", "even", "odd"), default="all", help="which integer keys to use"
    )
    detection.add_argument("--encoder", default="mini", metavar="E", help="as for `cfbd embed` (mini)")
    detection.add_argument("--mapping", default="auto", metavar="F", help="auto, self or a file (auto)")
    detection.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 …")
    detection.add_argument("--attacks", metavar="A,B", help="default: all")
    detection.add_argument(
        "--only",
        metavar="A,B",
        help="some of table3, table4, table5, natural, adaptive, several, traps, figures",
    )
    detection.add_argument("--detectors", metavar="A,B", help="default: all; others are not run")
    detection.add_argument(
        "--seeds", type=whole(1, MOST_SEEDS), default=3, metavar="N", help="seeds 0 to N − 1 (3)"
    )
    detection.add_argument(
        "--target",
        action="append",
        metavar="T[,T]",
        help="what the poisons' captions name, repeatable: the first everywhere, two and more together where several "
        "targets are measured (banana; basketball for label-consistent, dog, soccer, horse and sheep for mmPoison)",
    )
    detection.add_argument("--origin", metavar="O", help="what mmPoison's pictures show (the attack's own)")
    detection.add_argument(
        "--captions-file", type=place, metavar="FILE", help="natural captions of the target, one a line"
    )
    detection.add_argument(
        "--pool",
        metavar="SOURCE",
        help="pictures to optimise triggers on (default: the keys left out, else SOURCE)",
    )
    detection.add_argument("--json", action="store_true", help="print one JSON object")


def _detection(options: argparse.Namespace) -> Result:
    from cfbd_core.bench.job import bench_detection
    from cfbd_core.bench.options import BenchOptions

    bench = BenchOptions(
        captions=options.captions,
        keys=options.keys,
        encoder=options.encoder,
        mapping=options.mapping,
        attacks=names_of(options.attacks) or tuple(ATTACKS),
        experiments=names_of(options.only),
        seeds=tuple(range(options.seeds)),
        targets=tuple(target for text in options.target or () for target in text.split(",")),
        origin=options.origin,
        captions_file=options.captions_file,
        pool=options.pool,
        detectors=names_of(options.detectors),
    )
    with StageBars({"copy": "records", "trigger": "steps", "cells": "cells"}) as bars:
        result = bench_detection(
            options.source, options.out, bench, EmbedParams(device=options.device), bars.report
        )
    missing = f"\n\n{result['figures_missing']}" if result["figures_missing"] else ""
    return (
        result,
        f"{result['markdown']}\n\ntables: {result['tables']}\n{len(result['figures'])} figures beside it{missing}",
    )
