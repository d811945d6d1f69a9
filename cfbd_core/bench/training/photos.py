"""The setting ``photos``: a CLIP checkpoint fine-tuned on photos of one half of a source, measured on labelled ones.

On a GPU, or with patience: a cell of ``mini`` on four thousand photos takes the better part of an hour on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import INPUT_SIZE
from cfbd_core.bench.base import make_base
from cfbd_core.bench.detection import LABEL_CONSISTENT_TARGET, TARGET
from cfbd_core.bench.training.setting import Budget, Drawn, Setting, searched
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.errors import ParameterError
from cfbd_core.evaluation.classes import labelled_images
from cfbd_core.machine.checked_files import map_array
from cfbd_core.machine.files import written_beside
from cfbd_core.machine.progress import Progress
from cfbd_core.pictures.images import BadImage
from cfbd_core.poisoning.options import CopyOptions
from cfbd_core.poisoning.plan import PoisonParams
from cfbd_core.poisoning.source_pairs import Keys, SourcePairs, read_pairs, read_picture
from cfbd_core.sources import SourceOptions

BUDGET = Budget(
    model="mini",
    steps=316,  # five epochs of half of Flickr8k
    batch_size=64,
    lr=1e-4,
    fine_tuning_steps=160,
    fine_tuning_lr=1e-5,
    options={"safeclip": {"warmup_epochs": 1}},
)
HELD_OUT = 2_000  # clean pairs for CleanCLIP, and pictures to optimise triggers on


@dataclass(frozen=True)
class Photos:
    """The pairs of ``source`` (first captions) whose integer key is ``keys`` are trained on; others are held out.

    ``classes`` is a source of labelled pictures, as for ``cfbd evaluate``. ``rate`` is the share that is poisoned.
    Raises ParameterError for keys that leave nothing out.
    """

    source: str
    classes: str
    keys: Keys = "odd"
    rate: float = 0.03
    budget: Budget = BUDGET
    name: ClassVar[str] = "photos"

    def __post_init__(self) -> None:
        if self.keys not in ("odd", "even"):
            raise ParameterError(f"--keys {self.keys}: give odd or even; the other half is held out")

    def about(self) -> dict[str, object]:
        """Return what decides the cells besides the budget."""
        return {
            "source": Path(self.source).name,
            "source_fingerprint": self._pairs(self.keys).fingerprint,
            "classes": Path(self.classes).name,
            "keys": self.keys,
            "rate": self.rate,
        }

    def scenario(self, attack: str, seed: int) -> PoisonParams:
        """Return how an attack poisons the photos."""
        target = LABEL_CONSISTENT_TARGET if attack == "label-consistent" else TARGET
        options: dict[str, Any] = {"seed": 0} if ATTACKS[attack].optimised else {}
        rate = self.rate / 6 if attack == "label-consistent" else self.rate  # few captions name its target
        return PoisonParams(attack, rate, targets=(target,), seed=seed, options=options)

    def make(self, folder: Path, encoder: Encoder, progress: Progress) -> Setting:
        """Copy and embed the photos, or read what an earlier call left in ``folder``. Raises SourceError."""
        base = make_base(
            self.source, folder / "base", encoder=encoder, copy=CopyOptions(keys=self.keys), progress=progress
        )
        path = folder / "photos.npy"
        if not path.is_file():
            with written_beside(path) as beside:
                shape = (len(base.keys), INPUT_SIZE, INPUT_SIZE, 3)
                photos = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
                for pair in range(len(base.keys)):
                    photos[pair] = np.asarray(base.picture(pair))
                    progress("photos", pair + 1, len(base.keys))
                photos.flush()
        return Setting(
            size=INPUT_SIZE,
            images=lambda: _copied_on_write(path, len(base.keys)),
            held_out=self._held_out(),
            test=labelled_images(self.classes),
            budget=self.budget,
            base=lambda _size: base,
            trigger_size=lambda _attack: INPUT_SIZE,
            search=searched(self.scenario("mmpoison", 0)),
        )

    def _pairs(self, keys: Keys) -> SourcePairs:
        return read_pairs(self.source, SourceOptions(captions="first"), keys)

    def _held_out(self) -> Drawn:
        """Return the first of the other half that can be read."""
        pairs = self._pairs("even" if self.keys == "odd" else "odd")
        images, captions = [], []
        for pair, caption in enumerate(pairs.table["caption"].to_pylist()):
            try:
                images.append(np.asarray(read_picture(pairs.place(pair))))
            except BadImage:
                continue
            captions.append(caption)
            if len(captions) == HELD_OUT:
                break
        return Drawn(np.stack(images), captions)


def _copied_on_write(path: Path, pictures: int) -> np.ndarray:
    """The photos that an earlier call left, to be written to without changing them. Raises AuditError: damaged."""
    shape = (pictures, INPUT_SIZE, INPUT_SIZE, 3)
    map_array(path, np.uint8, shape, "delete it, and run the benchmark again")
    return np.asarray(np.load(path, mmap_mode="c"))
