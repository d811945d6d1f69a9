"""Both stages, and the coarse stage alone, against the definitions in docs/METHOD.md written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cfbd_core.config import SplitParams
from cfbd_core.detectors import Cfbd, CoarseOnly
from cfbd_core.errors import ParameterError
from cfbd_core.method.mixture import fit_mixture
from tests.detectors.worlds import pairs_of, poisoned_world, with_unreadable

BOTH = pytest.mark.parametrize("kind", [Cfbd, CoarseOnly])


def literal_cfbd(pairs, params: SplitParams) -> tuple[list[float], list[bool], list[int]]:
    """z, the verdict and D_p in loops, from c, the mixture and the captions' embeddings."""
    c = pairs.scores.consistency.astype(float).tolist()
    n = len(c)
    mixture = fit_mixture(pairs.scores.consistency, params.k, seed=pairs.seed)
    cut = mixture.means[0] + norm.ppf(params.gamma) * mixture.sigmas[0]
    probe = sorted(range(n), key=lambda row: (-c[row], pairs.keys[row]))[: params.q]
    text = pairs.text.astype(float)
    z = []
    for row in range(n):
        others = [other for other in probe if other != row]
        z.append(sum(float(text[row] @ text[other]) for other in others) / len(others))
    null = np.array([z[row] for row in range(n) if c[row] <= cut and row not in probe])
    median = np.median(null)
    gamma_z = median + params.kappa * 1.4826 * np.median(np.abs(null - median))
    return z, [value > gamma_z for value in z], probe


@given(seed=st.integers(0, 50), poisons=st.integers(0, 60), q=st.integers(2, 60))
@settings(max_examples=10)  # each example takes long
def test_both_stages_agree_with_the_definitions_in_loops(seed, poisons, q):
    pairs, _ = poisoned_world(500, poisons, seed)
    params = SplitParams(k=2, q=q)
    z, poisoned, probe = literal_cfbd(pairs, params)
    found = Cfbd(params).detect(pairs)
    np.testing.assert_allclose(found.score, z, atol=2e-6)
    assert found.info["probe"].tolist() == probe
    clear = np.abs(np.array(z) - found.info["params"]["gamma_z"]) > 1e-5
    np.testing.assert_array_equal(found.flagged[clear], np.array(poisoned)[clear])


@given(seed=st.integers(0, 50), k=st.integers(1, 5), gamma=st.floats(0.5, 0.99))
@settings(max_examples=10)  # each example takes long
def test_coarse_only_keeps_what_lies_under_the_quantile_of_the_least_component(seed, k, gamma):
    pairs, _ = poisoned_world(400, 20, seed)
    found = CoarseOnly(SplitParams(k=k, gamma=gamma)).detect(pairs)
    mixture = fit_mixture(pairs.scores.consistency, k)
    cut = mixture.means[0] + norm.ppf(gamma) * mixture.sigmas[0]
    assert found.info["cut"] == pytest.approx(cut)
    probe = np.argsort(-pairs.scores.consistency)[:50]
    expected = pairs.scores.consistency > cut
    expected[probe] = True
    np.testing.assert_array_equal(found.flagged, expected)
    np.testing.assert_array_equal(found.score, pairs.scores.consistency)


@BOTH
def test_counts_say_how_many_pairs_are_in_each_subset(kind):
    pairs = with_unreadable(poisoned_world()[0], np.array([4, 5]))
    counts = kind().detect(pairs).info["counts"]
    assert counts["poisoned"] == 50
    assert sum(counts.values()) == 1198


def test_subsets_are_by_pair_and_the_probe_is_of_it():
    pairs = with_unreadable(poisoned_world()[0], np.array([4, 5]))
    info = Cfbd().detect(pairs).info
    assert np.flatnonzero(info["subset"] == -1).tolist() == [4, 5]
    assert sorted(info["probe"]) == np.flatnonzero(info["subset"] == 1).tolist()
    assert (np.diff(pairs.scores.consistency[info["probe"]]) <= 0).all()


def test_evidence_is_strong_with_poison_and_none_without():
    poisoned, _ = poisoned_world(poisons=60)
    clean, _ = poisoned_world(poisons=0)
    found, nothing = Cfbd().detect(poisoned).info["evidence"], Cfbd().detect(clean).info["evidence"]
    assert (found["level"], nothing["level"]) == ("strong", "none")
    assert found["cohesion"] > found["null_max"]


def test_a_threshold_by_hand_is_the_verdict():
    pairs, _ = poisoned_world()
    found = Cfbd(SplitParams(gamma_z=0.1, gamma_z_rule="manual")).detect(pairs)
    np.testing.assert_array_equal(found.flagged, found.score > 0.1)
    assert found.info["params"]["gamma_z_rule"] == "manual"


def test_the_only_member_of_the_probe_has_no_score_and_is_not_flagged():
    pairs, _ = poisoned_world()
    found = Cfbd(SplitParams(q=1)).detect(pairs)
    assert np.flatnonzero(np.isnan(found.score)).tolist() == found.info["probe"].tolist()
    assert not found.flagged[found.info["probe"]].any()


def tied_pairs():
    """160 pairs of which the twenty with the same embeddings tie in all scores."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.eye(8, dtype=np.float32), 20, axis=0)
    text = image + np.repeat(rng.normal(size=(8, 8)).astype(np.float32), 20, axis=0)
    return pairs_of(image, text)


@pytest.mark.parametrize("backwards", [False, True])
def test_ties_at_the_last_place_of_the_probe_go_by_key(backwards):
    pairs = tied_pairs()
    tied = np.flatnonzero(pairs.scores.consistency == pairs.scores.consistency.max())
    assert len(tied) >= 20
    if backwards:
        pairs = replace(pairs, keys=pairs.keys[::-1])
        tied = tied[::-1]
    found = Cfbd(SplitParams(k=2, q=5)).detect(pairs)
    assert found.info["probe"].tolist() == sorted(tied[:5])


def test_a_tie_of_the_probe_within_the_benign_pairs_goes_by_key_in_the_coarse_stage_too():
    pairs = tied_pairs()
    params = SplitParams(k=2, q=150, gamma=0.99)
    forwards = CoarseOnly(params).detect(pairs)
    backwards = CoarseOnly(params).detect(replace(pairs, keys=pairs.keys[::-1]))
    kept, kept_backwards = (np.flatnonzero(~found.flagged) for found in (forwards, backwards))
    assert len(kept) == len(kept_backwards) == 10
    assert kept.tolist() == [row + 10 for row in kept_backwards]


@BOTH
def test_fewer_pairs_than_the_probe_takes_are_an_error(kind):
    pairs, _ = poisoned_world(40, 2)
    with pytest.raises(ParameterError, match="--q 50"):
        kind().detect(pairs)
