"""Pairs for tests of detectors: a benign bulk, with or without poison, as embeddings and losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cfbd_core.detectors import Pairs
from cfbd_core.method.scores import Scores, consistency_scores, unit_rows

WIDTH = 128


def pairs_of(
    image: np.ndarray, text: np.ndarray, synthetic: np.ndarray | None = None, seed: int = 0
) -> Pairs:
    """Pairs of these embeddings, F being the identity unless given."""
    scores = consistency_scores(image, text, image if synthetic is None else synthetic)
    keys = [f"{row:05d}" for row in range(len(image))]
    return Pairs(
        image, text, scores, [f"caption {chr(0x4E00 + row)}" for row in range(len(keys))], keys, seed
    )


def poisoned_world(n: int = 1200, poisons: int = 24, seed: int = 0) -> tuple[Pairs, np.ndarray]:
    """``n`` pairs of which some have one caption's direction instead of their picture's; and the truth, bool (n,)."""
    rng = np.random.default_rng(seed)
    image = unit_rows(rng.normal(size=(n, WIDTH)))
    directions = unit_rows(rng.normal(size=(n, WIDTH)))
    text = unit_rows(image + directions * rng.uniform(0.3, 0.9, (n, 1)))
    truth = np.zeros(n, bool)
    truth[rng.choice(n, poisons, replace=False)] = True
    target = rng.normal(size=WIDTH)
    text[truth] = unit_rows(target + 0.3 * rng.normal(size=(poisons, WIDTH)))
    losses = rng.uniform(1.0, 3.0, n)
    losses[truth] = rng.uniform(0.2, 0.9, poisons)  # learned first
    return replace(pairs_of(image, text), losses=losses), truth


def sparse_world(n: int = 300, outliers: int = 5, seed: int = 0) -> tuple[Pairs, np.ndarray]:
    """``n`` pairs whose pictures lie close together, but for a few; and which those are, bool (n,)."""
    rng = np.random.default_rng(seed)
    centre = 4 * rng.normal(size=WIDTH)
    truth = np.zeros(n, bool)
    truth[rng.choice(n, outliers, replace=False)] = True
    image = unit_rows(centre + rng.normal(size=(n, WIDTH)) * np.where(truth, 5.0, 1.0)[:, None])
    return pairs_of(image, unit_rows(rng.normal(size=(n, WIDTH)))), truth


def reordered(pairs: Pairs, order: np.ndarray) -> Pairs:
    """The same pairs, with their keys, in another order."""
    columns = {name: column[order] for name, column in vars(pairs.scores).items()}
    return Pairs(
        image=pairs.image[order],
        text=pairs.text[order],
        scores=Scores(**columns),
        captions=[pairs.captions[row] for row in order],
        keys=[pairs.keys[row] for row in order],
        seed=pairs.seed,
        losses=None if pairs.losses is None else pairs.losses[order],
    )


def with_unreadable(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """The same pairs, of which those at ``rows`` have no picture: zeros, and no score."""
    image = pairs.image.copy()
    image[rows] = 0
    scores = consistency_scores(image, pairs.text, image)
    return replace(pairs, image=image, scores=scores)
