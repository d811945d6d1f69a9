"""The histogram mixture against scikit-learn and against EM on the raw values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from cfbd_core.errors import ParameterError
from cfbd_core.method import mixture as module
from cfbd_core.method.mixture import Mixture, fit_mixture


def folded(n: int, seed: int = 0) -> np.ndarray:
    """Values like c: two folded bulks and a little poison."""
    rng = np.random.default_rng(seed)
    part = rng.choice(3, p=[0.62, 0.365, 0.015], size=n)
    means, sigmas = np.array([0.02, 0.06, 0.45]), np.array([0.05, 0.12, 0.06])
    return np.abs(rng.normal(means[part], sigmas[part])).astype(np.float32)


def normal_density(x: np.ndarray, means: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ((x[:, None] - means) / sigmas) ** 2) / sigmas / np.sqrt(2 * np.pi)


def literal_em(x: np.ndarray, fit: Mixture, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Textbook EM on every raw value, from where the fit ended; returns its mean log-likelihood too."""
    x = x.astype(np.float64)
    weights, means, sigmas = (np.array(part) for part in (fit.weights, fit.means, fit.sigmas))
    for _ in range(steps):
        joint = weights * normal_density(x, means, sigmas)
        shares = joint / joint.sum(1, keepdims=True)
        mass = shares.sum(0)
        means = shares.T @ x / mass
        sigmas = np.sqrt((shares * (x[:, None] - means) ** 2).sum(0) / mass)
        weights = mass / len(x)
    logl = float(np.log((weights * normal_density(x, means, sigmas)).sum(1)).mean())
    return weights, means, sigmas, logl


def density(fit: Mixture, x: np.ndarray) -> np.ndarray:
    return fit.components(x).sum(1)


def raw_log_likelihood(x: np.ndarray, fit: Mixture) -> float:
    return float(np.log(density(fit, x)).mean())


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_at_least_as_likely_as_sklearn_on_raw_values(k: int) -> None:
    x = folded(6000)
    ours = fit_mixture(x, k)
    theirs = GaussianMixture(k, tol=1e-5, n_init=3, max_iter=1000, random_state=0).fit(x[:, None])
    assert raw_log_likelihood(x, ours) >= theirs.score(x[:, None]) - 1e-4
    assert ours.log_likelihood == pytest.approx(raw_log_likelihood(x, ours), abs=1e-4)
    assert ours.converged


@pytest.mark.parametrize("bins", [module.BINS, 256])
def test_em_on_raw_values_stays_where_the_fit_ended(bins: int) -> None:
    x = folded(20_000, seed=1)
    fit = fit_mixture(x, 3, bins=bins)
    weights, means, sigmas, logl = literal_em(x, fit, steps=5)
    assert logl == pytest.approx(raw_log_likelihood(x, fit), abs=2e-6)
    np.testing.assert_allclose(weights, fit.weights, atol=2e-3)
    np.testing.assert_allclose(means, fit.means, atol=2e-4)
    np.testing.assert_allclose(sigmas, fit.sigmas, atol=2e-4)


def test_one_component_is_mean_and_standard_deviation() -> None:
    x = folded(3000)
    fit = fit_mixture(x, 1, bins=16)  # wide bins, which must know their variance
    assert fit.weights == (1.0,)
    assert fit.means[0] == pytest.approx(float(x.mean(dtype=np.float64)), rel=1e-6)
    assert fit.sigmas[0] == pytest.approx(float(x.std(dtype=np.float64)), rel=1e-5)


def test_finds_well_separated_components_and_a_rare_one() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 8000), rng.normal(10, 0.5, 1900), rng.normal(30, 2, 100)])
    fit = fit_mixture(x, 3)
    np.testing.assert_allclose(fit.means, [0, 10, 30], atol=0.6)
    np.testing.assert_allclose(fit.weights, [0.8, 0.19, 0.01], atol=0.003)
    np.testing.assert_allclose(fit.sigmas, [1, 0.5, 2], rtol=0.2)


@settings(max_examples=15)  # each example takes long
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), k=st.integers(1, 3), seed=st.integers(0, 20))
def test_scale_shift_and_order_carry_over(scale: float, shift: float, k: int, seed: int) -> None:
    x = folded(400, seed).astype(np.float64)
    order = np.random.default_rng(seed).permutation(len(x))
    plain, moved = fit_mixture(x, k), fit_mixture((scale * x + shift)[order], k)
    assert moved.log_likelihood == pytest.approx(plain.log_likelihood - np.log(scale), abs=1e-3)
    if k == 1:  # several components may have equally likely arrangements
        np.testing.assert_allclose(moved.means, scale * np.array(plain.means) + shift, rtol=1e-6, atol=1e-6)
    assert fit_mixture(x[order], k) == plain


def test_values_that_are_not_finite_are_left_out() -> None:
    x = folded(500)
    holes = np.concatenate([x[:200], [np.nan, np.inf], x[200:], [-np.inf]]).astype(np.float32)
    assert fit_mixture(holes, 3) == fit_mixture(x, 3)
    assert fit_mixture(holes, 3).n == 500


def test_an_outlier_does_not_blur_the_bulk() -> None:
    x = folded(5000).astype(np.float64)
    fit = fit_mixture(np.append(x, 1e6), 3)
    assert fit.means[-1] == pytest.approx(1e6)
    assert fit.means[0] < 1
    assert len(fit.vanishing) == 1


def test_a_spike_of_equal_values_keeps_a_width() -> None:
    x = np.concatenate([np.zeros(500), folded(2000)])
    fit = fit_mixture(x, 5)
    assert min(fit.sigmas) >= 0.0099 * x.std()
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(fit_mixture(np.array([0.0, 1.0] * 3), 5).log_likelihood)


def test_refuses_what_cannot_be_fitted_in_one_line() -> None:
    for values, k, words in [
        (np.array([0.1, 0.2, np.nan]), 3, "only 2 pairs"),
        (np.array([]), 1, "only 0 pairs"),
        (np.full(50, 0.25), 5, "all 50 pairs have the same score 0.25"),
    ]:
        with pytest.raises(ParameterError, match=words) as raised:
            fit_mixture(values, k)
        assert "\n" not in str(raised.value)


def test_density_and_posterior_agree() -> None:
    fit = fit_mixture(folded(2000), 3)
    x = np.linspace(-0.5, 2, 3001)
    assert np.trapezoid(density(fit, x), x) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(fit.posterior(x) * density(fit, x)[:, None], fit.components(x), atol=1e-12)
    far = fit.posterior(np.array([1e6, np.nan]))  # every density underflows there
    assert far[0].sum() == pytest.approx(1)
    assert np.isnan(far[1]).all()


def test_same_seed_same_fit_and_json_round_trip() -> None:
    x = folded(1000)
    fit = fit_mixture(x, 4, seed=3)
    assert fit == fit_mixture(x, 4, seed=3)
    assert Mixture.from_dict(json.loads(json.dumps(fit.to_dict(), allow_nan=False))) == fit


def test_a_step_costs_no_more_as_n_grows() -> None:
    bins = [
        len(module._Histogram.from_values(np.sort(folded(n)), module.BINS).share) for n in (20_000, 200_000)
    ]
    assert max(bins) <= 2 * module.BINS


def test_a_leap_that_lands_badly_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    x = folded(2000)
    good = fit_mixture(x, 2)

    def far_away(start, once, twice):
        weights, means, variances = twice
        return weights, means + 50, variances

    monkeypatch.setattr(module, "_extrapolated", far_away)
    assert fit_mixture(x, 2).log_likelihood == pytest.approx(good.log_likelihood, abs=1e-5)
