"""The interval's ends are where the tails of the binomial distribution are 2.5 %."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfbd_core.method.intervals import clopper_pearson, interval_of, share_of


def tail(hits: int, n: int, p: float, *, upper: bool) -> float:
    """P(X ≥ hits), or P(X ≤ hits), term by term."""
    numbers = range(hits, n + 1) if upper else range(hits + 1)
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in numbers)


def literal(hits: int, n: int, level: float) -> tuple[float, float]:
    """Both ends by bisection on the tails."""
    alpha = (1 - level) / 2
    ends = []
    for upper, at_edge in ((True, 0), (False, n)):
        if hits == at_edge:
            ends.append(float(at_edge > 0))
            continue
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            if (tail(hits, n, middle, upper=upper) < alpha) == upper:
                low = middle
            else:
                high = middle
        ends.append(low)
    return ends[0], ends[1]


@given(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.9, 0.95]),
)
def test_ends_are_those_of_the_binomial_tails(case, level):
    hits, n = case
    assert clopper_pearson(hits, n, level) == pytest.approx(literal(hits, n, level), abs=1e-9)


def test_no_hit_in_n_has_the_rule_of_the_missing_tail():
    assert clopper_pearson(0, 1000) == pytest.approx((0, 1 - 0.025 ** (1 / 1000)))
    assert clopper_pearson(1000, 1000) == pytest.approx((0.025 ** (1 / 1000), 1))


def test_nothing_has_neither_share_nor_interval():
    assert share_of(0, 0) is None
    assert interval_of(0, 0) is None
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)
