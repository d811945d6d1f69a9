"""Shares with their Clopper–Pearson intervals."""

from __future__ import annotations

LEVEL = 0.95


def clopper_pearson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
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


def share_of(hits: int, n: int) -> float | None:
    """Return hits / n, or None of nothing."""
    return hits / n if n else None


def interval_of(hits: int, n: int) -> list[float] | None:
    """Return the 95 % interval as JSON holds it, or None of nothing."""
    return list(clopper_pearson(hits, n)) if n else None
