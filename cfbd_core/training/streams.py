"""The random streams of a run: one per purpose and place, so that none repeats another's draws."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal["order", "towers", "pool", "image view", "caption view", "unfold"]


def stream(purpose: Purpose, *place: int) -> np.random.SeedSequence:
    """Return the seeds of a purpose at a place, e.g. seed and epoch, each at least 0.

    The purpose comes first: numpy takes (seed, epoch) and (seed, epoch, 0, 0) for the same.
    """
    return np.random.SeedSequence((get_args(Purpose).index(purpose), *place))
