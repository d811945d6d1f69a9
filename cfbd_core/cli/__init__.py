"""The command line: one module a command, thin over the facade."""

from cfbd_core.cli.command import main

__all__ = ["main"]
