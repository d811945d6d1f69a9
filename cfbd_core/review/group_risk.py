"""Which suspected target to look at next: the group whose undecided pairs an auditor would most likely remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfbd_core.groups.group import Group
from cfbd_core.review.learner import Risk


@dataclass(frozen=True)
class GroupRisk:
    """A group, the mean ``risk`` of its undecided pairs (None where there are none), and how many there are."""

    group: Group
    risk: float | None
    undecided: int


def riskiest_first(groups: Sequence[Group], risk: Risk, decisions: np.ndarray) -> list[GroupRisk]:
    """The groups by falling mean risk of what is undecided in them, then those of which nothing is, each in its order.

    ``decisions`` int8 (n,) are places in ``DECISIONS``. Pairs without a rank are undecided, but not in the mean.
    """
    risks = []
    for group in groups:
        left = group.positions[decisions[group.positions] == 0]
        values = risk.values[left]
        values = values[np.isfinite(values)]
        risks.append(GroupRisk(group, float(values.mean()) if len(values) else None, len(left)))
    return sorted(risks, key=lambda one: (one.undecided == 0, -one.risk if one.risk is not None else np.inf))
