"""What decisions cost on a large audit: a bulk decision and its undo, a single one, a page of the log.

    python benchmarks/decisions.py [--n 3300000] [--bulk 100000] [--audit DIR]

Without ``--audit`` a scored audit of N pairs (no pictures, no embeddings) is made in a temporary folder. Each figure
is from the call to the audit's being stored and known to the app (``workbench.explorer.Explorer``); beside
the wall time stands what the processor worked, which other processes on the machine disturb less. Last, the same
with a log of 20 further bulk decisions behind it. With ``--audit`` its decisions are changed: give a copy.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cfbd_core import Audit
from cfbd_core.store import queries
from cfbd_core.store.acting import Provenance
from cfbd_core.store.adding import add_pairs
from cfbd_core.store.scores import replace_scores, replace_verdicts
from cfbd_core.workbench.explorer import Explorer

ROUNDS = 5
FURTHER = 20


def told(name: str, work: Callable[[int], object], bar: str, rounds: int = ROUNDS) -> None:
    """Do it several times; one line: median and maximum in ms, and the processor's median."""
    walls, cpus = [], []
    for turn in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work(turn)
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    print(
        f"{name:42} median {np.median(walls):6.0f} ms, most {max(walls):6.0f} ms,"
        f" processor {np.median(cpus):6.0f} ms   (bar {bar})",
        flush=True,
    )


def make_audit(folder: Path, n: int) -> Audit:
    """A scored and split audit of ``n`` pairs that has only what decisions need."""
    audit = Audit.create(folder / "audit")
    rng = np.random.default_rng(0)
    rows = np.arange(n)
    c = rng.normal(0.05, 0.08, n).astype(np.float32)
    texts = ("label", "attack", "target", "origin_key", "origin_caption")
    pairs = pa.table(
        {
            "row": rows,
            "key": [f"images/{row // 10_000:05d}/{row:09d}" for row in range(n)],
            "image": [f"/images/{row:09d}.jpg" for row in range(n)],
            "caption": [f"a caption of the scene {row % 20_011}" for row in range(n)],
            "poisoned": pa.nulls(n, pa.bool_()),
            **{name: pa.nulls(n, pa.int64()) for name in ("image_offset", "image_size")},
            **{name: pa.nulls(n, pa.string()) for name in texts},
        }
    )
    (folder / "parts").mkdir()
    pq.write_table(pairs, folder / "parts" / "pairs_000000.parquet")
    scores = dict.fromkeys(("s_o", "s_g", "consistency", "residual", "residual_calibrated", "intra"), c)
    with audit.files.database.writing(reads=folder / "parts") as connection:
        add_pairs(connection, folder / "parts")
        replace_scores(connection, pa.table({"row": rows, **scores}))
        subset = rng.integers(0, 3, n).astype(np.int8)
        replace_verdicts(connection, rows, c.astype(np.float64), subset, c > 0.25)
        queries.record_run(connection, "score", datetime.now(UTC), {}, {})
    return audit


def measure(explorer: Explorer, bulk: int) -> None:
    """Bulk decisions, single ones, and what the Log page reads."""
    rng = np.random.default_rng(1)
    n, audit = len(explorer), explorer.audit
    chosen = [rng.choice(n, bulk, replace=False) for _ in range(ROUNDS)]
    done = []
    filter_ = {"show": "removed", "text": "banana"}
    told(
        f"bulk decision on {bulk:,} pairs",
        lambda turn: done.append(explorer.decide(chosen[turn], 2, by=Provenance("ada", filter=filter_))),
        "≤ 2 s",
    )
    told("its undo, newest first", lambda turn: explorer.undo(done[-1 - turn].id, who="ada"), "≤ 2 s")
    told("its redo, oldest first", lambda turn: explorer.redo(done[turn].id, who="ada"), "≤ 2 s")
    told(
        "undo of the oldest, the later ones stay", lambda _: explorer.undo(done[0].id, who="ada"), "≤ 2 s", 1
    )
    one = []
    told("decision on one pair", lambda turn: one.append(explorer.decide(chosen[0][[turn]], 1)), "≤ 250 ms")
    told("its undo", lambda turn: explorer.undo(one[turn].id), "≤ 250 ms")

    def page(_: int) -> None:
        actions = audit.history(20)
        audit.log.examples([action.id for action in actions])

    told("a page of the log", page, "≤ 500 ms")
    told("an explorer that was elsewhere catches up", lambda _: audit.log.news((0, 0)), "–")


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=3_300_000)
    parser.add_argument("--bulk", type=int, default=100_000)
    parser.add_argument("--audit", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        audit = Audit.open(options.audit) if options.audit else make_audit(Path(temporary), options.n)
        explorer = Explorer(audit)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, duckdb {duckdb.__version__}"
        )
        print(f"N = {len(explorer):,}; file {audit.state.stamp()[1] / 1e6:.0f} MB")
        measure(explorer, options.bulk)
        rng = np.random.default_rng(2)
        for turn in range(FURTHER):
            explorer.decide(rng.choice(len(explorer), options.bulk, replace=False), 1 + turn % 3)
        print(f"with {FURTHER} more bulk decisions in the log; file {audit.state.stamp()[1] / 1e6:.0f} MB")
        measure(explorer, options.bulk)


if __name__ == "__main__":
    main()
