"""Checks that the attacks' parameters share: each raises ParameterError with what is wrong and what to give."""

from __future__ import annotations

from cfbd_core.attacks.base import INPUT_SIZE
from cfbd_core.errors import ParameterError


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy's generators refuse."""
    if seed < 0:
        raise ParameterError(f"seed {seed}: give 0 or more")


def check_size(what: str, size: int) -> None:
    """Refuse a side in pixels that does not fit a picture at the encoder's input size."""
    if not 1 <= size <= INPUT_SIZE:
        raise ParameterError(f"{what} {size}: give 1 to {INPUT_SIZE} pixels")


def check_share(what: str, share: float) -> None:
    """Refuse a share that is not above 0 and at most 1 (0 would be no trigger at all)."""
    if not 0 < share <= 1:
        raise ParameterError(f"{what} {share}: give a value above 0, at most 1")
