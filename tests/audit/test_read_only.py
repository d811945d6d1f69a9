"""An audit on a file system that may only be read: what reads works, what writes says so in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cfbd_core import Audit, SplitParams
from tests.toy import ToyEncoder

# Runs commands of our own in a process whose mount of the audit is read-only; prints each one's code and last line.
SCRIPT = """
import contextlib, io, json, sys
from cfbd_core import Audit
from cfbd_core.cli import main

told = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(words)
    told.append([code, (said.getvalue().strip().splitlines() or [""])[-1]])
audit = Audit.open(sys.argv[2])
print(json.dumps({"told": told, "pairs": audit.pairs().num_rows, "actions": len(audit.history())}))
"""
SHELL = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$4" "$1"'


@pytest.fixture
def audit(tmp_path, toy_source) -> Audit:
    made = Audit.create(tmp_path / "audit")
    made.ingest(toy_source(60))
    made.embed(ToyEncoder())
    made.score("self")
    made.split(SplitParams(q=4, k=2))
    made.decide_rows(made.columns.scored()[1][:3], 2)
    shutil.rmtree(made.folder / "runs", ignore_errors=True)
    return made


def test_what_reads_works_and_what_writes_says_so(audit, tmp_path):
    out, home = tmp_path / "out", str(audit.folder)
    out.mkdir()
    reading = [
        ["report"],
        ["report", "--html", f"{out}/r.html"],
        ["log"],
        ["log", "--out", f"{out}/l.csv", "--pairs"],
        ["export", "--out", f"{out}/e.csv"],
        ["export", "--out", f"{out}/e.parquet", "--subset", "all"],
        ["export", "--out", f"{out}/w.csv", "--where", "show=removed"],
    ]
    (tmp_path / "d.csv").write_text("key,decision\n0000,keep\n")
    writing = [
        ["split", "--q", "4", "--k", "2"],
        ["score"],
        ["undo"],
        ["decide", "--from", str(tmp_path / "d.csv")],
        ["map", "--points", "20"],
        ["estimate", "--draw", "5"],
    ]
    commands = [[words[0], "--audit", home, *words[1:]] for words in (*reading, *writing)]
    mounted = ["unshare", "-m", "sh", "-c", SHELL, "sh", home, sys.executable, SCRIPT, json.dumps(commands)]
    done = subprocess.run(
        mounted, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=300
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no mount of our own here: {done.stderr.strip()[:100]}")
    found = json.loads(done.stdout.splitlines()[-1])
    codes = [code for code, _ in found["told"]]
    assert codes == [0] * len(reading) + [2] * len(writing), found["told"]
    for _, line in found["told"][len(reading) :]:
        assert "not writable (Read-only file system)" in line
    assert (found["pairs"], found["actions"]) == (60, 1)
    assert Audit.open(audit.folder).history()[0].pairs == 3
    assert {"r.html", "l.csv", "e.csv", "e.parquet", "w.csv"} <= {path.name for path in out.iterdir()}
