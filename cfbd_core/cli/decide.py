"""The commands ``cfbd decide``, ``log``, ``undo`` and ``redo``: people's decisions and their log."""

from __future__ import annotations

import argparse
from typing import Any

from cfbd_core.cli.options import Result, open_audit, place, whole
from cfbd_core.cli.parsers import printable
from cfbd_core.errors import ParameterError


def add_decide(command: argparse.ArgumentParser) -> None:
    """Where decisions come from, and whose they are."""
    command.add_argument(
        "--from",
        dest="decisions",
        required=True,
        type=place,
        metavar="CSV",
        help="columns key,decision[,note]",
    )
    _add_who(command)
    command.add_argument("--note", metavar="TEXT", help="why, for the log")


def add_log(command: argparse.ArgumentParser) -> None:
    """How much of the log, and where to."""
    command.add_argument("--limit", type=whole(1), metavar="N", help="print the newest N actions only")
    command.add_argument("--out", type=place, metavar="FILE", help="write the whole log to a .csv or .json")
    command.add_argument("--pairs", action="store_true", help="--out: a line for every pair of an action")
    command.add_argument(
        "--spreadsheet-safe", action="store_true", help="CSV: quote cells that a spreadsheet would run"
    )


def add_turn(command: argparse.ArgumentParser) -> None:
    """Which action."""
    command.add_argument(
        "action", nargs="?", type=whole(1), metavar="ACTION", help="its number in `cfbd log`"
    )
    _add_who(command)


add_undo = add_redo = add_turn


def decide(options: argparse.Namespace) -> Result:
    """Store the decisions of a CSV."""
    from cfbd_core.audit.decisions_file import read_decisions

    audit = open_audit(options)
    decisions = read_decisions(options.decisions, audit.state.most_keys())
    done = audit.decide(decisions, who=options.who, note=options.note, source=options.decisions.name)
    return {"decisions": done.pairs, "action": done.id}, f"{done.pairs:,} decisions stored"


def show_log(options: argparse.Namespace) -> Result:
    """Print the log, or write it."""
    audit = open_audit(options)
    if options.out is None:
        if options.pairs or options.spreadsheet_safe:
            raise ParameterError("--pairs and --spreadsheet-safe are for a file; give --out FILE")
        actions = audit.history(options.limit)
        text = "\n".join(_line(action) for action in actions) or "no decisions yet"
        return {"actions": [action.to_dict() for action in actions]}, text
    if options.limit is not None:
        raise ParameterError("--limit is for printing; --out writes the whole log")
    written = audit.log.export(options.out, pairs=options.pairs, spreadsheet_safe=options.spreadsheet_safe)
    lines, what = (written["pairs"], "pairs") if "pairs" in written else (written["actions"], "actions")
    return written, f"{lines:,} {what} written to {options.out}"


def undo(options: argparse.Namespace) -> Result:
    """Undo an action."""
    return _turned(open_audit(options).undo(options.action, who=options.who))


def redo(options: argparse.Namespace) -> Result:
    """Redo an action."""
    return _turned(open_audit(options).redo(options.action, who=options.who))


def _turned(done: Any) -> Result:
    from cfbd_core.workbench.action_words import action_words

    return done.to_dict(), action_words(done)


def _line(action: Any) -> str:
    from cfbd_core.workbench.action_words import action_words, filter_words

    why = [text for text in (action.note, filter_words(action.filter)) if text]
    parts = [f"#{action.id}", f"{action.time:%Y-%m-%d %H:%M:%S}Z", action.who, action_words(action), *why]
    return printable("  ".join(parts) + ("  (undone)" if action.undone else ""))


def _add_who(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--who", metavar="NAME", help="who does it, for the log (default: your account's name)"
    )
