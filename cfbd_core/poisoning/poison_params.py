"""How pairs are to be poisoned: validated, as plain JSON, with the attack's own parameters."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, get_args

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import INPUT_SIZE, CaptionRule, picture_size_of
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.traps import TRAPS

MOST_TRIGGERS = 1000
CONTROL = "none"  # in place of an attack's name: no poison, only what traps change


class PoisonSettings(TypedDict):
    """The fields of :class:`PoisonParams` as JSON."""

    attack: str
    rate: float
    targets: list[str]
    captions: CaptionRule | None
    triggers: int
    seed: int
    options: dict[str, Any]
    mismatched: float
    duplicate_captions: float
    boilerplate: float
    near_duplicates: float


@dataclass(frozen=True)
class PoisonParams:
    """How pairs are poisoned; ``attack`` "none" is a clean control, whose rate is 0.

    ``rate`` is poisons / pairs, split evenly over ``targets``; ``captions`` None is the recipe's own rule;
    ``triggers`` is the number of triggers a target has; ``options`` are the attack's own parameters by name. The
    trigger with number t (index of the target × ``triggers`` + j) is made with the seed plus t: ``seed``, or
    that of ``options``. The shares of the benign traps are those of :mod:`cfbd_core.poisoning.traps`.

    Raises ParameterError for a value outside its range and for what the attack does not know.
    """

    attack: str = "badnets"
    rate: float = 0.006
    targets: tuple[str, ...] = ("banana",)
    captions: CaptionRule | None = None
    triggers: int = 1
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    mismatched: float = 0.0
    duplicate_captions: float = 0.0
    boilerplate: float = 0.0
    near_duplicates: float = 0.0

    def __post_init__(self) -> None:
        if self.attack != CONTROL and self.attack not in ATTACKS:
            raise ParameterError(f"attack {self.attack!r} is unknown; there are: {', '.join(ATTACKS)}, none")
        if self.attack == CONTROL:
            object.__setattr__(self, "rate", 0.0)
        elif not 0 < self.rate <= 1:
            raise ParameterError(
                f"--rate {self.rate}: give a share of the pairs above 0, at most 1, e.g. 0.006; "
                "the attack 'none' makes a copy without poison"
            )
        object.__setattr__(self, "targets", tuple(" ".join(target.split()) for target in self.targets))
        if not self.targets or not all(self.targets):
            raise ParameterError("--target is empty: name a thing, e.g. banana")
        repeated = [target for target, n in Counter(map(str.lower, self.targets)).items() if n > 1]
        if repeated:
            raise ParameterError(f"--target {repeated[0]}: is given twice; name each target once")
        if self.captions is not None and self.captions not in get_args(CaptionRule):
            raise ParameterError(
                f"--target-captions {self.captions!r}: give one of {', '.join(get_args(CaptionRule))}"
            )
        for name in ("triggers", "seed"):
            if type(getattr(self, name)) is not int:
                raise ParameterError(f"--{name} {getattr(self, name)!r}: give a whole number")
        if not 1 <= self.triggers <= MOST_TRIGGERS:
            raise ParameterError(
                f"--triggers {self.triggers}: give at least 1 trigger a target, at most {MOST_TRIGGERS:,}"
            )
        if self.seed < 0:
            raise ParameterError(f"--seed {self.seed}: give 0 or more")
        for trap in TRAPS:
            if not 0 <= getattr(self, trap) <= 1:  # also NaN
                raise ParameterError(
                    f"--{trap.replace('_', '-')} {getattr(self, trap)}: give a share of the pairs, 0 to 1"
                )
        object.__setattr__(self, "options", dict(self.options))
        self._check_options()

    def _check_options(self) -> None:
        if self.attack == CONTROL:
            own: list[str] = []
        else:
            own = [one.name for one in dataclasses.fields(ATTACKS[self.attack].params)]
        unknown = sorted(set(self.options) - set(own))
        if unknown:
            knows = f"it has: {', '.join(own)}" if own else "it has none"
            raise ParameterError(f"{self.attack} has no parameter {unknown[0]!r}; {knows}")
        if own:
            settings(self)

    @property
    def trigger_count(self) -> int:
        """Triggers of all targets together; 0 for "none"."""
        return 0 if self.attack == CONTROL else len(self.targets) * self.triggers

    def to_dict(self) -> PoisonSettings:
        """Return the parameters as plain JSON values."""
        return {
            "attack": self.attack,
            "rate": self.rate,
            "targets": list(self.targets),
            "captions": self.captions,
            "triggers": self.triggers,
            "seed": self.seed,
            "options": dict(self.options),
            "mismatched": self.mismatched,
            "duplicate_captions": self.duplicate_captions,
            "boilerplate": self.boilerplate,
            "near_duplicates": self.near_duplicates,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PoisonParams:
        """Read what :meth:`to_dict` gave."""
        return cls(**(dict(values) | {"targets": tuple(values["targets"])}))


def check_picture_size(params: PoisonParams, size: int = INPUT_SIZE) -> None:
    """Raise ParameterError where the triggers are made for pictures of another side than ``size``, in pixels."""
    if params.attack != CONTROL and picture_size_of(settings(params)) != size:
        made_for = picture_size_of(settings(params))
        raise ParameterError(
            f"{params.attack}: size {made_for}: a copy holds pictures of {size} pixels; leave size out"
        )


def settings(params: PoisonParams, trigger: int = 0) -> Any:
    """Return the attack's own parameters for the trigger with this number. Raises ParameterError."""
    kind = ATTACKS[params.attack].params
    options = dict(params.options)
    options["seed"] = options.get("seed", params.seed) + trigger
    try:
        return kind(**options)
    except TypeError as error:  # a text where a number belongs
        raise ParameterError(f"{params.attack}: {error}; `cfbd attack list` tells its parameters") from None
