"""The commands of the main job: ``run``, its four steps, and ``report`` and ``map``, which read what came out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cfbd_core.cli.options import (
    SEED,
    Result,
    add_embed,
    add_ingest,
    add_score,
    add_split,
    add_split_id,
    embed_params,
    open_audit,
    place,
    source_options,
    split_params,
    whole,
)
from cfbd_core.cli.parsers import printable
from cfbd_core.cli.progress import Bar, StageBars, TrainBar
from cfbd_core.errors import ParameterError
from cfbd_core.machine.places import at_home

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit
    from cfbd_core.audit.ingest import ValidationReport
    from cfbd_core.audit.scoring import ScoringResult
    from cfbd_core.store.entries import EmbeddingEntry, SkipReason


def add_run(command: argparse.ArgumentParser) -> None:
    """Every option of the four steps."""
    for add in (add_ingest, add_embed, add_score, add_split):
        add(command)


def add_report(command: argparse.ArgumentParser) -> None:
    """As a page, and of which split."""
    command.add_argument(
        "--html",
        type=place,
        metavar="FILE.html",
        help="write it all as one page to hand on: charts, groups, pictures",
    )
    add_split_id(command)


def add_map(command: argparse.ArgumentParser) -> None:
    """Of what, how many points."""
    command.add_argument("--space", choices=("captions", "images"), default="captions")
    command.add_argument("--points", type=whole(), default=5000, metavar="N", help="pairs on the map (5,000)")
    command.add_argument("--seed", type=SEED, default=0)


def run(options: argparse.Namespace) -> Result:
    """Do what is missing of all four steps, and report."""
    params, settings = split_params(options), embed_params(options)  # refuse bad values before the work
    _check_named_files(options)
    audit, _ = _ingested(options)
    pairs = audit.state.pair_count()
    if params.q > pairs:
        raise ParameterError(f"--q {params.q}: the audit has {pairs} pairs; give --q {max(1, pairs // 10)}")
    if params.k > pairs:
        raise ParameterError(f"--k {params.k}: the audit has {pairs} pairs; give --k {pairs}")
    with Bar("embed", pairs) as bar:
        record = audit.embed(options.encoder, settings, bar.report)
    for line in _not_compared(record):
        print(line, file=sys.stderr)
    _score(audit, options)
    audit.split(params)
    return report(options)


def ingest(options: argparse.Namespace) -> Result:
    """Read the source."""
    _, report = _ingested(options)
    return report, validation_text(report)


def embed(options: argparse.Namespace) -> Result:
    """Embed."""
    audit = open_audit(options)
    with Bar("embed", audit.state.pair_count()) as bar:
        record = audit.embed(options.encoder, embed_params(options), bar.report)
    lines = [f"{audit.state.pair_count():,} pairs embedded with {record['encoder']}, width {record['width']}"]
    reasons = [one for one in audit.validation_report()["reasons"] if one["stage"] == "embed"]
    return record, "\n".join([*lines, *_not_compared(record), *_reason_lines(reasons)])


def score(options: argparse.Namespace) -> Result:
    """Score."""
    from cfbd_core.audit.report import unscored_lines

    audit = open_audit(options)
    result = _score(audit, options)
    lines = [f"{result['pairs']:,} pairs scored with {result['mapping']['name']}"]
    lines += map(printable, unscored_lines(result["unscored_reasons"]))
    lines += [f"warning: {warning}" for warning in result["health"]["warnings"]]
    return result, "\n".join(lines)


def split(options: argparse.Namespace) -> Result:
    """Split, and report."""
    params = split_params(options)
    open_audit(options).split(params)
    return report(options)


def report(options: argparse.Namespace) -> Result:
    """Report what came out, or write it as a page."""
    from cfbd_core.audit.report import text

    audit = open_audit(options)
    split = getattr(options, "split", None)  # `run` and `split` report, too
    result = audit.report(split)
    if getattr(options, "html", None) is None:
        return result, text(result)
    from cfbd_core.html_report import write_html_report
    from cfbd_core.workbench.explorer import Explorer

    with StageBars({"report": "groups"}) as bars:
        made = write_html_report(Explorer(audit), options.html, bars.report, split)
    return result | {"html": made}, f"{text(result)}\n\nas a page: {made['out']}"


def draw_map(options: argparse.Namespace) -> Result:
    """Make the map."""
    from cfbd_core.maps.maps import make_map

    with StageBars({"layout": "epochs"}) as bars:
        made = make_map(open_audit(options), options.space, options.points, options.seed, bars.report)
    info = made.info
    return info, f"{info['points']:,} of {info['pairs']:,} pairs on the map of {options.space}"


# --- shared -------------------------------------------------------------------------------------------


def _check_named_files(options: argparse.Namespace) -> None:
    """Raise for an encoder or a mapping that is not there before hours of work, not after."""
    if options.mapping not in ("auto", "self") and not os.path.isfile(at_home(options.mapping)):
        raise ParameterError(
            f"--mapping {options.mapping}: no such file; give a mapping's file, auto or self"
        )
    if options.encoder not in (None, "mini"):
        from cfbd_core.embedding.encoders import check_spec

        check_spec(options.encoder)


def _score(audit: Audit, options: argparse.Namespace) -> ScoringResult:
    """Score; where F is trained, that has a bar of its own."""
    with Bar("score", audit.state.pair_count()) as bar, TrainBar("train F") as training:
        bars = {"score": bar, "train F": training}
        return audit.score(options.mapping, lambda stage, *state: bars[stage].report(stage, *state))


def _ingested(options: argparse.Namespace) -> tuple[Audit, ValidationReport]:
    """Open or create the audit and ingest; a first ingest that fails leaves no folder behind."""
    from cfbd_core.audit.audit import Audit
    from cfbd_core.machine.places import DATABASE_NAME

    is_new = not os.path.isfile(options.audit / DATABASE_NAME)
    audit = Audit.create(options.audit) if is_new else Audit.open(options.audit)
    try:
        with Bar("ingest") as bar:
            report = audit.ingest(options.source, source_options(options), bar.report)
    except BaseException:
        if is_new:
            audit.delete_if_empty()
        raise
    if options.command != "ingest" or options.json:  # else it is the result
        print(validation_text(report), file=sys.stderr)
    return audit, report


def _not_compared(record: EmbeddingEntry) -> list[str]:
    """Return a warning where embeddings were made again, and nobody knows what of."""
    if "not_compared" not in record:
        return []
    return [
        f"warning: what the pictures of {record['not_compared']:,} pairs were when they were embedded before is not "
        "known any more; they were embedded as they are now"
    ]


def validation_text(report: ValidationReport) -> str:
    """Return the validation report for a terminal."""
    from cfbd_core.audit.report import unread_lines, unscored_lines

    lines = [f"{report['pairs']:,} pairs read, {report['skipped']:,} skipped"]
    if "again" in report:
        lines.append(f"  {printable(report['again'])}")
    more_lines = [*unscored_lines(report["unscored"]), *unread_lines(report)]
    return "\n".join([*lines, *_reason_lines(report["reasons"]), *map(printable, more_lines)])


def _reason_lines(reasons: Sequence[SkipReason]) -> list[str]:
    """Why pairs were skipped, with examples."""
    lines = []
    for reason in reasons:
        lines.append(f"  {reason['pairs']:,} × {reason['reason']}")
        for example in reason["examples"]:
            detail = f" – {example['detail']}" if example["detail"] else ""
            lines.append(f"      {printable(example['position'] + detail)}")
    return lines
