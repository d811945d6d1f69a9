"""Shares with their Clopper–Pearson intervals, and the same for the hits in a finite pool."""

from __future__ import annotations

import numpy as np

CONFIDENCE = 0.95


def clopper_pearson(hits: int, n: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact confidence interval of a share of ``hits`` in ``n`` (Clopper & Pearson 1934).

    Its ends are the shares under which ``hits`` or more, or ``hits`` or fewer, have a chance of (1 − level)/2.
    Raises ValueError unless 0 ≤ hits ≤ n and n ≥ 1.
    """
    from scipy.special import betaincinv

    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} of {n} is no share")
    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def most_hits(hits: int, n: int, pool: int, tail: float) -> int:
    """Return the largest number of hits in a ``pool`` of which ``hits`` or fewer among n drawn have a chance > tail.

    The upper Clopper–Pearson bound for n drawn without replacement (the hypergeometric in the binomial's place): for
    a large pool pool × that of the share, for n = pool exactly ``hits``. Raises ValueError unless
    0 ≤ hits ≤ n ≤ pool.
    """
    if not 0 <= hits <= n <= pool:
        raise ValueError(f"{hits} of {n} drawn from {pool} is no share")
    low, high = hits, pool - (n - hits)  # the chance falls as the hits in the pool rise
    while low < high:
        middle = (low + high + 1) // 2
        if _chance_of_few(hits, n, pool, middle) > tail:
            low = middle
        else:
            high = middle - 1
    return low


def _chance_of_few(hits: int, n: int, pool: int, inside: int) -> float:
    """P(at most ``hits``) when n are drawn from a pool that holds ``inside``: the hypergeometric's terms, summed."""
    from scipy.special import gammaln, logsumexp

    def ways(total: int | np.ndarray, chosen: int | np.ndarray) -> np.ndarray:
        counted: np.ndarray = gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
        return counted

    k = np.arange(max(0, n - (pool - inside)), min(hits, inside) + 1)
    return float(np.exp(logsumexp(ways(inside, k) + ways(pool - inside, n - k) - ways(pool, n))))


def least_hits(hits: int, n: int, pool: int, tail: float) -> int:
    """Return the lower bound that belongs to :func:`most_hits`: all but the most misses."""
    return pool - most_hits(n - hits, n, pool, tail)


def share_of(hits: int, n: int) -> float | None:
    """Return hits / n, or None of nothing."""
    return hits / n if n else None


def interval_of(hits: int, n: int) -> list[float] | None:
    """Return the 95 % interval as JSON holds it, or None of nothing."""
    return list(clopper_pearson(hits, n)) if n else None
