"""How fast demo scenes are drawn, with their captions, on one core and on all.

    python benchmarks/scenes.py [--n 2000] [--size 224] [--processes 2]

Drawing alone is measured (the bar: at least 200 scenes/s at 224 px on 2 cores), then drawing, JPEG
encoding and shard writing together, as ``cfbd demo`` does it. Every run is a fresh process pool with
cold glyph caches.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

from cfbd_core.demo import DemoParams, draw_scenes, write_demo
from cfbd_core.machine.workers import ordered_map, usable_cores

SEED = 4242
CHUNK = 20


def draw_chunk(job: tuple[int, int, int]) -> int:
    start, count, size = job
    return sum(1 for _ in draw_scenes(SEED, count, start, size))


def drawing_rate(n: int, size: int, processes: int) -> float:
    """Scenes drawn a second, wall clock; one process draws in this one."""
    jobs = [(start, min(CHUNK, n - start), size) for start in range(0, n, CHUNK)]
    began = time.perf_counter()
    drawn = sum(ordered_map(draw_chunk, jobs, processes))
    return drawn / (time.perf_counter() - began)


def writing_rate(n: int, size: int, processes: int) -> float:
    """Scenes drawn, encoded and written a second."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        write_demo(Path(folder), DemoParams(n, SEED, size=size), processes=processes)
        return n / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--processes", type=int, default=usable_cores())
    options = parser.parse_args()
    n, size, many = options.n, options.size, options.processes
    print(f"{platform.machine()}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}; n = {n}, {size} px")
    many_rate = drawing_rate(
        n, size, many
    )  # before the caches of this process are warm: workers inherit them
    written = writing_rate(n, size, many)
    cpu = time.process_time()
    single = drawing_rate(n, size, 1)
    cpu = (time.process_time() - cpu) / n
    print(
        f"drawing, 1 process:                 {single:7.0f} scenes/s  ({1000 * cpu:.1f} ms of processor time a scene)"
    )
    print(f"drawing, {many} processes:               {many_rate:7.0f} scenes/s")
    print(f"drawing + JPEG + tar, {many} processes:  {written:7.0f} scenes/s")


if __name__ == "__main__":
    main()
