"""3.3 million pairs from Parquet to a clean CSV, as whole processes.

    python tools/make_large_audit.py --out build/large
    python benchmarks/scale.py build/large build/large-audit

Runs ``cfbd ingest``, ``cfbd score``, ``cfbd split`` and ``cfbd export`` one after another and prints the
seconds and the peak memory of each, beside one read of the source's bytes in the same run. The audit's
folder must not exist.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path


def run(*arguments: str) -> tuple[float, float]:
    """Run one command of ``cfbd``; returns its seconds and its peak resident memory in GiB."""
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, "-m", "cfbd_core", *arguments], dict(os.environ))
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"cfbd {arguments[0]} failed with {os.waitstatus_to_exitcode(status)}")
    seconds, peak = time.perf_counter() - began, usage.ru_maxrss / 2**20
    print(f"{arguments[0]:8} {seconds:8.1f} s, peak memory {peak:.2f} GiB", flush=True)
    return seconds, peak


def read(source: Path) -> float:
    """Seconds to read all bytes of the source's tables once."""
    began = time.perf_counter()
    for path in sorted(source.rglob("*.parquet")):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("audit", type=Path)
    parser.add_argument("--mapping", default="auto", help="F for `cfbd score`: auto, self or a file")
    options = parser.parse_args()
    audit = ["--audit", str(options.audit)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"one read of the source: {read(options.source):.1f} s")
    ingest, score = (
        run("ingest", str(options.source), *audit),
        run("score", *audit, "--mapping", options.mapping),
    )
    print(f"to scored {ingest[0] + score[0]:7.1f} s   (bar 240 s, 6 GB)")
    run("split", *audit)
    run("export", *audit, "--out", str(options.audit) + ".csv")


if __name__ == "__main__":
    main()
