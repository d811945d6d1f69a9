"""What a defence that trains is: what it prepares for an epoch, and a loss over the pairs' embeddings.

A new defence is one file with one class, and one line in the registry. The loop does the rest, the same for
all: batches, optimiser, several GPUs, checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Features = Mapping[
        str, Tensor
    ]  # "image", "text" and, with views, "image_view", "text_view": (n, d), unit rows
Embed = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Step:
    """Where in training a loss is asked for.

    ``epoch`` and ``step`` count from 0, ``epochs`` is the number of all. ``rows`` int64 (n,) are the batch's pairs in
    the set, in the order of the features, those of all GPUs.
    """

    epoch: int
    step: int
    epochs: int
    rows: np.ndarray


@dataclass(frozen=True)
class Loss:
    """``total`` is a scalar to descend, ``parts`` are for the log, ``per_pair`` (n,) is for the defence.

    Parts and ``per_pair`` are detached. They stay on the device, which goes on with the step: a number that is asked
    of a GPU waits for all that was asked of it before.
    """

    total: Tensor
    parts: Mapping[str, Tensor | float] = field(default_factory=dict)
    per_pair: Tensor | None = None


@dataclass(frozen=True)
class NoOptions:
    """A defence without options of its own."""


class Defense(ABC):
    """One published way to train on pairs that may be poisoned; an instance belongs to one run.

    ``name`` is what the registry and the command line call it, ``title`` what tables do, ``source`` the paper,
    ``options`` the frozen dataclass of its own parameters. ``views`` says that it wants a second, changed view
    of every picture and caption (:mod:`cfbd_core.training.defences.augment`). All that it remembers from step to
    step is in :meth:`state_dict`, so that a run that was killed goes on as if it had not been.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    options: ClassVar[type[Any]] = NoOptions
    views: ClassVar[bool] = False

    def __init__(self, options: Any, pairs: int, seed: int) -> None:
        """Prepare for ``pairs`` pairs; ``seed`` is for every random choice."""
        self.chosen, self.pairs, self.seed = options, pairs, seed

    @abstractmethod
    def loss(self, features: Features, logit_scale: Tensor, step: Step) -> Loss:
        """Loss of a batch; ``logit_scale`` is the factor itself, not its logarithm."""

    def check_length(self, _epochs: int) -> None:
        """Raise TrainingError where a run of so many epochs is too short for what the defence does."""
        return

    def begin_epoch(self, _epoch: int, _epochs: int, _embed: Embed) -> None:
        """Prepare for an epoch.

        ``embed(rows)`` gives the embeddings of pairs by the model as it is, image and text, float32 (m, d), unit rows.
        """
        return

    def seen(self, _step: Step, _loss: Loss) -> None:
        """Take note of a batch, after the optimiser's step."""
        return

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that is remembered from step to step."""
        return {}

    def load_state_dict(self, _state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
        return

    def extras(self) -> dict[str, np.ndarray]:
        """Return what it found out of the pairs, for who looks at the run: written to ``defense.npz``."""
        return {}
