"""Groups by risk: what is undecided counts, what is decided comes last, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

from cfbd_core.groups.group import Group
from cfbd_core.review import Risk, riskiest_first


def group(*positions: int) -> Group:
    at = np.array(positions, np.int64)
    return Group(str(at[0]), at, int(at[0]), "", at, (), None, None, "unclear", "", None, None)


def test_the_mean_over_undecided_pairs_ranks_the_groups() -> None:
    values = np.array([0.9, 0.1, 0.5, 0.5, 0.99, 0.8])
    decisions = np.array([0, 0, 0, 2, 1, 0], np.int8)
    groups = [group(0, 1), group(2, 3), group(4), group(5)]
    found = riskiest_first(groups, Risk(values, True, 9, 9), decisions)
    assert [one.group.id for one in found] == ["5", "0", "2", "4"]
    assert [one.undecided for one in found] == [1, 2, 1, 0]
    assert [one.risk for one in found] == [pytest.approx(0.8), pytest.approx(0.5), pytest.approx(0.5), None]


def test_pairs_without_a_rank_are_left_to_do_but_say_nothing() -> None:
    values = np.array([np.nan, 0.4, np.nan, -np.inf])
    groups = [group(2, 3), group(0, 1)]
    found = riskiest_first(groups, Risk(values, False, 0, 0), np.zeros(4, np.int8))
    assert [(one.group.id, one.undecided) for one in found] == [("0", 2), ("2", 2)]
    assert found[0].risk == pytest.approx(0.4)
    assert found[1].risk is None
