"""Ctrl-C and SIGTERM at any moment of a command: one line, exit code 130, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from cfbd_core.cli import main
from cfbd_core.machine.stopping import STOPPED, Stopping

SIGNALS = ("SIGINT", "SIGTERM")

# A process that gets a signal at a moment of our choice; `run` stands for a command that was parsed.
SCRIPT = """
import argparse, signal, sys, threading, weakref
import cfbd_core.cli.command as cli

class Parser:
    def parse_args(self, _):
        {parsing}
        return argparse.Namespace(command="report", json=False, run=run)

def hit():
    signal.raise_signal(signal.{name})

class Held:
    def __del__(self):
        hit()

def run(_):
    {running}
    return {{}}, "done"

cli.parser = Parser
sys.exit(cli.main())
"""
MOMENTS = {
    "while it is parsed": ("hit()", "pass", "cfbd: stopped"),
    "while it works": ("pass", "hit()", "cfbd report: stopped; call it again to go on"),
    "while a library catches it": (
        "pass",
        "\n    try:\n        hit()\n    except BaseException:\n        raise RuntimeError('Query interrupted')",
        "cfbd report: stopped; call it again to go on",
    ),
    "where Python cannot raise it": (
        "pass",
        "\n    held = Held()\n    del held\n    threading.Event().wait(30)",
        "cfbd report: stopped; call it again to go on",
    ),
    "twice": (
        "pass",
        "\n    try:\n        hit()\n    finally:\n        hit()",
        "",
    ),
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_is_one_line_and_130(name, moment):
    parsing, running, said = MOMENTS[moment]
    script = SCRIPT.format(name=name, parsing=parsing, running=running)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == STOPPED
    assert done.stderr.strip() == said
    assert done.stdout == ""


def test_what_is_done_is_done():
    script = SCRIPT.format(name="SIGINT", parsing="pass", running="pass").replace(
        "sys.exit(cli.main())", "code = cli.main()\nhit()\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopping(whole_process=False) as stopping:
            signal.raise_signal(signal.SIGINT)
            assert not stopping.is_requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_called_from_python_handlers_are_put_back_and_sigterm_is_the_callers(monkeypatch, tmp_path, capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    terminated = []
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("cfbd_core.cli.pipeline.open_audit", interrupted)
    try:
        assert main(["report", "--audit", str(tmp_path)]) == STOPPED
    finally:
        signal.signal(signal.SIGTERM, before[1])
    assert terminated == [True]
    assert capsys.readouterr().err == "cfbd report: stopped; call it again to go on\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
