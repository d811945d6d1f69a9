"""Training on what an audit left: a contrastive loop, and defences that train, one file each, one line each here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cfbd_core.errors import ParameterError
from cfbd_core.training.defences.abl import Abl
from cfbd_core.training.defences.base import Defense, Embed, Loss, NoOptions, Step
from cfbd_core.training.defences.cleanclip import CleanClip
from cfbd_core.training.defences.plain import Plain
from cfbd_core.training.defences.roclip import RoClip
from cfbd_core.training.defences.safeclip import SafeClip

__all__ = ["DEFENSES", "Defense", "Embed", "Loss", "NoOptions", "Step", "defense_options"]

DEFENSES: dict[str, type[Defense]] = {
    defense.name: defense for defense in (Plain, CleanClip, RoClip, Abl, SafeClip)
}


def defense_options(defense: str, options: Mapping[str, Any]) -> Any:
    """Return a defence's own options, validated. Raises ParameterError: no such defence or option, or a wrong value."""
    if defense not in DEFENSES:
        raise ParameterError(f"--defense {defense}: give one of {', '.join(DEFENSES)}")
    kind = DEFENSES[defense].options
    own = [field.name for field in fields(kind)]
    unknown = sorted(set(options) - set(own))
    if unknown:
        knows = f"it has: {', '.join(own)}" if own else "it has none"
        raise ParameterError(f"{defense} has no option {unknown[0]!r}; {knows}")
    return kind(**options)
