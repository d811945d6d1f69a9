"""Settings: frozen and validated, each with a short id stored beside its results; options with a line of help."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import Field, dataclass, field
from typing import Any, Literal, Self, TypedDict, TypeVar

from cfbd_core.errors import ParameterError
from cfbd_core.machine.workers import MOST_WORKERS, usable_cores

SplitRule = Literal["quantile", "posterior"]
GammaZRule = Literal["auto", "null", "valley", "mixture", "manual"]

SPLIT_RULES: tuple[SplitRule, ...] = ("quantile", "posterior")
GAMMA_Z_RULES: tuple[GammaZRule, ...] = ("auto", "null", "valley", "mixture", "manual")
MAX_K = 10
HELP = "help"
READY_ENCODER = "ready"  # in place of an encoder's name: the embeddings came with the pairs

T = TypeVar("T")


def option(default: T, help: str) -> T:
    """Return a field of a dataclass that the command line and the app offer with this line of help."""
    value: T = field(default=default, metadata={HELP: help})
    return value


def help_of(field: Field[Any]) -> str:
    """Return the line of help of a field made by :func:`option`."""
    line: str = field.metadata[HELP]
    return line


class SplitSettings(TypedDict, total=False):
    """The fields of :class:`SplitParams` as JSON; audits of older versions lack some."""

    k: int
    gamma: float
    q: int
    gamma_z: float | None
    gamma_z_rule: GammaZRule
    rule: SplitRule
    recheck: bool
    kappa: float
    seed: int
    collapse_duplicates: bool


@dataclass(frozen=True)
class SplitParams:
    """The sliders of both stages.

    ``k`` components K of the mixture, ``gamma`` γ the coverage quantile of D_b, ``q`` the size of
    D_p, ``gamma_z`` the threshold γ_z when ``gamma_z_rule`` is "manual", ``rule`` how γ is read,
    ``recheck`` whether every pair's verdict follows z (docs/METHOD.md §2–3), ``kappa`` κ of the null rule,
    ``collapse_duplicates`` whether of pairs with the same image and caption one counts for statistics.
    """

    k: int = 5
    gamma: float = 0.90
    q: int = 50
    gamma_z: float | None = None
    gamma_z_rule: GammaZRule = "auto"
    rule: SplitRule = "quantile"
    recheck: bool = True
    kappa: float = 5.0
    seed: int = 0
    collapse_duplicates: bool = False

    def __post_init__(self) -> None:
        for name in ("k", "q", "seed"):
            if type(getattr(self, name)) is not int:
                raise ParameterError(f"{name} {getattr(self, name)!r}: give a whole number")
        if not 1 <= self.k <= MAX_K:
            raise ParameterError(f"--k {self.k}: give a number of components from 1 to {MAX_K}")
        if not 0.0 < self.gamma < 1.0:
            raise ParameterError(f"--gamma {self.gamma}: give a coverage between 0 and 1, e.g. 0.90")
        if self.q < 1:
            raise ParameterError(f"--q {self.q}: give at least 1 pair for D_p")
        if self.rule not in SPLIT_RULES:
            raise ParameterError(f"--rule {self.rule}: give one of {', '.join(SPLIT_RULES)}")
        if self.gamma_z_rule not in GAMMA_Z_RULES:
            raise ParameterError(
                f"--gamma-z {self.gamma_z_rule}: give a number or one of auto, null, valley, mixture"
            )
        if (self.gamma_z_rule == "manual") != (self.gamma_z is not None):
            raise ParameterError("gamma_z: a value goes with the rule 'manual', and only with it")
        if self.gamma_z is not None and not math.isfinite(self.gamma_z):
            raise ParameterError(f"--gamma-z {self.gamma_z}: give a finite number, e.g. 0.5")
        if not 0 < self.kappa < math.inf:
            raise ParameterError(f"kappa {self.kappa}: give a number above 0")

    def to_dict(self) -> SplitSettings:
        """Return the settings as plain JSON values."""
        return {
            "k": self.k,
            "gamma": self.gamma,
            "q": self.q,
            "gamma_z": self.gamma_z,
            "gamma_z_rule": self.gamma_z_rule,
            "rule": self.rule,
            "recheck": self.recheck,
            "kappa": self.kappa,
            "seed": self.seed,
            "collapse_duplicates": self.collapse_duplicates,
        }

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that change whenever a value does."""
        canonical = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @classmethod
    def with_gamma_z(cls, gamma_z: str, **others: Any) -> Self:
        """Read ``--gamma-z``: the name of a rule, or a number (then the rule is "manual")."""
        if gamma_z in GAMMA_Z_RULES and gamma_z != "manual":
            return cls(gamma_z_rule=gamma_z, **others)
        try:
            value = float(gamma_z)
        except ValueError:
            raise ParameterError(
                f"--gamma-z {gamma_z}: give a number or one of auto, null, valley, mixture"
            ) from None
        return cls(gamma_z=value, gamma_z_rule="manual", **others)


@dataclass(frozen=True)
class EmbedParams:
    """How pairs are embedded: the encoder's specification, the device, pairs a forward pass, pairs a shard.

    ``batch_size`` None is found by itself. ``shard_size`` is the unit of resuming.
    """

    encoder: str = "mini"
    device: str = "auto"
    batch_size: int | None = None
    shard_size: int = 4096
    workers: int = field(default_factory=usable_cores)

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ParameterError(f"--batch-size {self.batch_size}: give at least 1")
        if self.shard_size < 1:
            raise ParameterError(f"shard_size {self.shard_size}: give at least 1")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise ParameterError(f"--workers {self.workers}: give at least 1, at most {MOST_WORKERS:,}")
