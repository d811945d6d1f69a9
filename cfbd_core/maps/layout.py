"""Lay embeddings out in the plane: exact cosine neighbours, then UMAP (McInnes et al. 2018).

UMAP's own neighbour search is approximate and, seeded, runs on one core. A matrix product in blocks
is exact, has no trouble with duplicates and is fast enough for the 100,000 points that a chart shows.
The layout starts from the two principal components, which always exist; UMAP's spectral start fails
on graphs that fall into many parts, as those of repeated captions do.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cfbd_core.machine.progress import Progress, no_progress

NEIGHBOURS = 15
MIN_DIST = 0.1
BLOCK_VALUES = 2**25  # similarities held at a time: 128 MB
SAME_DISTANCE = 1e-6  # cosine distances below are rounding
SPREAD_QUANTILE = 0.95


def lay_out(vectors: np.ndarray, seed: int = 0, progress: Progress = no_progress) -> np.ndarray:
    """Place unit vectors (n, d), n ≥ 3, in the plane: float32 (n, 2), centred; most lie within ±1.

    The same seed gives the same layout on the same machine. ``progress(stage, done, total)`` gets
    the stages "neighbours" (points) and "layout" (epochs).
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    random = np.random.RandomState(seed)  # the kind that UMAP takes
    index, distance = nearest(vectors, min(NEIGHBOURS, len(vectors) - 1), progress)
    return _scaled(_umap(index, distance, _start(vectors, random), random, progress))


def nearest(
    vectors: np.ndarray, count: int, progress: Progress = no_progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` nearest of unit vectors (n, d): index int32 and cosine distance float32, (n, count).

    Each is its own first neighbour, at distance 0.
    """
    import torch

    tensor, n = torch.from_numpy(vectors), len(vectors)
    index, distance = np.empty((n, count), np.int32), np.empty((n, count), np.float32)
    step = max(1, BLOCK_VALUES // n)
    for start in range(0, n, step):
        rows = torch.arange(start, min(start + step, n))
        similarity = tensor[rows] @ tensor.T
        similarity[torch.arange(len(rows)), rows] = torch.inf
        values, columns = similarity.topk(count, dim=1)
        index[start : start + len(rows)] = columns.numpy()
        distance[start : start + len(rows)] = 1 - values.numpy()
        progress("neighbours", start + len(rows), n)
    distance[:, 0] = 0
    distance[distance < SAME_DISTANCE] = 0
    return index, distance


def _start(vectors: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return the two principal components, and a little noise that parts equal points."""
    centred = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    place = centred @ axes[:, -2:]
    noise = random.normal(scale=1e-3 * max(place.std(), 1e-3), size=(len(vectors), 2))
    start: np.ndarray = noise.astype(np.float32)
    start[:, : place.shape[1]] += place
    return start


def _umap(
    index: np.ndarray,
    distance: np.ndarray,
    start: np.ndarray,
    random: np.random.RandomState,
    progress: Progress,
) -> np.ndarray:
    let_numba_cache()
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

    epochs = 500 if len(start) <= 10_000 else 200  # UMAP's own choice
    progress("layout", 0, epochs)
    graph, _, _ = fuzzy_simplicial_set(
        start, index.shape[1], random, "cosine", knn_indices=index, knn_dists=distance
    )
    a, b = find_ab_params(spread=1.0, min_dist=MIN_DIST)
    xy, _ = simplicial_set_embedding(
        start,
        graph,
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=epochs,
        init=start,
        random_state=random,
        metric="cosine",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        verbose=False,
        # UMAP has no callback, but a bar: it is one if it writes bare numbers to us.
        tqdm_kwds={
            "disable": False,
            "file": _Epochs(progress, epochs),
            "bar_format": "{n}",
            "mininterval": 0.2,
        },
    )
    placed: np.ndarray = xy
    return placed


class _Epochs:
    """A file for tqdm to write the number of the epoch to."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress, self._epochs = progress, epochs

    def write(self, text: str) -> None:
        if text.strip().isdigit():
            self._progress("layout", int(text), self._epochs)

    def flush(self) -> None:
        pass


def _scaled(xy: np.ndarray) -> np.ndarray:
    """Centre on the median and scale by how far most points are, so that a far island moves nothing."""
    centred = xy - np.median(xy, axis=0)
    spread = np.quantile(np.abs(centred), SPREAD_QUANTILE, axis=0).max()
    scaled: np.ndarray = (centred / max(float(spread), np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled


def let_numba_cache() -> None:
    """Give numba a folder for its compiled code; call it before UMAP is imported.

    UMAP asks numba to keep what it compiles beside its sources or in the home folder. Where neither can
    be written, as in a container with a foreign user, its import fails.
    """
    from numba import config

    known: Any = config  # its settings are made at run time
    package = importlib.util.find_spec("umap")
    if known.CACHE_DIR or package is None or package.origin is None:
        return
    sources = Path(package.origin).parent
    beside = sources / "__pycache__"
    if not os.access(beside if beside.is_dir() else sources, os.W_OK):
        known.CACHE_DIR = str(_private_folder())


def _private_folder() -> Path:
    """Return a folder that only this user can write to: what lies in it is run."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cfbd-auditor" / "numba"
    shared = Path(tempfile.gettempdir()) / f"cfbd-auditor-numba-{os.getuid()}"
    for folder in (home, shared):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.lstat()
        except OSError:
            continue
        is_ours = status.st_uid == os.getuid() and not folder.is_symlink() and not status.st_mode & 0o022
        if is_ours and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="cfbd-auditor-numba-"))
