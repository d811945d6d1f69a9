"""Where the posterior exceeds γ, against evaluating it for every value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfbd_core.method import posterior
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.method.posterior import posterior_above

GAMMAS = st.floats(0.01, 0.99) | st.sampled_from([5e-324, 1e-300, 1e-12, 0.5, 1 - 1e-12, 1 - 2**-53])


def mixture_of(weights: list[float], means: list[float], sigmas: list[float]) -> Mixture:
    order = np.argsort(means, kind="stable")
    parts = (tuple(np.array(part)[order].tolist()) for part in (weights, means, sigmas))
    return Mixture(*parts, 0.0, 1000, 30, True, 8)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """K components, some without weight, some equal, some as narrow as no value is wide."""
    k = draw(st.integers(1, 10))
    weights = np.array(
        draw(st.lists(st.sampled_from([0.0, 1e-300, 1e-6, 0.1, 0.5, 1.0]), min_size=k, max_size=k))
    )
    if not weights.sum():
        weights[draw(st.integers(0, k - 1))] = 1.0
    means = draw(st.lists(st.floats(-1, 1) | st.sampled_from([0.0, 0.25]), min_size=k, max_size=k))
    sigmas = draw(
        st.lists(st.floats(1e-4, 1) | st.sampled_from([0.1, 0.1 + 1e-15, 1e-7]), min_size=k, max_size=k)
    )
    return mixture_of((weights / weights.sum()).tolist(), means, sigmas)


def literal(mixture: Mixture, x: np.ndarray, gamma: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return mixture.posterior(x)[:, 0] > gamma


def neighbours(x: np.ndarray, reach: int = 3) -> np.ndarray:
    """The values and those a few ulps to either side."""
    found = [x]
    for to in (-np.inf, np.inf):
        at = x
        for _ in range(reach):
            at = np.nextafter(at, x.dtype.type(to))
            found.append(at)
    return np.concatenate(found)


def values(mixture: Mixture, gamma: float, dtype: type, seed: int) -> np.ndarray:
    """Random values, and the neighbours of every value at which the answer changes."""
    rng = np.random.default_rng(seed)
    x = np.concatenate(
        [rng.uniform(-1.5, 1.5, 500), rng.normal(0, 0.01, 100), np.array(mixture.means)]
    ).astype(dtype)
    low, high = np.sort(x)[:-1].copy(), np.sort(x)[1:].copy()
    changes = literal(mixture, low, gamma) != literal(mixture, high, gamma)
    low, high = low[changes], high[changes]
    for _ in range(60):
        middle = (low.astype(np.float64) / 2 + high.astype(np.float64) / 2).astype(dtype)
        same = literal(mixture, middle, gamma) == literal(mixture, low, gamma)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.concatenate([x, neighbours(low), [np.nan, np.inf, -np.inf]]).astype(dtype)


@settings(max_examples=300)  # each takes no time, and rare cases matter
@given(mixtures(), GAMMAS, st.sampled_from([np.float32, np.float64]), st.integers(0, 99))
def test_it_is_the_direct_evaluation_to_the_last_bit(mixture, gamma, dtype, seed) -> None:
    x = values(mixture, gamma, dtype, seed)
    np.testing.assert_array_equal(posterior_above(mixture, x, gamma), literal(mixture, x, gamma))


@settings(max_examples=30)  # a fit each
@given(st.integers(1, 10), st.floats(0.01, 0.99), st.integers(0, 9))
def test_so_it_is_for_fits_of_scores(k, gamma, seed) -> None:
    rng = np.random.default_rng(seed)
    c = np.concatenate([np.abs(rng.normal(0.05, 0.08, 900)), rng.normal(0.6, 0.05, 60)]).astype(np.float32)
    mixture = fit_mixture(c, k)
    x = np.concatenate([c, values(mixture, gamma, np.float32, seed)])
    np.testing.assert_array_equal(posterior_above(mixture, x, gamma), literal(mixture, x, gamma))


def test_a_posterior_that_rises_and_falls_gives_several_intervals() -> None:
    mixture = mixture_of([0.6, 0.2, 0.2], [0.0, 0.3, 0.6], [0.3, 0.02, 0.02])
    x = np.linspace(-0.5, 1, 10_001).astype(np.float32)
    found = posterior_above(mixture, x, 0.5)
    assert np.diff(found.astype(int)).tolist().count(1) == 2
    np.testing.assert_array_equal(found, literal(mixture, x, 0.5))


def test_few_values_are_evaluated_one_by_one(monkeypatch) -> None:
    mixture = mixture_of([0.5, 0.3, 0.1, 0.1], [0.02, 0.1, 0.2, 0.6], [0.03, 0.05, 0.1, 0.05])
    x = np.random.default_rng(0).uniform(-0.2, 1, 200_000).astype(np.float32)
    expected, asked = literal(mixture, x, 0.7), []
    real = Mixture.posterior
    monkeypatch.setattr(Mixture, "posterior", lambda self, x: asked.append(len(x)) or real(self, x))
    np.testing.assert_array_equal(posterior_above(mixture, x, 0.7), expected)
    assert sum(asked) < 20


def test_equal_components_are_evaluated_where_nothing_can_be_told_beforehand(monkeypatch) -> None:
    mixture = mixture_of([0.5, 0.5], [0.1, 0.1], [0.05, 0.05])
    x = np.linspace(0, 1, 1000)
    monkeypatch.setattr(posterior, "MOST_OPEN_BOXES", 64)
    for gamma in (0.4, 0.5, 0.6):
        np.testing.assert_array_equal(posterior_above(mixture, x, gamma), literal(mixture, x, gamma))


@pytest.mark.parametrize("x", [[], [np.nan], [np.nan, np.inf], [0.1], [0.1, 0.1], [np.nan, 0.1, -np.inf]])
def test_few_or_odd_values(x) -> None:
    mixture = mixture_of([0.5, 0.5], [0.0, 1.0], [0.1, 0.1])
    x = np.array(x, np.float32)
    np.testing.assert_array_equal(posterior_above(mixture, x, 0.9), np.isfinite(x))


def test_where_rounding_decides_values_are_evaluated() -> None:
    # Two shares that each vanish beside 1 do not vanish together, were they added exactly.
    mixture = mixture_of([0.5, 0.25, 0.25], [0.0, 1.0, 1.0], [0.1, 0.1, 0.1])
    x = np.linspace(0.1, 0.2, 100_001)
    expected = literal(mixture, x, 1 - 2**-53)
    assert 0 < expected.sum() < len(x)
    np.testing.assert_array_equal(posterior_above(mixture, x, 1 - 2**-53), expected)
