"""The commands that are no more than a call: ``demo``, ``app``, ``doctor``."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cfbd_core.cli.options import SEED, Result, number, place, whole
from cfbd_core.cli.parser import command_line
from cfbd_core.cli.pipeline import run
from cfbd_core.cli.progress import Bar


def add_demo(command: argparse.ArgumentParser) -> None:
    """How many scenes, how many of them poisoned."""
    command.add_argument("--scenes", type=whole(), default=3000, metavar="N")
    command.add_argument("--rate", type=number, default=0.02, help="share of poisoned scenes; 0 for none")
    command.add_argument("--seed", type=SEED, default=0)


def add_app(command: argparse.ArgumentParser) -> None:
    """Where the app listens, and what it may read."""
    command.description = "Start the web app; Ctrl-C ends it."
    command.set_defaults(run=_app)
    command.add_argument("--audit", type=place, metavar="DIR", help="the audit to open first")
    command.add_argument(
        "--root",
        type=place,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that the app may read and write below; repeatable (default: the working directory)",
    )
    command.add_argument("--port", type=whole(), metavar="P", help="default: 8501, or the next free one")
    command.add_argument("--address", default="localhost", metavar="A", help="where to listen (localhost)")
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which a reverse proxy on this machine serves the app; repeatable",
    )
    command.add_argument("--no-browser", action="store_true", help="open no browser, only print the URL")


def add_doctor(command: argparse.ArgumentParser) -> None:
    """What else to say of the machine."""
    command.add_argument("--models", action="store_true", help="list every open_clip model and tag")


def demo(options: argparse.Namespace) -> Result:
    """Draw the scenes, and audit them."""
    from cfbd_core.demo.audit import make_demo

    with Bar("draw", options.scenes) as drawn:
        source = make_demo(options.audit, options.scenes, options.seed, options.rate, drawn.report)
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


def doctor(options: argparse.Namespace) -> Result:
    """Look at the machine."""
    from cfbd_core.cli import doctor as machine

    if options.models:
        models = machine.models()
        return models, "\n".join(f"{name}: {', '.join(tags) or '–'}" for name, tags in models.items())
    findings = machine.examine()
    return findings, machine.text(findings)
