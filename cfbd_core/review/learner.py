"""A small model of what the auditor removes, learned from the decisions so far, that ranks what is left.

Logistic regression on the features of :mod:`cfbd_core.review.features`, strongly regularised. People look at what
is suspicious first, so their decisions say little about the bulk: ``BACKGROUND_PAIRS`` undecided pairs drawn at random
stand in for it, as kept ones of little weight. Probabilities are calibrated on decisions that the model had not
seen (Platt 1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfbd_core.review.features import ReviewPairs
from cfbd_core.store.columns import KEEP, REMOVE

LEAST_DECISIONS_OF_EACH = 5  # decisions of each kind; with fewer the order is that of z
REGULARISATION = 0.03  # scikit-learn's C: small is strong regularisation
BACKGROUND_PAIRS = 200
BACKGROUND_WEIGHT = (
    10.0  # of all the background together, at least; as much as the removed ones where they are more
)
MOST_DECISIONS = (
    20_000  # learned from, drawn evenly from both kinds: bulk decisions come by the hundred thousand
)
PLATT_FOLDS = 5


@dataclass(frozen=True)
class Risk:
    """How suspicious every pair is, float64 (n,): a probability where ``learned``, else z; −∞ for no evidence.

    NaN for pairs that cannot be ranked. ``kept`` and ``removed`` count the decisions that it was learned from.
    """

    values: np.ndarray
    learned: bool
    kept: int
    removed: int

    @property
    def sentence(self) -> str:
        """One sentence on how the order came about."""
        if self.learned:
            return f"learned from {self.removed:,} removed and {self.kept:,} kept pairs"
        return (
            f"by z: {self.removed} removed and {self.kept} kept so far, "
            f"the order is learned from {LEAST_DECISIONS_OF_EACH} of each on"
        )


def learn(pairs: ReviewPairs, decisions: np.ndarray, z: np.ndarray, seed: int = 0) -> Risk:
    """Rank n pairs by the chance that an auditor would remove them.

    ``decisions`` int8 (n,) are places in ``DECISIONS`` ("unsure" is not used), ``z`` (n,) the order with fewer than
    ``LEAST_DECISIONS_OF_EACH`` decisions of a kind. The same arguments give the same values.
    """
    kept_pairs, removed = (np.flatnonzero((decisions == code) & pairs.usable) for code in (KEEP, REMOVE))
    counts = len(kept_pairs), len(removed)
    if min(counts) < LEAST_DECISIONS_OF_EACH:
        order = np.where(np.isfinite(z), z, -np.inf).astype(np.float64)
        return Risk(np.where(pairs.usable, order, np.nan), False, *counts)
    rng = np.random.default_rng(seed)
    kept_pairs, removed = (_at_most(part, MOST_DECISIONS // 2, rng) for part in (kept_pairs, removed))
    undecided = np.flatnonzero((decisions == 0) & pairs.usable)
    background = _at_most(undecided, BACKGROUND_PAIRS, rng)
    features = pairs.of_pairs(np.concatenate([removed, kept_pairs, background]))
    truth = np.arange(len(features)) < len(removed)
    weights = np.ones(len(features))
    if len(background):
        weights[-len(background) :] = max(BACKGROUND_WEIGHT, len(removed)) / len(background)
    folds = np.concatenate(
        [rng.permutation(len(part)) % PLATT_FOLDS for part in (removed, kept_pairs, background)]
    )
    slope, offset = _platt(_unseen(features, truth, weights, folds), truth)
    coefficients, intercept = _fit(features, truth, weights)
    logits = slope * (pairs.times(coefficients) + intercept) + offset
    return Risk(np.where(pairs.usable, _sigmoid(logits), np.nan), True, *counts)


def _unseen(features: np.ndarray, truth: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the logit (m,) of each example by a model that was not fitted to its fold."""
    logits = np.empty(len(truth))
    for fold in range(PLATT_FOLDS):
        out = folds == fold
        coefficients, intercept = _fit(features[~out], truth[~out], weights[~out])
        logits[out] = features[out] @ coefficients + intercept
    return logits


def _fit(features: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=REGULARISATION, max_iter=1000).fit(features, truth, weights)
    return model.coef_[0], float(model.intercept_[0])


def _platt(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Slope and offset by which logits (m,) become calibrated ones; the slope is never negative.

    Platt's targets (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) in place of 1 and 0 keep both finite where the kinds are apart.
    """
    from scipy.optimize import minimize

    positive = int(truth.sum())
    targets = np.where(truth, (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2))

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = at[0] * logits + at[1]
        error = _sigmoid(scaled) - targets
        value = np.logaddexp(0, scaled).sum() - targets @ scaled
        return float(value), np.array([error @ logits, error.sum()])

    fit = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)])
    return float(fit.x[0]), float(fit.x[1])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    chance: np.ndarray = 0.5 * (1 + np.tanh(0.5 * logits))
    return chance


def _at_most(positions: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``positions``, or as many of them drawn at random."""
    return positions if len(positions) <= count else rng.choice(positions, count, replace=False)
