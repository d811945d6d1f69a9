"""What cannot be printed ends no job: streams that are closed, full, or know few letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import argparse, sys
import cfbd_core.cli.command as cli
from cfbd_core.cli.progress import Bar

def run(options):
    print("a word on the way", file=sys.stderr, flush=True)
    with Bar("work", 10) as bar:
        bar.update(10)
    open(sys.argv[1], "w").write("worked")
    return {"γ": "\N{GRINNING FACE}"}, "γ = 0.9"

options = argparse.Namespace(command="report", json="--json" in sys.argv, run=run)
cli.parser = lambda: argparse.Namespace(parse_args=lambda _: options)
sys.exit(cli.main())
"""


def run(
    tmp_path: Path, redirect: str, *more: str, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[bytes]:
    mark = tmp_path / "mark"
    command = f'"$0" -c "$1" "$2" {" ".join(more)} {redirect}'
    words = ["sh", "-c", command, sys.executable, SCRIPT, str(mark)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(words, capture_output=True, timeout=60, check=False, env=environment)
    assert mark.read_text() == "worked"
    return done


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "2>&1 | true"])
def test_closed_and_full_streams_end_no_job(tmp_path, redirect):
    done = run(tmp_path, redirect)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"a word" not in done.stdout  # what belongs to stderr is not told on stdout in its stead


def test_a_result_that_cannot_be_printed_is_told(tmp_path):
    done = run(tmp_path, ">/dev/full")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        "cfbd report: the result cannot be printed (No space left on device); give another place"
    )


def test_letters_that_a_terminal_does_not_know_are_spelt_out(tmp_path):
    assert run(tmp_path, "", encoding="ascii").stdout == b"\\u03b3 = 0.9\n"
    told = run(tmp_path, "", "--json", encoding="ascii").stdout
    assert json.loads(told) == {"γ": "\N{GRINNING FACE}"}
    assert json.loads(run(tmp_path, "", "--json").stdout) == json.loads(told)
