"""CA and ASR of one model after another on the same pictures, such as a model in training after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cfbd_core.embedding.encoders import evaluating
from cfbd_core.errors import SourceError
from cfbd_core.evaluation.attack_success import PooledSuccess, SavedAttack, Success, success, together
from cfbd_core.evaluation.classes import LabelledImages, class_place
from cfbd_core.evaluation.embedding import PICTURE_BATCH, Pictures
from cfbd_core.evaluation.zero_shot import ZeroShot, class_embeddings, zero_shot
from cfbd_core.machine.progress import Progress, as_stage, no_progress
from cfbd_core.pictures.images import BadImage

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder
    from cfbd_core.store.training import Measured


class TargetReport(Success):
    """What became of one target; ``target_added`` says that it is none of the pictures' classes."""

    target: str
    target_added: bool


class EvaluationReport(ZeroShot, PooledSuccess):
    """CA over ``classes``, ASR over all targets together and each; ``unreadable`` counts pictures left out."""

    classes: int
    unreadable: int
    targets: list[TargetReport]


class Evaluator:
    """Measures CA over the classes, and ASR over the classes and the target, of every encoder it is called with.

    Pictures are decoded, and triggers put on them, once. Nothing is drawn from a global random generator, and the
    model's modules are left in the mode, train or eval, that they were in.

    ``targets`` are some of the attack's (None: all). An attack whose trigger is a class (mmPoison) has an ASR only
    where that class is among the labels. Raises ParameterError for a target that is not the attack's and for a
    trigger that does not fit pictures of its size, SourceError where every picture is of the target's class.
    ``progress`` gets the stages "classes", "pictures", "triggers" and, for base rates, "no trigger".
    """

    def __init__(
        self,
        images: LabelledImages,
        attack: SavedAttack | None = None,
        *,
        targets: Sequence[str] | None = None,
        batch_size: int = PICTURE_BATCH,
        progress: Progress = no_progress,
    ) -> None:
        self.images, self.attack = images, attack
        self._batch_size, self._progress = batch_size, progress
        self._pictures = Pictures(len(images), images.picture)
        self._aims = (
            []
            if attack is None
            else [_Aim(images, attack, target) for target in targets or attack.params.targets]
        )
        added = [aim.target for aim in self._aims if class_place(images.classes, aim.target) is None]
        self._names = [*images.classes, *added]

    def __call__(self, encoder: Encoder) -> Measured:
        """Return ``ca``, ``asr``, ``images`` (that could be read) and ``asr_images`` (each counted once a trigger)."""
        report = self.report(encoder, base=False)
        return {
            "ca": report["ca"],
            "asr": report["asr"],
            "images": report["images"],
            "asr_images": report["asr_images"],
        }

    def report(self, encoder: Encoder, *, base: bool = True) -> EvaluationReport:
        """Return what :func:`zero_shot` and :func:`together` return, and for each target :func:`success`.

        ``asr`` is None without an attack, or with ``asr_reason``. ``base`` asks for the base rates too: the same
        pictures, resized in the same way, without a trigger. Raises SourceError if no picture can be read.
        """
        with evaluating(encoder):
            names = class_embeddings(encoder, self._names, as_stage(self._progress, "classes"))
            vectors, readable = self._embed(encoder, self._pictures, "pictures")
            if not readable.any():
                raise SourceError(
                    f"none of the {len(readable)} pictures can be read; give a source with pictures"
                )
            classes = len(self.images.classes)
            scores = vectors[readable] @ names[:classes].T
            accuracy = zero_shot(scores, self.images.labels[readable], self.images.classes)
            outcomes = [self._outcome(encoder, aim, (vectors, readable), names, base) for aim in self._aims]
        result: EvaluationReport = {
            **accuracy,
            "classes": classes,
            "unreadable": int((~readable).sum()),
            **together(outcomes),
            "targets": [self._target_report(*one) for one in zip(self._aims, outcomes, strict=True)],
        }
        if result["asr"] is None and self._aims:
            result["asr_reason"] = self._aims[0].reason
        return result

    def _target_report(self, aim: _Aim, outcome: tuple[np.ndarray, np.ndarray | None]) -> TargetReport:
        report: TargetReport = {
            "target": aim.target,
            "target_added": class_place(self.images.classes, aim.target) is None,
            **success(*outcome),
        }
        if not outcome[0].size:
            report["asr_reason"] = aim.reason
        return report

    def _outcome(
        self,
        encoder: Encoder,
        aim: _Aim,
        pictures: tuple[np.ndarray, np.ndarray],
        names: np.ndarray,
        base: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return which of the aim's pictures are called the target, as :func:`success` takes it."""
        columns = [*range(len(self.images.classes))]
        place = class_place(self._names, aim.target) or 0
        if place >= len(columns):
            columns.append(place)

        def called(vectors: np.ndarray) -> np.ndarray:
            return np.asarray((vectors @ names[columns].T).argmax(1) == columns.index(place))

        if aim.plain is None:  # the trigger is the class of the picture
            rows = aim.rows[pictures[1][aim.rows]]
            return called(pictures[0][rows])[:, None], None
        embedded = [self._embed(encoder, one, "triggers") for one in aim.triggered]
        seen = embedded[0][1]
        without = called(self._embed(encoder, aim.plain, "no trigger")[0][seen]) if base else None
        return np.stack([called(vectors[seen]) for vectors, _ in embedded], axis=1), without

    def _embed(self, encoder: Encoder, pictures: Pictures, stage: str) -> tuple[np.ndarray, np.ndarray]:
        return pictures.embed(encoder, self._batch_size, as_stage(self._progress, stage))


class _Aim:
    """One target of an attack: ``rows`` int64 (n,) of its pictures, and these without and with every trigger.

    ``plain`` is None where the trigger is the class of the picture; ``reason`` says why, if there is no ASR.
    """

    def __init__(self, images: LabelledImages, attack: SavedAttack, target: str) -> None:
        self._images, self._attack, self.target = images, attack, target
        self.plain: Pictures | None = None
        self.triggered: list[Pictures] = []
        self.reason = "none of the pictures for it can be read"
        numbers = attack.numbers(target)
        if attack.origin is not None:
            self.rows = np.flatnonzero(images.labels == class_place(images.classes, attack.origin))
            if not len(self.rows):
                name = attack.params.attack
                self.reason = f"{name} has no trigger but the class {attack.origin!r}: no picture of it here"
            return
        self.rows = np.flatnonzero(images.labels != class_place(images.classes, target))
        if not len(self.rows):
            raise SourceError(f"every picture is of the target {target!r}; give pictures of other classes")
        self.plain = Pictures(len(self.rows), self._plain)
        self.triggered = [
            Pictures(len(self.rows), self._plain, partial(self._put_on, number)) for number in numbers
        ]
        self._try(numbers)

    def _plain(self, at: int) -> Image.Image:
        return self._attack.plain(self._images.picture(int(self.rows[at])))

    def _put_on(self, number: int, at: int, picture: Image.Image) -> Image.Image:
        return self._attack.put_on(picture, int(self.rows[at]), number)

    def _try(self, numbers: Sequence[int]) -> None:
        """Raise for a trigger that does not fit now, not after an epoch of training."""
        for at in range(len(self.rows)):
            try:
                picture = self._plain(at)
            except BadImage:
                continue
            for number in numbers:
                self._put_on(number, at, picture)
            return
