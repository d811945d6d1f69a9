"""A training run whose loop is open_clip_train's: the same folder, the same files, the same figures."""

from __future__ import annotations

import csv
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import torch

from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import CfbdError
from cfbd_core.export import pandas_safe
from cfbd_core.machine.files import read_json, write_json, written_beside
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.machine.tars import LOADED_ENDINGS, tar_members
from cfbd_core.pictures.images import picture_ending
from cfbd_core.store.training import Measured, ResultEntry, RunFigures, StepLine
from cfbd_core.training.config import TrainParams
from cfbd_core.training.loop import Evaluate
from cfbd_core.training.models import TrainedModel, build_model
from cfbd_core.training.place import (
    MODEL,
    REQUEST,
    RESULT,
    check_place,
    one_run,
    read_request,
    result_if_done,
)
from cfbd_core.training.record import record
from cfbd_core.training.request import finished, keep
from cfbd_core.training.run import (
    check_enough,
    device_of,
    make_request,
    result_of,
    with_whole_paths,
)
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.tracking import Tracking, read_metrics
from cfbd_core.training.unfold import unfold_batchnorm
from cfbd_core.training.with_open_clip import checkpoints as engine_checkpoints
from cfbd_core.training.with_open_clip import engine

FOLDER = "open_clip"


def train_with_open_clip(  # noqa: PLR0913 - called as train is
    pairs: TrainingSet,
    out: str | Path,
    params: TrainParams | None = None,
    *,
    evaluate: Evaluate | None = None,
    measured_on: Mapping[str, str | None] | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> ResultEntry:
    """As :func:`cfbd_core.training.run.train`, in a process of open_clip_train, which uses every GPU.

    A folder of tars, or a CSV with whole paths, of which open_clip_train reads just these pairs, is read there as it
    is; of all else a CSV is written. The model is evaluated once, at
    the end. A run that was stopped goes on after its last whole epoch. Raises TrainingError also for what
    open_clip_train cannot do (:mod:`cfbd_core.training.with_open_clip.engine`).
    """
    engine.check_packages()
    out, params = Path(out), with_whole_paths(params or TrainParams())
    device = device_of(params)
    check_enough(pairs, params)
    check_place(out, pairs)
    trained = build_model(params.model, params.seed)
    params = params.resolved(len(pairs), trained.from_scratch)
    request = make_request(pairs, trained, params, FOLDER, progress=progress)
    request["measured_on"] = dict(measured_on or {})
    with one_run(out):
        done = result_if_done(out, request, resume)
        if done is not None:
            return finished(out, done, request, pairs, evaluate, device)
        pairs.check_pictures(progress)
        is_begun = (out / REQUEST).exists()
        keep(out, request, pairs)
        try:
            job = _Job(pairs, out, trained, params, device)
        except CfbdError:
            if not is_begun:
                (out / REQUEST).unlink()  # what it has made goes too
            raise
        write_json(out / REQUEST, {**(read_request(out) or request), "steps": job.steps})
        clock = _Clock(out / FOLDER / "seconds.json")
        try:
            with Tracking(out, job.steps_done()) as tracking:

                def log(line: StepLine) -> None:
                    tracking(line)
                    clock.keep()

                job.train(log, progress)
                measured: Measured = evaluate(load_encoder(str(out / MODEL), device)) if evaluate else {}
                if measured:
                    tracking(
                        {
                            "kind": "eval",
                            "epoch": job.epochs - 1,
                            "step": job.steps,
                            **measured,
                            "time": time.time(),
                        }
                    )
            # Of the log: where an earlier call was killed at its end, this one has made no step.
            steps = [line for line in read_metrics(out) if line["kind"] == "step"]
            last = steps[-1] if steps else None
            figures: RunFigures = {
                "steps": job.steps,
                "epochs": job.epochs,
                "loss": None if last is None else last.get("loss"),
                "seconds": clock.keep(),
                "pairs_per_s": None if last is None else last.get("pairs_per_s"),
            }
            result = result_of(figures, measured, pairs, params, device)
            write_json(out / RESULT, result)
        finally:
            record(out)
    return result


class _Clock:
    """How long a run has been at work, also before it was resumed; ``path`` keeps it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        seconds = (read_json(path) or {}).get("seconds")
        self._before = float(seconds) if isinstance(seconds, int | float) else 0.0
        self._began = time.monotonic()

    def keep(self) -> float:
        """Seconds so far, which a call that comes later begins from."""
        seconds = round(self._before + time.monotonic() - self._began, 1)
        write_json(self._path, {"seconds": seconds})
        return seconds


class _Job:
    """What open_clip_train is given: a model to start from and data, made in the run's folder where need be."""

    def __init__(
        self, pairs: TrainingSet, out: Path, trained: TrainedModel, params: TrainParams, device: str
    ) -> None:
        self._out, self._params = out, params
        gpus = torch.cuda.device_count() if device == "cuda" else 1
        self._start = out / FOLDER / "start"
        source = None if pairs.about["data"] is None else Path(pairs.about["data"])
        is_ready = source is not None and _reads_alike(source, pairs)
        data = source if source is not None and is_ready else out / FOLDER / "pairs.csv"
        (out / FOLDER).mkdir(exist_ok=True)
        if not is_ready and not data.exists():
            write_csv(pairs, data)
        self._training = engine.Training(
            params, data, len(pairs), self._start, out, device.partition(":")[0], gpus
        )
        listed = engine.arguments(self._training)
        workers = int(listed[listed.index("--workers") + 1])
        self._an_epoch = engine.steps_an_epoch(self._training, workers)
        self.epochs = params.epochs or 0
        self.steps = self.epochs * self._an_epoch
        if not self._start.is_dir():
            unfold_batchnorm(trained, pairs, params.seed)
            trained.save(self._start)

    def steps_done(self) -> int:
        """Steps of the whole epochs that an earlier call has done."""
        return engine_checkpoints.settle(engine.checkpoints(self._out)) * self._an_epoch

    def train(self, log: engine.OnStep, progress: Progress) -> None:
        """Run it to its end."""

        def report(line: StepLine) -> None:
            log(line)
            done = line["step"] * self._params.step_pairs
            progress("train", done, self.steps * self._params.step_pairs)

        engine.train(self._training, report)


def _reads_alike(source: Path, pairs: TrainingSet) -> bool:
    """Return whether open_clip_train reads these pairs, and no others, of a folder of tars or a CSV."""
    if source.is_dir():
        return sum(map(_loaded, source.glob("*.tar"))) == len(pairs)
    if source.suffix.lower() != ".csv":
        return False
    try:
        with source.open(newline="", encoding="utf-8") as file:
            rows = [(row["image"], row["caption"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error):
        return False
    files = [place.file for place in pairs.places]
    captions = pa.array(pairs.captions, pa.string())
    return (
        all(map(os.path.isabs, files))  # it takes paths from where it is at work
        and rows == list(zip(files, pairs.captions, strict=True))
        and pandas_safe(captions).equals(captions)
    )


def _loaded(tar: Path) -> int:
    """How many records of a tar open_clip_train takes: those that have a txt and a picture it knows by its ending."""
    endings: dict[str, set[str]] = {}
    try:
        with tar.open("rb") as file:
            for member, _ in tar_members(file):
                folder, slash, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                endings.setdefault(f"{folder}{slash}{stem}", set()).add(ending.lower())
    except (OSError, tarfile.TarError, ValueError, EOFError):
        return 0
    return sum("txt" in kinds and not kinds.isdisjoint(LOADED_ENDINGS) for kinds in endings.values())


def write_csv(pairs: TrainingSet, path: Path) -> None:
    """Write key, image and caption of every pair; pictures that are no files of their own go to ``images/`` beside.

    Captions that pandas would take for something else begin with a space (:mod:`cfbd_core.export.cells`). Raises
    TrainingError for a picture that cannot be read.
    """
    images = path.with_name("images")
    images.mkdir(exist_ok=True)
    with written_beside(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption"])
        captions = pandas_safe(pa.array(pairs.captions, pa.string())).to_pylist()
        for row, (key, caption) in enumerate(zip(pairs.keys, captions, strict=True)):
            writer.writerow([key, str(_image(pairs, row, images).absolute()), caption])


def _image(pairs: TrainingSet, row: int, images: Path) -> Path:
    """Return a file with the picture of a pair."""
    if pairs.arrays is not None:
        path = images / f"{row:08d}.png"
        pairs.picture(row).save(path)
        return path
    place = pairs.places[row]
    if place.is_own_file:
        return Path(place.file)
    data = pairs.encoded(row)
    path = images / f"{row:08d}.{picture_ending(data) or 'jpg'}"
    path.write_bytes(data)
    return path
