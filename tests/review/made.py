"""Pairs of which some are poisoned, for the tests of the review: scores and embeddings that tell a little."""

from __future__ import annotations

import numpy as np

from cfbd_core.review import ReviewPairs


def poisoned_pairs(
    n: int = 1500, poisons: int = 30, seed: int = 0, width: int = 24
) -> tuple[ReviewPairs, np.ndarray, np.ndarray, np.ndarray]:
    """Features, truth bool (n,), z and c (n,); poisons have larger c and captions about one thing."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, bool)
    truth[rng.choice(n, poisons, replace=False)] = True
    text, image = rng.normal(size=(n, width)), rng.normal(size=(n, width))
    text[truth] += 3 * np.eye(width)[0]
    z = (rng.normal(0, 0.1, n) + 0.08 * truth).astype(np.float32)
    c = np.abs(rng.normal(0, 0.1, n) + 0.2 * truth).astype(np.float32)
    other = rng.normal(size=(n, 2)).astype(np.float32)
    pairs = ReviewPairs.from_scores(
        np.column_stack([z, c, other]), text.astype(np.float16), image.astype(np.float16), seed=seed
    )
    return pairs, truth, z, c
