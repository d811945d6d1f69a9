"""Attack success rate (ASR): pictures of other classes that a trigger turns into the target (METHOD.md §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from PIL import Image

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import INPUT_SIZE, Trigger, resized
from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.method.intervals import interval_of, share_of
from cfbd_core.poisoning.copies import load_triggers
from cfbd_core.poisoning.plan import CONTROL, Poison, settings, triggered
from cfbd_core.poisoning.poison_params import PoisonParams

# What a trigger of another size raises where it is put on a picture, or one whose file is damaged.
MISFITS = (ParameterError, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class SavedAttack:
    """How pairs were poisoned, and the triggers, by number.

    ``size`` is the side in pixels of the pictures that the triggers were made for: a picture is resized to it, whole,
    gets the trigger, and only then goes through the model's transform. ``name`` is what messages call it.

    Raises SourceError for a copy without poison, or whose triggers are not as many as its parameters say.
    """

    params: PoisonParams
    triggers: Sequence[Trigger]
    size: int = INPUT_SIZE
    name: str = "the attack"

    def __post_init__(self) -> None:
        if self.params.attack == CONTROL:
            raise SourceError(
                f"{self.name}: a copy without poison has no trigger; give a poisoned copy's folder"
            )
        if len(self.triggers) != self.params.trigger_count:
            raise SourceError(
                f"{self.name}: holds {len(self.triggers)} triggers, its manifest tells of "
                f"{self.params.trigger_count}; make the copy again"
            )

    @classmethod
    def load(cls, folder: str | Path, size: int = INPUT_SIZE) -> SavedAttack:
        """Read the attack from a poisoned copy's folder; ``size`` is no part of that. Raises SourceError."""
        params, triggers = load_triggers(folder)
        return cls(params, triggers, size, name=str(folder))

    @property
    def origin(self) -> str | None:
        """The class whose pictures are poisoned where the trigger is the class itself (mmPoison), else None."""
        if ATTACKS[self.params.attack].victims != "origin":
            return None
        return str(settings(self.params).origin)

    def numbers(self, target: str) -> range:
        """Return the numbers of a target's triggers. Raises ParameterError for another target."""
        targets = [known.casefold() for known in self.params.targets]
        if target.casefold() not in targets:
            raise ParameterError(
                f"--target {target}: {self.name} aims at {', '.join(self.params.targets)}; give one of these"
            )
        first = targets.index(target.casefold()) * self.params.triggers
        return range(first, first + self.params.triggers)

    def plain(self, picture: Image.Image) -> Image.Image:
        """Return the whole picture at the attack's size, RGB, without the trigger."""
        return resized(picture, self.size)

    def put_on(self, picture: Image.Image, row: int, trigger: int) -> Image.Image:
        """Put a trigger on a picture of the attack's size; what it draws by chance depends on ``row`` alone.

        Raises ParameterError where the trigger is for pictures of another size, or none at all.
        """
        target = self.params.targets[trigger // self.params.triggers]
        try:
            return triggered(picture, Poison(row, "", target, trigger), self.params, self.triggers)
        except MISFITS as error:
            raise ParameterError(
                f"{self.name}: its trigger does not fit pictures of {self.size}×{self.size}: {error}"
            ) from None


class PooledSuccess(TypedDict):
    """The ASR of ``asr_images`` pictures with a trigger, and its 95 % Clopper–Pearson interval.

    ``asr_base`` is the share of pictures that are called the target without one, None where it is not known;
    ``asr_reason`` says why there is no ASR.
    """

    asr: float | None
    asr_interval: list[float] | None
    asr_images: int
    asr_base: float | None
    asr_reason: NotRequired[str]


class Success(PooledSuccess):
    """The ASR of one target; ``triggers`` are the rates of single triggers."""

    triggers: list[float | None]


def success(called: np.ndarray, without: np.ndarray | None = None) -> Success:
    """Return the ASR of n pictures with each of t triggers, ``called`` the target or not, bool (n, t).

    ``asr_images`` counts n · t; the 95 % Clopper–Pearson interval takes them as independent. ``without`` bool (n,)
    says which pictures were called the target all the same without a trigger: their share is the base rate.
    """
    triggers = [share_of(int(column.sum()), len(column)) for column in called.T]
    return {**_pooled(called, without), "triggers": triggers}


def together(outcomes: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> PooledSuccess:
    """Return the ASR of several targets, of each what :func:`success` takes; every picture with a trigger counts."""
    called = [np.zeros(0, bool), *(one.ravel() for one, _ in outcomes)]
    bases = [base for _, base in outcomes if base is not None]
    return _pooled(np.concatenate(called), np.concatenate(bases) if bases else None)


def _pooled(called: np.ndarray, without: np.ndarray | None) -> PooledSuccess:
    hits, n = int(called.sum()), called.size
    return {
        "asr": share_of(hits, n),
        "asr_interval": interval_of(hits, n),
        "asr_images": n,
        "asr_base": None if without is None else share_of(int(without.sum()), without.size),
    }
