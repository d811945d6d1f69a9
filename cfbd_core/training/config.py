"""What a training run was asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from cfbd_core.errors import ParameterError
from cfbd_core.machine.workers import MOST_WORKERS, usable_cores
from cfbd_core.training.defences import defense_options

if TYPE_CHECKING:
    from cfbd_core.store.training import TrainSettings

Subset = Literal["all", "kept", "coarse"]
Precision = Literal["auto", "fp32", "amp"]
LR_FROM_SCRATCH, LR_FINE_TUNING = 5e-4, 1e-5
WARMUP_SHARE, WARMUP_MOST = 0.1, 10_000
MOST_SEED = 2**32 - 1  # numpy's
HOW_ONLY = ("device", "checkpoint_every", "log_every", "workers")  # these do not decide what is learned
# Where a loss or a weight is not finite: the same run would meet it again, and its folder takes no other settings.
CALMER = "give a smaller --lr or a longer --warmup, and a new --out"


@dataclass(frozen=True)
class TrainParams:
    """How a model is trained; docs/METHOD.md §6 has the published values.

    ``subset`` of an audit (None: the set is no audit). ``model`` is a specification (:mod:`cfbd_core.training.models`).
    ``defense`` with its own ``defense_options``. The run ends after ``epochs``, or after ``steps`` where those are
    fewer; ``epochs`` None is 10, or as many as ``steps`` need. A pass takes ``batch_size`` pairs, over all GPUs
    together; ``accumulate`` passes make a step, whose loss is that of all its pairs at once. ``lr`` None is 5e-4 from
    scratch and 1e-5 for fine-tuning, ``warmup`` (steps) None a tenth of the run, at most 10,000. Weight decay leaves
    gains, biases and the temperature alone. ``crop_scale`` is the least share of a picture that a training crop shows.

    Raises ParameterError for a value outside its range.
    """

    subset: Subset | None = None
    model: str = "mini"
    defense: str = "plain"
    defense_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 128
    accumulate: int = 1
    lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.1
    warmup: int | None = None
    crop_scale: float = 0.9
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    checkpoint_every: int = 1000
    log_every: int = 10
    workers: int = field(default_factory=usable_cores)

    def __post_init__(self) -> None:
        if self.subset is not None and self.subset not in get_args(Subset):
            raise ParameterError(f"--subset {self.subset}: give one of {', '.join(get_args(Subset))}")
        if self.precision not in get_args(Precision):
            raise ParameterError(
                f"--precision {self.precision}: give one of {', '.join(get_args(Precision))}"
            )
        for name in (
            "epochs",
            "steps",
            "batch_size",
            "accumulate",
            "checkpoint_every",
            "log_every",
            "workers",
        ):
            self._whole(name, 1)
        self._whole("warmup", 0)
        self._whole("seed", 0)
        if self.seed > MOST_SEED:
            raise ParameterError(f"--seed {self.seed}: give a whole number, at most {MOST_SEED}")
        if self.workers > MOST_WORKERS:
            raise ParameterError(f"--workers {self.workers}: give at most {MOST_WORKERS:,}")
        if self.batch_size * self.accumulate < 2:
            raise ParameterError(f"--batch-size {self.batch_size}: a contrastive loss needs at least 2 pairs")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ParameterError(f"--lr {self.lr}: give a number above 0, e.g. 1e-5")
        if not 0 <= self.weight_decay < math.inf:
            raise ParameterError(f"--weight-decay {self.weight_decay}: give 0 or more")
        if not 0 < self.crop_scale <= 1:
            raise ParameterError(f"--crop-scale {self.crop_scale}: give a share above 0, at most 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas) or not self.eps > 0:
            raise ParameterError(
                f"betas {self.betas}, eps {self.eps}: give two betas in [0, 1) and eps above 0"
            )
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "defense_options", dict(self.defense_options))
        defense_options(self.defense, self.defense_options)

    def _whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None and name in ("epochs", "steps", "warmup"):
            return
        if type(value) is not int or value < least:
            raise ParameterError(
                f"--{name.replace('_', '-')} {value!r}: give a whole number, at least {least}"
            )

    @property
    def step_pairs(self) -> int:
        """Pairs whose loss makes one step."""
        return self.batch_size * self.accumulate

    def length(self, pairs: int) -> tuple[int, int]:
        """Epochs that a run on ``pairs`` pairs reaches, and its steps; no step where the pairs are too few for one."""
        an_epoch = pairs // self.step_pairs
        most = math.ceil(self.steps / max(1, an_epoch)) if self.steps else self.epochs or 10
        epochs = min(self.epochs or most, most)
        return epochs, min(self.steps or epochs * an_epoch, epochs * an_epoch)

    def resolved(self, pairs: int, from_scratch: bool) -> TrainParams:
        """Return the same with every None filled in, for a set of ``pairs`` pairs."""
        epochs, steps = self.length(pairs)
        lr = self.lr or (LR_FROM_SCRATCH if from_scratch else LR_FINE_TUNING)
        warmup = min(WARMUP_MOST, round(WARMUP_SHARE * steps)) if self.warmup is None else self.warmup
        return dataclasses.replace(self, epochs=self.epochs or epochs, lr=lr, warmup=warmup)

    def to_dict(self) -> TrainSettings:
        """Return the settings as plain JSON values."""
        return {
            "subset": self.subset,
            "model": self.model,
            "defense": self.defense,
            "defense_options": dict(self.defense_options),
            "epochs": self.epochs,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "lr": self.lr,
            "betas": list(self.betas),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            "warmup": self.warmup,
            "crop_scale": self.crop_scale,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            "checkpoint_every": self.checkpoint_every,
            "log_every": self.log_every,
            "workers": self.workers,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainParams:
        """Read what :meth:`to_dict` gave."""
        return cls(**dict(values) | {"betas": tuple(values["betas"])})

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that change with whatever decides what is learned, but the device."""
        deciding = {name: value for name, value in self.to_dict().items() if name not in HOW_ONLY}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
