"""The command ``cfbd``: parse, call :class:`cfbd_core.audit.Audit`, print.

Results go to stdout (``--json``: one JSON object), progress and logs to stderr. Exit codes: 0 done,
2 the user can mend it (one line on stderr), 1 a bug.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cfbd_core import __version__
from cfbd_core.cli_attack import add_attack
from cfbd_core.cli_bench import add_bench
from cfbd_core.cli_decide import add_decide, add_log, add_turn, decide, redo, show_log, undo
from cfbd_core.cli_estimate import add_estimate, estimate
from cfbd_core.cli_evaluate import add_evaluate
from cfbd_core.cli_export import add_export, add_split_id, export
from cfbd_core.cli_options import (
    OneLineParser,
    add_embed,
    add_ingest,
    add_score,
    add_split,
    embed_params,
    printable,
    source_options,
    split_params,
)
from cfbd_core.cli_progress import Bar, StageBars, TrainBar
from cfbd_core.cli_train import add_train
from cfbd_core.errors import CfbdError, ParameterError

Result = tuple[dict[str, Any], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    try:
        result, text = options.run(options)
    except CfbdError as error:
        print(f"cfbd {options.command}: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"cfbd {options.command}: stopped; call it again to go on", file=sys.stderr)
        return 130
    _tell(json.dumps(result, allow_nan=False, ensure_ascii=False) if options.json else text)
    return 0


def parser() -> argparse.ArgumentParser:
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
            added.add_argument("--audit", required=True, type=Path, metavar="DIR", help="the audit's folder")
        return added

    run = command("run", _run, "the main job: ingest, embed, score, split; called again, it goes on")
    for add in (add_ingest, add_embed, add_score, add_split):
        add(run)
    add_ingest(command("ingest", _ingest, "read the pairs of a source into a new audit"))
    add_embed(command("embed", _embed, "embed images and captions; goes on where it was stopped"))
    add_score(command("score", _score, "consistency and the other scores of every pair"))
    add_split(command("split", _split, "coarse and fine stage: a verdict for every pair"))
    report = command("report", _report, "counts of every subset, evidence, and the truth where it is known")
    report.add_argument(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="write it all as one page to hand on: charts, groups, pictures",
    )
    add_split_id(report)

    drawn = command("map", _map, "lay flagged pairs and a sample of the rest out in the plane, with pictures")
    drawn.add_argument("--space", choices=("captions", "images"), default="captions")
    drawn.add_argument("--points", type=int, default=5000, metavar="N", help="pairs on the map (5,000)")
    drawn.add_argument("--seed", type=int, default=0)

    add_export(command("export", export, "write the clean set, what was removed, or what a filter selects"))
    add_decide(command("decide", decide, "store decisions made elsewhere, as one action of the log"))
    add_log(command("log", show_log, "who decided what, when and why, newest first; or write it to a file"))
    add_turn(command("undo", undo, "undo an action of the log, or the last that counts"))
    add_turn(command("redo", redo, "let an action count again that was undone"))

    add_estimate(command("estimate", estimate, "how many poisons may be left, by a random control sample"))

    add_attack(commands)
    add_bench(commands)
    add_train(commands)
    add_evaluate(commands)

    demo = command("demo", _demo, "make and audit 3,000 demo scenes with planted poison, offline")
    demo.add_argument("--scenes", type=int, default=3000, metavar="N")
    demo.add_argument("--rate", type=float, default=0.02, help="share of poisoned scenes; 0 for none")
    demo.add_argument("--seed", type=int, default=0)

    app = commands.add_parser("app", help="the web app", description="Start the web app; Ctrl-C ends it.")
    app.set_defaults(run=_app)
    app.add_argument("--audit", type=Path, metavar="DIR", help="the audit to open first")
    app.add_argument(
        "--root",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that the app may read and write below; repeatable (default: the working directory)",
    )
    app.add_argument("--port", type=int, metavar="P", help="default: 8501, or the next free one")
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


# --- commands -----------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> Result:
    params, settings = split_params(options), embed_params(options)  # refuse bad values before the work
    _check_named_files(options)
    audit, _ = _ingested(options)
    pairs = audit.pair_count()
    if params.q > pairs:
        raise ParameterError(f"--q {params.q}: the audit has {pairs} pairs; give --q {max(1, pairs // 10)}")
    if params.k > pairs:
        raise ParameterError(f"--k {params.k}: the audit has {pairs} pairs; give --k {pairs}")
    with Bar("embed", pairs) as bar:
        audit.embed(options.encoder, settings, bar.update)
    with Bar("score", audit.pair_count()) as bar, TrainBar("train F") as training:
        audit.score(options.mapping, bar.update, training.update)
    audit.split(params)
    return _report(options)


def _ingest(options: argparse.Namespace) -> Result:
    _, found = _ingested(options)
    return found, validation_text(found)


def _embed(options: argparse.Namespace) -> Result:
    audit = _open(options)
    with Bar("embed", audit.pair_count()) as bar:
        record = audit.embed(options.encoder, embed_params(options), bar.update)
    return record, f"{audit.pair_count():,} pairs embedded with {record['encoder']}, width {record['width']}"


def _score(options: argparse.Namespace) -> Result:
    audit = _open(options)
    with Bar("score", audit.pair_count()) as bar, TrainBar("train F") as training:
        result = audit.score(options.mapping, bar.update, training.update)
    warnings = "".join(f"\nwarning: {warning}" for warning in result["health"]["warnings"])
    return result, f"{result['pairs']:,} pairs scored with {result['mapping']['name']}{warnings}"


def _split(options: argparse.Namespace) -> Result:
    params = split_params(options)
    _open(options).split(params)
    return _report(options)


def _report(options: argparse.Namespace) -> Result:
    from cfbd_core.report import text

    audit = _open(options)
    split = getattr(options, "split", None)  # `run` and `split` report, too
    result = audit.report(split)
    if getattr(options, "html", None) is None:
        return result, text(result)
    from cfbd_core.explorer import Explorer
    from cfbd_core.html_report import write_html_report

    with StageBars({"report": "groups"}) as bars:
        made = write_html_report(Explorer(audit), options.html, bars.update, split)
    return result | {"html": made}, f"{text(result)}\n\nas a page: {made['out']}"


def _map(options: argparse.Namespace) -> Result:
    from cfbd_core.projection import make_map

    with StageBars({"layout": "epochs"}) as bars:
        made = make_map(_open(options), options.space, options.points, options.seed, bars.update)
    info = made.info
    return info, f"{info['points']:,} of {info['pairs']:,} pairs on the map of {options.space}"


def _demo(options: argparse.Namespace) -> Result:
    from cfbd_core.demo_audit import make_demo

    with Bar("draw", options.scenes) as drawn:
        source = make_demo(options.audit, options.scenes, options.seed, options.rate, drawn.update)
    return _run(parser().parse_args(["run", str(source), "--audit", str(options.audit)]))


def _app(options: argparse.Namespace) -> NoReturn:
    from cfbd_core.serve import serve

    serve(
        options.audit,
        options.root,
        options.port,
        options.address,
        options.allow_host,
        browser=not options.no_browser,
    )


def _doctor(options: argparse.Namespace) -> Result:
    from cfbd_core import doctor

    if options.models:
        models = doctor.models()
        return models, "\n".join(f"{name}: {', '.join(tags) or '–'}" for name, tags in models.items())
    found = doctor.examine()
    return found, doctor.text(found)


# --- shared -------------------------------------------------------------------------------------------


def _tell(text: str) -> None:
    """Print a result; a reader that has gone, as in ``cfbd report | head``, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # what is still held back must go nowhere, or Python tries again as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open(options: argparse.Namespace) -> Any:
    from cfbd_core.audit import Audit

    return Audit.open(options.audit)


def _check_named_files(options: argparse.Namespace) -> None:
    """An encoder or a mapping that is not there is told before hours of work, not after."""
    if options.mapping not in ("auto", "self") and not Path(options.mapping).is_file():
        raise ParameterError(
            f"--mapping {options.mapping}: no such file; give a mapping's file, auto or self"
        )
    if options.encoder not in (None, "mini"):
        from cfbd_core.encoders import check_spec

        check_spec(options.encoder)


def _ingested(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Open or create the audit and ingest; a first ingest that fails leaves no folder behind."""
    from cfbd_core.audit import Audit
    from cfbd_core.places import DATABASE_NAME

    is_new = not (options.audit / DATABASE_NAME).is_file()
    audit = Audit.create(options.audit) if is_new else Audit.open(options.audit)
    try:
        with Bar("ingest") as bar:
            found = audit.ingest(options.source, source_options(options), bar.update)
    except BaseException:
        if is_new:
            audit.delete_if_empty()
        raise
    print(validation_text(found), file=sys.stderr)
    return audit, found


def validation_text(found: dict[str, Any]) -> str:
    """The validation report for a terminal."""
    lines = [f"{found['pairs']:,} pairs read, {found['skipped']:,} skipped"]
    for reason in found["reasons"]:
        lines.append(f"  {reason['pairs']:,} × {reason['reason']}")
        for example in reason["examples"]:
            detail = f" – {example['detail']}" if example["detail"] else ""
            lines.append(f"      {printable(example['position'] + detail)}")
    return "\n".join(lines)
