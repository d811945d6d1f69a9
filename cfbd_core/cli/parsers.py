"""Parsers whose errors are one line, and that learn what a command takes when it is used.

So ``cfbd --help`` imports no reader, no encoder and no table: a command's module is imported for that command alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NoReturn

from cfbd_core.errors import ParameterError

LEAST_LIKENESS = 0.75  # of 1, how like another an option must be to be named for it


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all of ours."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {printable(message)}; `{self.prog} --help` lists the options\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == [
            "--"
        ]:  # argparse would take it out, and read an empty list
            raise ParameterError(f"{action.option_strings[0]} --: give a value")
        return super()._get_values(action, arg_strings)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except Unfit as unfit:
            name = action.option_strings[0] if action.option_strings else action.metavar
            shown = arg_string if len(arg_string) <= 40 else f"{arg_string[:40]}…"
            raise ParameterError(f"{name} {shown or repr(shown)}: give {unfit}") from None


class Unfit(Exception):
    """A value that can be read and does not do; says what to give."""


class LateParser(OneLineParser):
    """A command's parser; ``late()`` gives it its options, when the command is parsed or its help is asked for."""

    late: Callable[[], None] | None = None

    def complete(self) -> None:
        """Let it have its options now."""
        late, self.late = self.late, None
        if late is not None:
            late()

    def parse_known_args(self, *args: Any, **named: Any) -> Any:
        """Parse, with the command's own options; of one that is not known say which may be meant."""
        self.complete()
        known, unknown = super().parse_known_args(*args, **named)
        if unknown:
            near = get_close_matches(
                unknown[0].partition("=")[0], self._option_string_actions, 1, LEAST_LIKENESS
            )
            self.error(f"{unknown[0]} is unknown here{f'; the nearest option is {near[0]}' if near else ''}")
        return known, unknown

    def format_help(self) -> str:
        """Its help, with the command's own options."""
        self.complete()
        return super().format_help()


def printable(text: str) -> str:
    """A hostile file name must not steer the terminal, nor make two lines of one."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
