"""The whole command line: what commands there are, and where each says what it takes and does."""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module
from typing import NamedTuple

from cfbd_core import __version__
from cfbd_core.cli.parsers import LateParser, OneLineParser


class Command(NamedTuple):
    """A command: ``add_NAME`` of a ``module`` of this room gives its parser what it takes.

    With ``run``, a function of that module, it takes ``--json``, and with ``audit`` an audit, before all else; without,
    its module does all that itself.
    """

    name: str
    help: str
    module: str
    run: str | None = None
    audit: bool = True


COMMANDS = (
    Command("run", "the main job: ingest, embed, score, split; called again, it goes on", "pipeline", "run"),
    Command("ingest", "read the pairs of a source into a new audit", "pipeline", "ingest"),
    Command("embed", "embed images and captions; goes on where it was stopped", "pipeline", "embed"),
    Command("score", "consistency and the other scores of every pair", "pipeline", "score"),
    Command("split", "coarse and fine stage: a verdict for every pair", "pipeline", "split"),
    Command(
        "report", "counts of every subset, evidence, and the truth where it is known", "pipeline", "report"
    ),
    Command(
        "map",
        "lay flagged pairs and a sample of the rest out in the plane, with pictures",
        "pipeline",
        "draw_map",
    ),
    Command("export", "write the clean set, what was removed, or what a filter selects", "export", "export"),
    Command("decide", "store decisions made elsewhere, as one action of the log", "decide", "decide"),
    Command(
        "log", "who decided what, when and why, newest first; or write it to a file", "decide", "show_log"
    ),
    Command("undo", "undo an action of the log, or the last that counts", "decide", "undo"),
    Command("redo", "let an action count again that was undone", "decide", "redo"),
    Command("detect", "other detectors on the audit, side by side with its verdict", "detect", "detect"),
    Command("estimate", "how many poisons may be left, by a random control sample", "estimate", "estimate"),
    Command("attack", "write a poisoned copy of a source, with its ground truth", "attack"),
    Command("bench", "remake the paper's tables and figures on a source; called again, it goes on", "bench"),
    Command(
        "train",
        "train a CLIP model on what an audit keeps, or on an export; called again, it goes on",
        "train",
    ),
    Command(
        "evaluate",
        "accuracy (CA), attack success (ASR), retrieval and Hit@K of a trained model or any encoder",
        "evaluate",
    ),
    Command("demo", "make and audit 3,000 demo scenes with planted poison, offline", "others", "demo"),
    Command("app", "the web app", "others"),
    Command(
        "doctor",
        "versions, devices, free disk, what is missing and how to get it",
        "others",
        "doctor",
        audit=False,
    ),
)


def command_line(*, whole: bool = False) -> argparse.ArgumentParser:
    """Return the whole command line; each command learns what it takes when it is used, ``whole``: now."""
    about = "Find backdoor-poisoned image-caption pairs before a CLIP model is trained on them."
    top = OneLineParser(prog="cfbd", description=about)
    top.add_argument("--version", action="version", version=f"cfbd {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=LateParser)
    for command in COMMANDS:
        parser = commands.add_parser(command.name, help=command.help, description=command.help)
        parser.late = partial(_complete, parser, command)
        if whole:
            parser.complete()
    return top


def _complete(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give a command's parser what it takes."""
    module = import_module(f"cfbd_core.cli.{command.module}")
    if command.run is not None:
        from cfbd_core.cli.options import place

        parser.set_defaults(run=getattr(module, command.run))
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        if command.audit:
            parser.add_argument(
                "--audit", required=True, type=place, metavar="DIR", help="the audit's folder"
            )
    getattr(module, f"add_{command.name}")(parser)
