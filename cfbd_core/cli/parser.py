"""The whole command line, and the commands that are no more than a call: ``demo``, ``app``, ``doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from cfbd_core import __version__
from cfbd_core.cli.attack import add_attack
from cfbd_core.cli.bench import add_bench
from cfbd_core.cli.decide import add_decide, add_log, add_turn, decide, redo, show_log, undo
from cfbd_core.cli.detect import add_detect, detect
from cfbd_core.cli.estimate import add_estimate, estimate
from cfbd_core.cli.evaluate import add_evaluate
from cfbd_core.cli.export import add_export, add_split_id, export
from cfbd_core.cli.options import (
    SEED,
    OneLineParser,
    Result,
    add_embed,
    add_ingest,
    add_score,
    add_split,
    number,
    place,
    whole,
)
from cfbd_core.cli.pipeline import draw_map, embed, ingest, report, run, score, split
from cfbd_core.cli.progress import Bar
from cfbd_core.cli.train import add_train


def command_line() -> argparse.ArgumentParser:
    """The whole command line."""
    about = "Find backdoor-poisoned image-caption pairs before a CLIP model is trained on them."
    top = OneLineParser(prog="cfbd", description=about)
    top.add_argument("--version", action="version", version=f"cfbd {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], Result], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print one JSON object")
        if name != "doctor":
            added.add_argument("--audit", required=True, type=place, metavar="DIR", help="the audit's folder")
        return added

    every = command("run", run, "the main job: ingest, embed, score, split; called again, it goes on")
    for add in (add_ingest, add_embed, add_score, add_split):
        add(every)
    add_ingest(command("ingest", ingest, "read the pairs of a source into a new audit"))
    add_embed(command("embed", embed, "embed images and captions; goes on where it was stopped"))
    add_score(command("score", score, "consistency and the other scores of every pair"))
    add_split(command("split", split, "coarse and fine stage: a verdict for every pair"))
    told = command("report", report, "counts of every subset, evidence, and the truth where it is known")
    told.add_argument(
        "--html",
        type=place,
        metavar="FILE.html",
        help="write it all as one page to hand on: charts, groups, pictures",
    )
    add_split_id(told)

    drawn = command(
        "map", draw_map, "lay flagged pairs and a sample of the rest out in the plane, with pictures"
    )
    drawn.add_argument("--space", choices=("captions", "images"), default="captions")
    drawn.add_argument("--points", type=whole(), default=5000, metavar="N", help="pairs on the map (5,000)")
    drawn.add_argument("--seed", type=SEED, default=0)

    add_export(command("export", export, "write the clean set, what was removed, or what a filter selects"))
    add_decide(command("decide", decide, "store decisions made elsewhere, as one action of the log"))
    add_log(command("log", show_log, "who decided what, when and why, newest first; or write it to a file"))
    add_turn(command("undo", undo, "undo an action of the log, or the last that counts"))
    add_turn(command("redo", redo, "let an action count again that was undone"))

    add_detect(command("detect", detect, "other detectors on the audit, side by side with its verdict"))
    add_estimate(command("estimate", estimate, "how many poisons may be left, by a random control sample"))

    add_attack(commands)
    add_bench(commands)
    add_train(commands)
    add_evaluate(commands)

    demo = command("demo", _demo, "make and audit 3,000 demo scenes with planted poison, offline")
    demo.add_argument("--scenes", type=whole(), default=3000, metavar="N")
    demo.add_argument("--rate", type=number, default=0.02, help="share of poisoned scenes; 0 for none")
    demo.add_argument("--seed", type=SEED, default=0)

    app = commands.add_parser("app", help="the web app", description="Start the web app; Ctrl-C ends it.")
    app.set_defaults(run=_app)
    app.add_argument("--audit", type=place, metavar="DIR", help="the audit to open first")
    app.add_argument(
        "--root",
        type=place,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that the app may read and write below; repeatable (default: the working directory)",
    )
    app.add_argument("--port", type=whole(), metavar="P", help="default: 8501, or the next free one")
    app.add_argument("--address", default="localhost", metavar="A", help="where to listen (localhost)")
    app.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which a reverse proxy on this machine serves the app; repeatable",
    )
    app.add_argument("--no-browser", action="store_true", help="open no browser, only print the URL")

    doctor = command("doctor", _doctor, "versions, devices, free disk, what is missing and how to get it")
    doctor.add_argument("--models", action="store_true", help="list every open_clip model and tag")
    return top


def _demo(options: argparse.Namespace) -> Result:
    from cfbd_core.demo.audit import make_demo

    with Bar("draw", options.scenes) as drawn:
        source = make_demo(options.audit, options.scenes, options.seed, options.rate, drawn.update)
    return run(command_line().parse_args(["run", str(source), "--audit", str(options.audit)]))


def _app(options: argparse.Namespace) -> NoReturn:
    from cfbd_core.jobs.serve import serve

    serve(
        options.audit,
        options.root,
        options.port,
        options.address,
        options.allow_host,
        browser=not options.no_browser,
    )


def _doctor(options: argparse.Namespace) -> Result:
    from cfbd_core.cli import doctor

    if options.models:
        models = doctor.models()
        return models, "\n".join(f"{name}: {', '.join(tags) or '–'}" for name, tags in models.items())
    found = doctor.examine()
    return found, doctor.text(found)
