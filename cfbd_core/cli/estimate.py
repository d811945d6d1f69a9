"""``cfbd estimate``: what the control sample says is left, drawn and extended here too."""

from __future__ import annotations

import argparse

from cfbd_core.cli.options import Result, open_audit, whole
from cfbd_core.errors import AuditError, ParameterError


def add_estimate(command: argparse.ArgumentParser) -> None:
    """How many pairs to draw."""
    command.add_argument(
        "--draw",
        type=whole(1),
        metavar="N",
        help="draw a control sample of N pairs; where there is one, N more pairs of its pool",
    )
    command.add_argument("--anew", action="store_true", help="with --draw: put a new sample in its place")


def estimate(options: argparse.Namespace) -> Result:
    """Draw what is asked for, and report the bounds under the split that the audit holds."""
    from cfbd_core.workbench.explorer import Explorer

    audit = open_audit(options)
    params = audit.state.applied_params()
    if params is None:
        raise AuditError(f"{audit.folder}: not split yet; run `cfbd split --audit {audit.folder}` first")
    if options.anew and options.draw is None:
        raise ParameterError("--anew: say with --draw N how many pairs to draw")
    preview = Explorer(audit).preview(params)
    if options.draw is not None:
        if options.anew or preview.pairs.control.get() is None:
            preview.draw_control(options.draw, anew=options.anew)
        else:
            preview.pairs.control.draw_more(options.draw)
    left = preview.what_is_left()
    if left is None:
        raise AuditError(f"{audit.folder}: no control sample yet; --draw 260 draws one")
    pending = left.control.pending(left.decisions)
    keys = audit.columns.keys_of(preview.pairs.rows[pending])
    lines = [*left.sentences, left.needed_sentence(), left.moved_sentence]
    if keys:
        lines.append(f"{len(keys):,} drawn pairs wait for a decision: in the app, or by key with --json.")
    return left.to_dict() | {"pending_keys": keys}, "\n".join(part for part in lines if part)
