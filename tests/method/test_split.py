"""Coarse subsets, γ_z and verdicts."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.errors import ParameterError
from cfbd_core.method.mixture import Mixture, fit_mixture
from cfbd_core.method.split import choose_gamma_z, coarse_split, fine_verdict


def scores(n: int, seed: int = 0, poison: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bulk = np.abs(rng.normal(0.05, 0.08, n - poison))
    return np.concatenate([bulk, rng.normal(0.6, 0.05, poison)]).astype(np.float32)


def correlations(seed: int = 0, clean: int = 5000, poison: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """z with its poison last, and subsets: the first half benign, the last 20 poisoned."""
    rng = np.random.default_rng(seed)
    z = np.concatenate([rng.normal(0.05, 0.03, clean), rng.normal(0.6, 0.05, poison)]).astype(np.float32)
    subset = np.full(len(z), 2, np.int8)
    subset[: clean // 2] = 0
    subset[-20:] = 1
    return z, subset


@given(
    n=st.integers(20, 300),
    k=st.integers(1, 4),
    q=st.integers(1, 20),
    gammas=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
    rule=st.sampled_from(["quantile", "posterior"]),
    seed=st.integers(0, 50),
)
def test_benign_grows_with_gamma_and_falls_with_the_posterior(n, k, q, gammas, rule, seed) -> None:
    c = scores(n, seed)
    mixture = fit_mixture(c, k)
    low, high = (coarse_split(c, mixture, gamma, q, rule) for gamma in sorted(gammas))
    # A coverage takes in more as it grows, a posterior's threshold less.
    smaller, larger = (low, high) if rule == "quantile" else (high, low)
    assert not ((smaller.subset == 0) & (larger.subset != 0)).any()
    for split in (low, high):
        assert np.bincount(split.subset + 1, minlength=4).tolist()[2] == q
        assert set(split.subset.tolist()) <= {0, 1, 2}
        assert c[split.probe].min() >= np.delete(c, split.probe).max(initial=0)


@given(seed=st.integers(0, 99), q=st.integers(1, 30), levels=st.integers(8, 60), recheck=st.booleans())
def test_row_order_does_not_matter(seed: int, q: int, levels: int, recheck: bool) -> None:
    rng = np.random.default_rng(seed)
    c = np.round(scores(200, seed) * levels) / levels  # many ties
    keys = np.array([f"key{i:04d}" for i in rng.permutation(200)])
    z = rng.normal(size=200).astype(np.float32)
    order = rng.permutation(200)

    def verdicts(rows: np.ndarray) -> dict[str, tuple[int, bool]]:
        split = coarse_split(
            c[rows], fit_mixture(c[rows], 3), 0.9, q, keys_of=lambda at: list(keys[rows][at])
        )
        gamma_z = choose_gamma_z(z[rows], split.subset)
        poisoned = fine_verdict(z[rows], split.subset, gamma_z.value, recheck)
        return dict(zip(keys[rows], zip(split.subset.tolist(), poisoned.tolist(), strict=True), strict=True))

    assert verdicts(np.arange(200)) == verdicts(order)


def test_the_cut_is_the_quantile_of_the_lowest_component() -> None:
    c = scores(2000, poison=40)
    mixture = fit_mixture(c, 3)
    split = coarse_split(c, mixture, 0.9, 30)
    assert split.cut == pytest.approx(mixture.means[0] + NormalDist().inv_cdf(0.9) * mixture.sigmas[0])
    outside = np.setdiff1d(np.arange(2000), split.probe)
    np.testing.assert_array_equal(split.subset[outside] == 0, c[outside] <= split.cut)
    np.testing.assert_array_equal(split.probe, np.argsort(-c, kind="stable")[:30])


def test_with_one_component_the_posterior_takes_everything() -> None:
    c = scores(300)
    split = coarse_split(c, fit_mixture(c, 1), 0.9, 10, "posterior")
    assert (split.subset == 0).sum() == 290
    assert split.cut is None
    assert len(split.overlap) == 10


def test_only_ties_at_the_last_place_ask_for_keys() -> None:
    c = np.array([0.9, 0.1, 0.5, 0.5, 0.5, 0.2, 0.9, 0.0] + [0.05] * 20, np.float32)
    mixture, asked = fit_mixture(c, 1), []

    def keys_of(rows: np.ndarray) -> list[str]:
        asked.append(rows.tolist())
        return [{2: "c", 3: "a", 4: "b"}[row] for row in rows.tolist()]

    split = coarse_split(c, mixture, 0.5, 4, keys_of=keys_of)
    assert split.probe.tolist() == [0, 6, 3, 4]
    assert asked == [[2, 3, 4]]
    assert coarse_split(c, mixture, 0.5, 5, keys_of=keys_of).probe.tolist() == [0, 6, 2, 3, 4]
    assert asked == [[2, 3, 4]]
    assert coarse_split(c, mixture, 0.5, 3).probe.tolist() == [0, 6, 2]


def test_a_pair_in_both_counts_as_poisoned_and_is_told() -> None:
    c = scores(40)
    split = coarse_split(c, fit_mixture(c, 1), 0.9, 38)
    assert len(split.overlap) > 0
    assert (split.subset[split.overlap] == 1).all()
    assert f"{len(split.overlap)} pairs are in both" in split.warnings[0]


def test_a_pair_without_a_score_is_in_no_subset() -> None:
    c = scores(100)
    c[[3, 50]] = np.nan
    for rule in ("quantile", "posterior"):
        split = coarse_split(c, fit_mixture(c, 2), 0.9, 98, rule)
        assert split.subset[[3, 50]].tolist() == [-1, -1]
        assert 3 not in split.probe
        for recheck in (True, False):
            assert not fine_verdict(np.ones(100), split.subset, 0.5, recheck)[[3, 50]].any()


def test_a_vanishing_lowest_component_is_told() -> None:
    mixture = Mixture((1e-5, 0.9, 0.1), (0.0, 0.1, 0.3), (0.01, 0.05, 0.1), 1.0, 1000, 30, True, 8)
    warnings = coarse_split(scores(1000), mixture, 0.9, 10).warnings
    assert any("which D_b comes from" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("gamma", "q", "words"),
    [(0.0, 5, "--gamma"), (1.0, 5, "--gamma"), (0.9, 0, "--q 0"), (0.9, 21, "--q 21.*20 scored")],
)
def test_refuses_parameters_outside_their_range(gamma: float, q: int, words: str) -> None:
    c = np.append(scores(20), np.nan)
    with pytest.raises(ParameterError, match=words):
        coarse_split(c, fit_mixture(c, 1), gamma, q)


def test_null_rule_is_median_and_mad_over_the_benign_subset() -> None:
    z, subset = correlations()
    z[0] = np.nan
    benign = z[:2500][1:].astype(np.float64)
    cut = np.median(benign) + 5 * 1.4826 * np.median(np.abs(benign - np.median(benign)))
    gamma_z = choose_gamma_z(z, subset)
    assert gamma_z.value == pytest.approx(cut)
    assert gamma_z.rule == "null"
    assert "2,499 pairs" in gamma_z.detail
    assert choose_gamma_z(z, subset, "null", kappa=8).value > gamma_z.value
    flagged = fine_verdict(z, subset, gamma_z.value)
    assert flagged[5000:].all()
    assert flagged[:5000].sum() == 0


@pytest.mark.parametrize("rule", ["valley", "mixture"])
def test_other_rules_separate_poison_and_flag_nothing_on_clean_data(rule) -> None:
    z, subset = correlations(poison=250)
    found = choose_gamma_z(z, subset, rule)
    assert found.null_cut < found.value < 0.5
    np.testing.assert_array_equal(fine_verdict(z, subset, found.value), np.arange(len(z)) >= 5000)
    clean = choose_gamma_z(z[:5000], subset[:5000], rule)
    assert clean.value == np.inf
    assert "nothing is flagged" in clean.detail
    assert not fine_verdict(z[:5000], subset[:5000], clean.value).any()


@pytest.mark.parametrize("rule", ["valley", "mixture", "null"])
def test_rules_survive_equal_and_missing_z(rule) -> None:
    subset = np.array([0] * 60 + [2] * 30 + [1] * 10, np.int8)
    for z in (np.full(100, 0.3), np.full(100, np.nan)):
        found = choose_gamma_z(z, subset, rule)
        assert found.value == np.inf
        assert not fine_verdict(z, subset, found.value).any()


def test_a_small_benign_subset_gives_way_to_all_pairs_outside_the_probe() -> None:
    z, subset = correlations()
    subset[subset == 0] = 2
    subset[:49] = 0
    found = choose_gamma_z(z, subset)
    others = z[subset != 1].astype(np.float64)
    assert "D_b has only 49" in found.detail
    assert found.value == pytest.approx(
        np.median(others) + 5 * 1.4826 * np.median(np.abs(others - np.median(others)))
    )


def test_repeated_captions_do_not_make_the_null_narrow() -> None:
    z, subset = correlations()
    z[:1500] = 0.05  # more than half of D_b is one caption
    found = choose_gamma_z(z, subset)
    assert "MAD being 0" in found.detail
    assert 0.06 < found.value < 0.3


def test_manual_is_taken_as_it_is_and_needs_a_value() -> None:
    z, subset = correlations()
    assert choose_gamma_z(z, subset, "manual", value=0.01).value == 0.01
    with pytest.raises(ParameterError, match="needs a value"):
        choose_gamma_z(z, subset, "manual")


def test_verdicts_with_and_without_recheck() -> None:
    subset = np.array([0, 0, 1, 1, 2, 2, -1], np.int8)
    z = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.5, 0.9])
    assert fine_verdict(z, subset, 0.5, recheck=True).tolist() == [
        True,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert fine_verdict(z, subset, 0.5, recheck=False).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_only_member_of_the_probe_has_no_evidence_against_it() -> None:
    z, subset = np.array([np.nan, 0.1]), np.array([1, 0], np.int8)
    assert fine_verdict(z, subset, 0.5, recheck=True).tolist() == [False, False]
    assert fine_verdict(z, subset, 0.5, recheck=False).tolist() == [True, False]
