"""One cell: a model trained as a row says on one poisoned set, and what it is worth."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import resized
from cfbd_core.bench.detection import scenario_id
from cfbd_core.bench.material import Mappings
from cfbd_core.bench.scenario import Attacker, Poisoner, Scenario
from cfbd_core.bench.training.rows import ROWS, Row
from cfbd_core.bench.training.search import Searched, search_hits
from cfbd_core.bench.training.setting import Setting
from cfbd_core.detectors import DETECTORS, Pairs
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.evaluation.attack_success import SavedAttack
from cfbd_core.evaluation.evaluate import Evaluator
from cfbd_core.machine.checked_files import MOST_BYTES, load_arrays, report_damage
from cfbd_core.machine.progress import Progress
from cfbd_core.method.metrics import areas_under
from cfbd_core.poisoning.plan import PoisonParams, triggered
from cfbd_core.poisoning.poison_params import CONTROL
from cfbd_core.training.config import TrainParams
from cfbd_core.training.embedding import embed_rows
from cfbd_core.training.losses import EXTRAS
from cfbd_core.training.run import train
from cfbd_core.training.sets import TrainingSet

OUTLIER_DETECTORS = ("k_distance", "slof", "dao")
DETECTOR_OF = {"kept": "cfbd", "coarse": "coarse"}


@dataclass(frozen=True)
class Poisoned:
    """The pairs under one attack: ``images`` uint8 (N, S, S, 3), and what measures models under it."""

    scenario: Scenario
    images: np.ndarray
    evaluator: Evaluator


class Judged(TypedDict, total=False):
    """How a detector did on the poisoned pairs; the rates alone where it chose the pairs that are trained on."""

    tpr: float | None
    fpr: float
    auroc: float
    auprc: float


class Detected(TypedDict, total=False):
    """What detectors of outliers find among the embeddings by the model, by name: of the undefended one alone."""

    detectors: dict[str, Judged]


class TrainedCell(Judged, Searched, Detected):
    """What a row of the tables gives under one attack: CA, ASR, and what was trained on.

    ``poisons_left`` of ``poisons`` were among the ``pairs``. What a detector or a search found goes with some rows.
    """

    ca: float | None
    ca_interval: list[float] | None
    images: int
    asr: float | None
    asr_interval: list[float] | None
    asr_base: float | None
    asr_images: int
    asr_reason: str | None
    pairs: int
    poisons: int
    poisons_left: int


class Trainer:
    """Trains and measures cells; runs lie in ``folder`` until their cells are done, for a stopped one to go on.

    ``workers`` threads make batches; CFBD audits with ``encoder``.
    """

    def __init__(
        self, setting: Setting, encoder: Encoder, folder: Path, progress: Progress, workers: int
    ) -> None:
        self._setting, self._folder, self._progress, self._workers = setting, folder, progress, workers
        self._encoder, self._mapping = encoder, Mappings("auto", encoder)
        self._poisoners: dict[int, Poisoner] = {}
        self._poisoned: dict[str, Poisoned] = {}

    def cell(self, params: PoisonParams, row: Row) -> TrainedCell:
        """Train and measure; equal arguments give equal results.

        Raises ParameterError where the attack cannot be, TrainingError where the training fails (it diverges, or the
        pairs are too few).
        """
        poisoned = self.poisoned(params)
        rows, judged = self._rows(poisoned, row)
        folder = self._run(params, row)
        trained = self._trained(poisoned, rows, params, row)
        truth = poisoned.scenario.truth
        measured = poisoned.evaluator.report(trained)
        seen = np.zeros(len(self._setting.held_out.captions), bool) if row.on == "held out" else truth[rows]
        searched: Searched = {}
        isolated: Judged = {}
        detected: Detected = {}
        if row.name == "clean" or params.attack == "mmpoison":  # a clean model gives the base rate
            searched = search_hits(trained, self._setting.held_out, *self._setting.search, self._progress)
        if row.name == "abl":
            isolated = _isolated(folder, poisoned.scenario.pairs, truth)
        if row.name == "none":
            detected = {"detectors": self._detected(poisoned, trained)}
        return {
            "ca": measured.get("ca"),
            "ca_interval": measured.get("ca_interval"),
            "images": measured.get("images"),
            "asr": measured.get("asr"),
            "asr_interval": measured.get("asr_interval"),
            "asr_base": measured.get("asr_base"),
            "asr_images": measured.get("asr_images"),
            "asr_reason": measured.get("asr_reason"),
            "pairs": len(seen),
            "poisons": int(truth.sum()),
            "poisons_left": int(seen.sum()),
            **judged,
            **searched,
            **isolated,
            **detected,
        }

    def finished(self, params: PoisonParams) -> None:
        """Delete the runs of a scenario, all of whose cells are done."""
        shutil.rmtree(self._folder / "runs" / scenario_id(params), ignore_errors=True)

    def poisoned(self, params: PoisonParams) -> Poisoned:
        """Return the pairs under an attack. Raises ParameterError."""
        name = scenario_id(params)
        if name not in self._poisoned:
            size = self._setting.trigger_size(params.attack)
            poisoner = self._poisoner(size)
            scenario = poisoner.scenario(params)
            triggers = [] if params.attack == CONTROL else poisoner.triggers(params)
            images = self._setting.images()
            for poison in scenario.plan.poisons:
                picture = triggered(poisoner.base.picture(poison.pair), poison, params, triggers)
                images[poison.pair] = np.asarray(resized(picture, self._setting.size))
            saved = (
                None
                if params.attack == CONTROL
                else SavedAttack(params, triggers, size=size, name=params.attack)
            )
            evaluator = Evaluator(self._setting.test, saved, batch_size=256, progress=self._progress)
            # Cells come scenario by scenario: one is held at a time.
            self._poisoned = {name: Poisoned(scenario, images, evaluator)}
        return self._poisoned[name]

    def _poisoner(self, size: int) -> Poisoner:
        """Return the one for triggers on pictures of ``size`` px."""
        if size not in self._poisoners:
            self._poisoners[size] = Poisoner(
                self._setting.base(size),
                self._encoder,
                self._mapping,
                Attacker(
                    self._pool,
                    self._folder / "triggers",
                    self._progress,
                ),
            )
        return self._poisoners[size]

    def _detected(self, poisoned: Poisoned, trained: Encoder) -> dict[str, Judged]:
        """Return what detectors of outliers find among the embeddings by the model that was trained on the pairs."""
        truth, pairs = poisoned.scenario.truth, poisoned.scenario.pairs
        if not truth.any():
            return {}
        shown = TrainingSet.from_arrays(poisoned.images, pairs.captions)
        image, text = embed_rows(trained, shown, np.arange(len(truth)), self._workers)
        judgements = {}
        for name in OUTLIER_DETECTORS:
            detection = DETECTORS[name].detect(replace(pairs, image=image, text=text))
            judgements[name] = _judged(detection.flagged, detection.score, truth)
        return judgements

    def _rows(self, poisoned: Poisoned, row: Row) -> tuple[np.ndarray, Judged]:
        """Return the pairs that a row trains on, and how the detector that chose them did."""
        pairs, truth = poisoned.scenario.pairs, poisoned.scenario.truth
        if row.on not in DETECTOR_OF:
            return np.arange(len(truth)), {}
        flagged = DETECTORS[DETECTOR_OF[row.on]].detect(pairs).flagged
        judged: Judged = {
            "tpr": float(flagged[truth].mean()) if truth.any() else None,
            "fpr": float(flagged[~truth].mean()),
        }
        return np.flatnonzero(~flagged), judged

    def _trained(self, poisoned: Poisoned, rows: np.ndarray, params: PoisonParams, row: Row) -> Encoder:
        from cfbd_core.embedding.encoders import load_encoder

        budget, held_out = self._setting.budget, self._setting.held_out
        if row.on == "held out":
            pairs = TrainingSet.from_arrays(held_out.images, held_out.captions)
            start = self._run(params, ROWS["none"])
            if not (start / "result.json").is_file():
                self._trained(poisoned, np.arange(len(poisoned.images)), params, ROWS["none"])
            settings = TrainParams(
                model=str(start),
                steps=budget.fine_tuning_steps,
                lr=budget.fine_tuning_lr,
                batch_size=budget.batch_size,
                crop_scale=budget.crop_scale,
                defense=row.defense,
                seed=params.seed,
                workers=self._workers,
            )
        else:
            shown, captions = poisoned.images[rows], poisoned.scenario.pairs.captions
            pairs = TrainingSet.from_arrays(shown, [captions[at] for at in rows])
            settings = TrainParams(
                model=budget.model,
                steps=budget.steps,
                lr=budget.lr,
                batch_size=min(budget.batch_size, len(rows)),
                crop_scale=budget.crop_scale,
                defense=row.defense,
                seed=params.seed,
                defense_options=budget.options.get(row.defense, {}),
                workers=self._workers,
            )
        out = self._run(params, row)
        train(pairs, out, settings, progress=self._progress)
        return load_encoder(str(out / "model"), "auto")

    def _run(self, params: PoisonParams, row: Row) -> Path:
        return self._folder / "runs" / scenario_id(params) / row.name

    def _pool(self, count: int) -> list[Image.Image]:
        """Pictures to optimise triggers on: those that are held out."""
        return [Image.fromarray(picture) for picture in self._setting.held_out.images[:count]]


def _isolated(run: Path, pairs: Pairs, truth: np.ndarray) -> Judged:
    """ABL as a detector: what the losses of the run's first epochs rank and flag."""
    if not truth.any():
        return {}
    with report_damage(run / EXTRAS, f"delete the folder {run}, and run the benchmark again"):
        extras = load_arrays(run / EXTRAS, MOST_BYTES, {"mean_loss": ("f4", (len(truth),))})
    detection = DETECTORS["abl"].detect(replace(pairs, losses=extras["mean_loss"]))
    return _judged(detection.flagged, detection.score, truth)


def _judged(flagged: np.ndarray, score: np.ndarray, truth: np.ndarray) -> Judged:
    areas = areas_under(truth, score.astype(np.float32))
    assert areas is not None
    return {
        "tpr": float(flagged[truth].mean()),
        "fpr": float(flagged[~truth].mean()),
        "auroc": areas[0],
        "auprc": areas[1],
    }
