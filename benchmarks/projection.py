"""How long does the map's layout take, beside umap-learn as it comes on a tenth of the points?

    python benchmarks/projection.py [--points 50000] [--width 256]

The vectors are synthetic: 200 clusters with noise, unit length. A first layout of few points, told
apart, compiles what UMAP leaves to numba. `umap_learn` is UMAP with the cosine metric and defaults but
for the seed, so single-threaded as ours is in its second half.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from cfbd_core.maps.layout import lay_out, let_numba_cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    options = parser.parse_args()
    vectors = _vectors(options.points, options.width)
    tenth = vectors[: options.points // 10]
    stages: dict[str, float] = {}

    def note(stage: str, done: int, total: int | None, _note: str = "", /) -> None:
        if done == total:
            stages[stage] = time.perf_counter()

    found = {"compiling_s": _seconds(lambda: lay_out(vectors[:500]))}
    began = time.perf_counter()
    found["layout_s"] = _seconds(lambda: lay_out(vectors, progress=note))
    found["of_it_neighbours_s"] = round(stages["neighbours"] - began, 1)
    found["layout_of_a_tenth_s"] = _seconds(lambda: lay_out(tenth))
    _umap_learn(tenth)  # compiles: its approximate search has code of its own
    found["umap_learn_of_a_tenth_s"] = _seconds(lambda: _umap_learn(tenth))
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    print(json.dumps({"points": options.points, "width": options.width, "machine": machine, **found}))


def _vectors(points: int, width: int) -> np.ndarray:
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, width), np.float32)
    rows = centres[random.integers(0, 200, points)] + 0.7 * random.standard_normal(
        (points, width), np.float32
    )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _umap_learn(vectors: np.ndarray) -> None:
    let_numba_cache()
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one core
        umap.UMAP(metric="cosine", random_state=0).fit_transform(vectors)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return round(time.perf_counter() - began, 1)


if __name__ == "__main__":
    sys.exit(main())
