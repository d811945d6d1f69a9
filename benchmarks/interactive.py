"""What a move of a slider costs on a large audit, server side: new counts and all chart data.

    python tools/make_large_audit.py build/large --audit build/large-audit
    python benchmarks/interactive.py build/large-audit

A move of K, γ or γ_z, and any filter + sort + page of the pairs table, are told in milliseconds. A move of
q reads every caption embedding again; it is told as a ratio to summing the same mapped embeddings as
int64 with numpy, in the same run. The audit is not changed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cfbd_core import Audit, SplitParams
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.pair_filter import PairFilter
from cfbd_core.workbench.preview import Preview

PAGE = 60
ROUNDS = 5


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def told(name: str, times: list[float], bar: str) -> None:
    """One line: median and maximum."""
    print(f"{name:52} median {np.median(times):7.0f} ms, most {max(times):7.0f} ms   (bar {bar})")


def chart_data(preview: Preview) -> None:
    """Everything that a page asks of a preview but the evidence."""
    _ = preview.counts
    preview.consistency_histogram()
    preview.z_histogram()
    preview.overruled()
    if preview.pairs.has_truth:
        preview.poisons_by_consistency()
        preview.poisons_by_z()
        preview.confusion(preview.flagged)


def memory() -> str:
    """Peak resident memory, mapped embeddings included."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


def sliders(explorer: Explorer) -> None:
    """Moves of K, γ and γ_z."""
    move = lambda **values: chart_data(explorer.preview(SplitParams(**values)))  # noqa: E731
    cold = [timed(lambda k=k: explorer.mixture(k)) for k in range(1, 11)]
    told("a new fit, K = 1 … 10 (made in the background)", cold, "–")
    told("move K", [timed(lambda k=k: move(k=k)) for k in (3, 8, 1, 10, 5)], "≤ 200 ms")
    told("move γ", [timed(lambda g=g: move(gamma=g)) for g in (0.5, 0.8, 0.95, 0.99, 0.7)], "≤ 200 ms")
    by_hand = [timed(lambda g=g: move(gamma_z=g, gamma_z_rule="manual")) for g in (0.3, 0.4, 0.5, 0.6, 0.7)]
    told("move γ_z", by_hand, "≤ 200 ms")
    rules = [timed(lambda r=r: move(gamma_z_rule=r)) for r in ("valley", "mixture")]
    told("rules valley and mixture", rules, "≤ 200 ms")
    posterior = [timed(lambda g=g: move(rule="posterior", gamma=g)) for g in (0.5, 0.8, 0.95)]
    told("move γ under the rule posterior", posterior, "≤ 200 ms")
    told(
        "heat map of |D_b| over K × γ",
        [timed(lambda: explorer.benign_by(range(1, 11), (0.5, 0.9, 0.99)))],
        "–",
    )


def probe(explorer: Explorer) -> None:
    """Moves of q against one read of the embeddings, in turns."""

    def read() -> int:
        return sum(int(shard.view(np.int64).sum()) for shard in explorer.texts)

    read()  # from now on all of it is mapped
    ratios, moves, reads = [], [], []
    for q in (60, 40, 100, 300, 77)[:ROUNDS]:
        reads.append(timed(read))
        moves.append(timed(lambda q=q: chart_data(explorer.preview(SplitParams(q=q)))))
        ratios.append(moves[-1] / reads[-1])
    told("one read: int64 sum of the fp16 embeddings", reads, "–")
    told("move q: new z, counts, chart data", moves, "≤ 2 reads")
    print(f"{'':52} {np.median(ratios):.2f} × the read (most {max(ratios):.2f} ×)")
    fresh = [explorer.preview(SplitParams(q=q)) for q in (60, 300)]
    evidence = [timed(lambda p=p: p.evidence) for p in fresh]
    told("evidence for a new q (200 random draws)", evidence, "–")


def table(explorer: Explorer) -> None:
    """Filters, sorts and pages, each up to the rows that the page shows; then text searches."""
    preview = explorer.preview(SplitParams())
    middle = float(np.median(explorer.consistency))

    def page(view: PairFilter, number: int = 0) -> None:
        positions = view.positions(preview)
        explorer.pairs_at(positions[number * PAGE : (number + 1) * PAGE])

    views = {
        "removed by z": (PairFilter(), 0),
        "all by z, first time": (PairFilter(show="all"), 0),
        "all by z, page 10,000": (PairFilter(show="all"), 10_000),
        "all by c rising, first time": (PairFilter(show="all", sort="consistency", descending=False), 0),
        "kept, suspicious, by c": (PairFilter(show="kept", subsets=("suspicious",), sort="consistency"), 7),
        "c in a range, by z": (PairFilter(show="all", c=(middle, middle + 0.1)), 3),
        "z in a range, as read": (PairFilter(show="all", z=(0.1, 0.2), sort="row", descending=False), 100),
        "D_b, by z, last pages": (PairFilter(show="all", subsets=("benign",)), 20_000),
        "undecided, by c": (PairFilter(show="all", decisions=("",), sort="consistency"), 1),
    }
    for name, (view, number) in views.items():
        told(f"table: {name}", [timed(lambda v=view, n=number: page(v, n))], "≤ 300 ms")
    for text in ("banana", "a photo of", "no such words"):
        told(f"table: search {text!r}", [timed(lambda t=text: page(PairFilter(show="all", text=t)))], "≤ 1 s")


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("audit", type=Path)
    folder = parser.parse_args().audit
    began = time.perf_counter()
    explorer = Explorer(Audit.open(folder))
    opened = time.perf_counter() - began
    width = explorer.texts[0].shape[1]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}"
    )
    print(f"N = {len(explorer):,}, width {width}, {len(explorer.texts)} shards; opened in {opened:.2f} s")
    explorer.preview(SplitParams())  # compiles, maps the embeddings
    sliders(explorer)
    probe(explorer)
    table(explorer)
    print(f"peak memory {memory()} (bar 6 GB)")


if __name__ == "__main__":
    main()
