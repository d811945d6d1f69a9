"""SafeCLIP's safe pairs against the posterior that scikit-learn finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from cfbd_core.detectors import SafeClip
from cfbd_core.detectors.cosine import pair_cosines
from cfbd_core.detectors.safeclip import log_odds_of_lower
from cfbd_core.errors import ParameterError
from cfbd_core.method.mixture import Mixture
from tests.detectors.worlds import pairs_of, poisoned_world


def two(weight: float, means: tuple[float, float], sigmas: tuple[float, float]) -> Mixture:
    return Mixture((weight, 1 - weight), means, sigmas, 0.0, 100, 3, True, 8)


@given(
    weight=st.floats(0.02, 0.98),
    low=st.floats(-0.2, 0.3),
    apart=st.floats(0.02, 0.5),
    sigmas=st.tuples(st.floats(0.03, 0.2), st.floats(0.03, 0.2)),
    x=st.floats(-0.3, 0.9),
)
@settings(max_examples=100)  # each takes no time, and rare cases matter
def test_log_odds_are_those_of_the_posterior(weight, low, apart, sigmas, x):
    mixture = two(weight, (low, low + apart), sigmas)
    densities = [
        w / s * math.exp(-0.5 * ((x - m) / s) ** 2)
        for w, m, s in zip(mixture.weights, mixture.means, mixture.sigmas, strict=True)
    ]
    found = float(log_odds_of_lower(np.array([x]), mixture)[0])
    if min(densities) > 1e-290:
        assert found == pytest.approx(math.log(densities[0] / densities[1]), abs=1e-6)
    assert 1 / (1 + math.exp(-max(min(found, 700), -700))) == pytest.approx(
        float(mixture.posterior(np.array([x]))[0, 0]), abs=1e-9
    )


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99])
def test_safe_is_what_the_upper_component_claims_by_scikit_learns_fit(threshold):
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.normal(0.1, 0.1, 300), rng.normal(0.6, 0.08, 900)])
    pairs = pairs_of(np.tile([1.0, 0.0], (1200, 1)), np.stack([drawn, np.sqrt(1 - drawn**2)], axis=1))
    cosine = pair_cosines(pairs).astype(np.float64)[:, None]
    fit = GaussianMixture(2, tol=1e-6, n_init=5, max_iter=1000, random_state=0).fit(cosine)
    posterior = fit.predict_proba(cosine)[:, fit.means_[:, 0].argmax()]
    found = SafeClip(threshold).detect(pairs)
    clear = np.abs(posterior - threshold) > 0.001
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found.flagged[clear], (posterior <= threshold)[clear])
    assert found.info["safe"] == 1200 - found.flagged.sum()


def test_pairs_far_out_are_no_ties_though_their_posterior_rounds_to_one():
    pairs, truth = poisoned_world(poisons=200)
    found = SafeClip().detect(pairs)
    assert (1 / (1 + np.exp(-found.score[truth].astype(np.float64))) == 1).sum() > 20
    assert len(np.unique(found.score[truth])) == len(np.unique(pair_cosines(pairs)[truth]))


def test_a_weight_of_zero_gives_finite_odds():
    assert np.isfinite(log_odds_of_lower(np.array([0.0, 0.3]), two(0.0, (0.0, 0.5), (0.1, 0.1)))).all()


def test_pairs_of_one_cosine_are_an_error():
    same = np.tile([1.0, 0.0], (10, 1)).astype(np.float32)
    with pytest.raises(ParameterError, match="same score"):
        SafeClip().detect(pairs_of(same, same))
