"""A one-dimensional Gaussian mixture, fitted by EM on a fine histogram (paper §2.2).

The values are sorted once and reduced to bins that know their count, mean and variance; equally
wide and equally full bins are joined, so that neither an outlier nor a spike is lost. From then on
a step of EM costs the same for a thousand values as for millions. EM crawls where components
overlap, so its steps are extrapolated (SQUAREM, Varadhan & Roland 2008), all restarts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cfbd_core.errors import ParameterError

if TYPE_CHECKING:
    from cfbd_core.store.entries import MixtureEntry

BINS = 512  # of either kind; four times as many change the log-likelihood of raw values by 1e-7
RESTARTS = 8
TOLERANCE = 1e-8  # gain of the mean log-likelihood in a cycle of three steps; 1e-4 of all where that is more
MAX_CYCLES = 1000
SIGMA_FLOOR = 0.01  # in standard deviations of the values: narrower fits are spurious, on a few equal values
VANISHING_WEIGHT = 1e-3
VANISHING_VALUES = 5
LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Mixture:
    """K components, sorted by mean, and how they were found.

    ``log_likelihood`` is the mean per value (nats), taken at the histogram's bin means with their
    variances (error of the order of the bin width cubed); ``n`` the number of values fitted,
    ``n_iter`` the EM steps of the best of ``restarts`` starts.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    sigmas: tuple[float, ...]
    log_likelihood: float
    n: int
    n_iter: int
    converged: bool
    restarts: int

    @property
    def vanishing(self) -> tuple[int, ...]:
        """Components with under 0.1 % of the weight or under five values' worth: D_b must not hang on one."""
        least = max(VANISHING_WEIGHT, VANISHING_VALUES / self.n)
        return tuple(i for i, weight in enumerate(self.weights) if weight < least)

    def components(self, x: np.ndarray) -> np.ndarray:
        """Weighted density of each component at x (n,): (n, K)."""
        density: np.ndarray = np.exp(self._log_components(x))
        return density

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """Probability that x (n,) came from each component: (n, K), rows sum to 1; NaN where x is."""
        logs = self._log_components(x)
        shares = np.exp(logs - logs.max(1, keepdims=True))
        posterior: np.ndarray = shares / shares.sum(1, keepdims=True)
        return posterior

    def to_dict(self) -> MixtureEntry:
        """Plain JSON values."""
        return {
            "weights": list(self.weights),
            "means": list(self.means),
            "sigmas": list(self.sigmas),
            "log_likelihood": self.log_likelihood,
            "n": self.n,
            "n_iter": self.n_iter,
            "converged": self.converged,
            "restarts": self.restarts,
            "vanishing": list(self.vanishing),
        }

    @classmethod
    def from_dict(cls, values: MixtureEntry) -> Self:
        """Return the inverse of :meth:`to_dict`."""
        return cls(
            weights=tuple(values["weights"]),
            means=tuple(values["means"]),
            sigmas=tuple(values["sigmas"]),
            log_likelihood=values["log_likelihood"],
            n=values["n"],
            n_iter=values["n_iter"],
            converged=values["converged"],
            restarts=values["restarts"],
        )

    def _log_components(self, x: np.ndarray) -> np.ndarray:
        weights, means, sigmas = (np.array(v) for v in (self.weights, self.means, self.sigmas))
        deviation = (np.asarray(x, np.float64)[:, None] - means) / sigmas
        with np.errstate(divide="ignore"):
            logs: np.ndarray = np.log(weights) - np.log(sigmas) - 0.5 * (LOG_2PI + deviation**2)
        return logs


def fit_mixture(
    values: np.ndarray, k: int = 5, seed: int = 0, restarts: int = RESTARTS, bins: int = BINS
) -> Mixture:
    """Fit K = ``k`` components to ``values`` (n,); values that are not finite are left out.

    The first start sits on the quantiles, the others on random values; the best fit is returned.
    Raises ParameterError: fewer values than components, or all values equal.
    """
    finite = np.sort(values[np.isfinite(values)])
    if len(finite) < k:
        raise ParameterError(
            f"--k {k}: only {len(finite)} pairs have a score; give a smaller K or more pairs"
        )
    low, high = float(finite[0]), float(finite[-1])
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        raise ParameterError(
            f"all {len(finite)} pairs have the same score {low:g}; check the images and captions, "
            "there is nothing to split"
        )
    histogram = _Histogram.from_values(finite, bins)
    state = _starts(histogram, k, np.random.default_rng(seed), restarts if k > 1 else 1)
    logl, state, cycles, converged = _climb(histogram, state, max(TOLERANCE, 1e-4 / len(finite)))
    best = int(np.argmax(logl))
    weights, means, variances = (part[best] for part in state)
    order = np.argsort(means, kind="stable")
    return Mixture(
        weights=tuple((weights[order] / weights.sum()).tolist()),
        means=tuple((means[order] * histogram.scale + histogram.shift).tolist()),
        sigmas=tuple((np.sqrt(variances[order]) * histogram.scale).tolist()),
        log_likelihood=float(logl[best] - np.log(histogram.scale)),
        n=len(finite),
        n_iter=3 * int(cycles[best]),
        converged=bool(converged[best]),
        restarts=len(logl),
    )


_State = tuple[np.ndarray, ...]  # weights, means, variances, each (R, K)


@dataclass(frozen=True)
class _Histogram:
    """Bins (B,) of standardised values x = (value − shift) / scale: share of all values, mean, variance."""

    share: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    shift: float
    scale: float

    @classmethod
    def from_values(cls, ordered: np.ndarray, bins: int) -> _Histogram:
        """Reduce sorted values (n,) to at most 2·``bins`` bins."""
        n = len(ordered)
        by_width = np.searchsorted(ordered, np.linspace(ordered[0], ordered[-1], bins + 1)[1:-1])
        by_count = np.arange(1, bins) * n // bins
        first = np.unique(np.concatenate([[0], by_width, by_count]))
        first = first[first < n]
        count = np.diff(np.append(first, n))
        exact = ordered.astype(np.float64)
        mean = np.add.reduceat(exact, first) / count
        exact -= np.repeat(mean, count)
        variance = np.add.reduceat(exact * exact, first) / count
        share = count / n
        shift = float(share @ mean)
        scale = float(np.sqrt(share @ (variance + (mean - shift) ** 2)))
        return cls(share, (mean - shift) / scale, variance / scale**2, shift, scale)


def _starts(histogram: _Histogram, k: int, rng: np.random.Generator, restarts: int) -> _State:
    """Start 0: means on the quantiles (i + ½)/K; the others: on random quantiles, half in the tail."""
    levels = np.sort(rng.random((restarts, k)), axis=1)
    levels[1::2] **= 0.5
    levels[2::4] = 1 - np.sort(rng.random((len(levels[2::4]), k)), axis=1)[:, ::-1] ** 3
    levels[0] = (np.arange(k) + 0.5) / k
    middle = np.cumsum(histogram.share) - histogram.share / 2
    means = np.interp(levels, middle, histogram.mean)
    spread = np.full((restarts, k), 1.0 / k)
    spread[1:] = np.exp(rng.uniform(np.log(0.3 / k), np.log(2.0 / k), (restarts - 1, 1)))
    return np.full((restarts, k), 1.0 / k), means, np.maximum(spread, SIGMA_FLOOR) ** 2


def _climb(
    histogram: _Histogram, state: _State, tolerance: float
) -> tuple[np.ndarray, _State, np.ndarray, np.ndarray]:
    """SQUAREM until the gain is below the tolerance; returns log-likelihood, state, cycles, converged."""
    restarts = len(state[0])
    basis = _basis(histogram)
    best = tuple(part.copy() for part in state)
    best_logl = np.full(restarts, -np.inf)
    cycles, converged = np.zeros(restarts, int), np.zeros(restarts, bool)
    active = np.arange(restarts)
    for _ in range(MAX_CYCLES):
        logl, once = _em_step(basis, state)
        _, twice = _em_step(basis, once)
        leap = _extrapolated(state, once, twice)
        leap_logl, settled = _em_step(basis, leap)
        # The leap may overshoot: it is taken only where it is no worse than where the cycle began.
        good = (leap_logl >= logl)[:, None]
        state = tuple(np.where(good, a, b) for a, b in zip(settled, twice, strict=True))
        gain = logl - best_logl[active]
        best_logl[active] = logl
        cycles[active] += 1
        for values, part in zip(best, state, strict=True):
            values[active] = part
        going = ~(gain < tolerance)
        converged[active[~going]] = True
        active = active[going]
        if not len(active):
            break
        state = tuple(part[going] for part in state)
    final, _ = _em_step(basis, best)
    return final, best, cycles, converged


def _basis(histogram: _Histogram) -> tuple[np.ndarray, np.ndarray]:
    """(1, x, E x²) of each bin (3, B), and the same weighted by the bin's share."""
    x = histogram.mean
    moments = np.stack([np.ones_like(x), x, x * x + histogram.variance])
    return moments, moments * histogram.share


def _em_step(basis: tuple[np.ndarray, np.ndarray], state: _State) -> tuple[np.ndarray, _State]:
    """Make one step for all restarts; return the mean log-likelihood (R,) of ``state``, and the next state."""
    moments, weighted = basis
    weights, means, variances = state
    constant = np.log(np.maximum(weights, 1e-300)) - 0.5 * (
        np.log(variances) + LOG_2PI + means**2 / variances
    )
    logs = np.stack([constant, means / variances, -0.5 / variances], axis=-1) @ moments  # (R, K, B)
    top = logs.max(axis=1, keepdims=True)
    logs -= top
    np.exp(logs, out=logs)
    total = logs.sum(axis=1, keepdims=True)
    logs /= total
    logl = (np.log(total) + top)[:, 0] @ weighted[0]
    mass, first, second = np.moveaxis(logs @ weighted.T, -1, 0)
    alive = np.maximum(mass, 1e-300)
    mean = np.where(mass > 1e-300, first / alive, means)
    variance = np.maximum(second / alive - mean**2, SIGMA_FLOOR**2)
    return logl, (mass, mean, variance)


def _extrapolated(start: _State, once: _State, twice: _State) -> _State:
    """SQUAREM's step (S3) in (log weight, mean, log variance), never shorter than EM's own two steps."""
    a, b, c = (
        np.stack([np.log(np.maximum(w, 1e-300)), m, np.log(v)], -1) for w, m, v in (start, once, twice)
    )
    r, v = b - a, (c - b) - (b - a)
    lengths = [np.sqrt((part**2).sum(axis=(1, 2), keepdims=True)) for part in (r, v)]
    step = -np.clip(lengths[0] / np.maximum(lengths[1], 1e-300), 1.0, 1e4)
    leap = a - 2 * step * r + step**2 * v
    log_weights = leap[..., 0] - leap[..., 0].max(axis=1, keepdims=True)
    weights = np.exp(log_weights)
    variances = np.clip(np.exp(np.clip(leap[..., 2], -50, 50)), SIGMA_FLOOR**2, 1e2)
    return weights / weights.sum(axis=1, keepdims=True), np.clip(leap[..., 1], -1e3, 1e3), variances
