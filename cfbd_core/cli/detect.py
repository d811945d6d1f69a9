"""``cfbd detect``: other detectors on an audit, side by side with its verdict."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypedDict

from cfbd_core.cli.options import SEED, Result, open_audit, place
from cfbd_core.cli.parsers import printable
from cfbd_core.cli.progress import Bar

if TYPE_CHECKING:
    from cfbd_core.audit.detect import Compared

LIST = "list"


class About(TypedDict):
    """What is told of a registered detector."""

    name: str
    title: str
    source: str
    trains: bool
    plugin: bool


def add_detect(command: argparse.ArgumentParser) -> None:
    """Which detectors, and what they need."""
    command.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"detectors to run; `{LIST}` tells of all; none: what is stored",
    )
    command.add_argument("--seed", type=SEED, default=0)
    command.add_argument(
        "--run",
        dest="training",
        type=place,
        metavar="RUN",
        help="for detectors that judge by training: a run of `cfbd train --defense abl` on this audit",
    )


def detect(options: argparse.Namespace) -> Result:
    """Run the detectors that are named, or list all, with what is stored of each."""
    from cfbd_core.detectors import DETECTORS

    if options.names == [LIST]:
        every: list[About] = [
            {
                "name": one.name,
                "title": one.title,
                "source": one.source,
                "trains": one.trains,
                "plugin": DETECTORS.is_plugin(name),
            }
            for name, one in DETECTORS.items()
        ]
        return {"detectors": every}, "\n".join(_about(one) for one in every)
    audit = open_audit(options)
    if not options.names:
        detections = audit.detections()
    else:
        losses = None
        if options.training is not None:
            from cfbd_core.training.losses import losses_of

            losses = losses_of(options.training)
        with Bar("detect", len(options.names), "detectors") as bar:
            detections = audit.detect(*options.names, seed=options.seed, losses=losses, progress=bar.report)
    lines = [_line(one) for one in detections] or ["no detector has judged this audit's scores yet"]
    return {"detections": detections}, "\n".join(lines)


def _about(one: About) -> str:
    marks = [
        mark
        for mark, holds in (("by training: --run", one["trains"]), ("of another package", one["plugin"]))
        if holds
    ]
    ending = f" [{'; '.join(marks)}]" if marks else ""
    return printable(f"{one['name']}  {one['title']} ({one['source']}){ending}")


def _line(one: Compared) -> str:
    line = (
        f"{one['title']}: {one['flagged']:,} flagged, {one['both']:,} by the verdict, too; "
        f"{one['alone']:,} by it alone, {one['verdict_alone']:,} by the verdict alone"
    )
    if one["auroc"] is not None:
        line += f"; against the truth AUROC {one['auroc']:.4f}, TPR {one['tpr']:.2%}, FPR {one['fpr']:.2%}"
    return printable(line)
