"""The command ``cfbd``: parse, call :class:`cfbd_core.audit.audit.Audit`, print.

Results go to stdout (``--json``: one JSON object), progress and logs to stderr. Exit codes: 0 done,
2 the user can mend it (one line on stderr), 130 stopped by Ctrl-C or SIGTERM, 1 a bug.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cfbd_core.errors import CfbdError
from cfbd_core.machine.stopping import STOPPED, Stopping

if TYPE_CHECKING:  # what takes time to import is imported where signals are listened to
    import argparse
    from collections.abc import Mapping, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, that of ``arguments`` or of this process; returns the exit code."""
    with Stopping(whole_process=arguments is None) as stopping:
        if arguments is None:
            from cfbd_core.machine.streams import mend_streams

            mend_streams()
            arguments = sys.argv[1:]
        odd = next((one for one in arguments if not _is_text(one)), None)
        if odd is not None:
            print(f"cfbd: {odd!r}: not UTF-8; rename the file, or give a link to it", file=sys.stderr)
            return 2
        try:
            options = parser().parse_args(arguments)
        except CfbdError as error:
            return _refused(arguments[0], str(error))
        stopping.working = True
        code = _run(options, stopping)
        stopping.working = False
    return code


def parser() -> argparse.ArgumentParser:
    """Return the whole command line."""
    from cfbd_core.cli.parser import command_line

    return command_line()


def _run(options: argparse.Namespace, stopping: Stopping) -> int:
    """Run a command and print what came of it; returns the exit code."""
    import logging

    from cfbd_core.machine.files import system_message

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    try:
        result, text = options.run(options)
        _print(result if options.json else text)
    except CfbdError as error:
        return _refused(options.command, str(error))
    except SystemExit:
        raise
    except BaseException as error:
        if stopping.is_requested or isinstance(error, KeyboardInterrupt):
            print(f"cfbd {options.command}: stopped; call it again to go on", file=sys.stderr)
            return STOPPED
        message = system_message(error)
        if message is None:
            raise
        return _refused(options.command, message)
    return 0


def _is_text(argument: str) -> bool:
    """Return whether it can be stored and printed; Python marks the bytes of a file's name that are no UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(command: str, message: str) -> int:
    from cfbd_core.cli.parsers import printable

    print(f"cfbd {command}: {printable(message)}", file=sys.stderr)
    return 2


def _print(result: Mapping[str, object] | str) -> None:
    """Print a result; a reader that has gone, as in ``cfbd report | head``, is no error."""
    try:
        print(result if isinstance(result, str) else _json(result), flush=True)
    except OSError as error:  # what is still held back must go nowhere, or Python tries again as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise CfbdError(f"the result cannot be printed ({error.strerror}); give another place") from error


def _json(result: Mapping[str, object]) -> str:
    """Return one JSON object that the terminal's encoding can say, also where it is not UTF-8."""
    import json

    text = json.dumps(result, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(result, allow_nan=False)
    return text
