"""A training run: a folder, what was asked in ``run.json``, what came out in ``model/`` and ``result.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from cfbd_core.embedding.encoders import resolve_device
from cfbd_core.errors import EncoderError, TrainingError
from cfbd_core.machine.checked_files import report_damage
from cfbd_core.machine.files import write_json, written_beside
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.store.training import Measured, RequestEntry, ResultEntry, RunFigures
from cfbd_core.training.batches import RunProcess
from cfbd_core.training.checkpoints import Checkpoints
from cfbd_core.training.config import TrainParams
from cfbd_core.training.defences import DEFENSES, defense_options
from cfbd_core.training.group import Group, joined
from cfbd_core.training.loop import Evaluate, Loop, Recipe, precision
from cfbd_core.training.losses import EXTRAS
from cfbd_core.training.models import TrainedModel, build_model, whole_spec
from cfbd_core.training.place import CHECKPOINTS, MODEL, RESULT, check_place, one_run, result_if_done
from cfbd_core.training.record import record
from cfbd_core.training.request import finished, is_logged, keep
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.tracking import Tracking
from cfbd_core.training.unfold import unfold_batchnorm
from cfbd_core.wording import in_one_line

PACKAGES = ("numpy", "open_clip_torch", "pillow", "timm", "torch", "torchvision")


def train(  # noqa: PLR0913 - scripts give these by name
    pairs: TrainingSet,
    out: str | Path,
    params: TrainParams | None = None,
    *,
    evaluate: Evaluate | None = None,
    measured_on: Mapping[str, str | None] | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> ResultEntry:
    """Train a model on ``pairs`` into the folder ``out``; returns the content of its ``result.json``.

    Called again it goes on from the newest checkpoint; a run that is done gives its result. ``resume`` insists that
    there is one. ``evaluate(encoder)`` measures the model after every epoch, e.g. its ``ca`` and ``asr``;
    ``measured_on`` says for ``run.json`` on what: where that changes, the model of a run that is done is measured anew.
    ``progress`` counts pairs in the stage "train", and before it, in "pictures hashed", the pictures that are read to
    tell the set from others. Where ``torchrun`` started several processes, all call this.

    Raises TrainingError: too few pairs or epochs, a folder that holds something else, a model that cannot be built,
    a loss that is not finite, a lost GPU; the newest checkpoint stays. KeyboardInterrupt after a checkpoint.
    """
    out, params = Path(out), with_whole_paths(params or TrainParams())
    device = device_of(params)
    check_enough(pairs, params)
    check_place(out, pairs)
    with joined(device) as (group, own_device):
        _check_divides(params, group)
        trained = build_model(params.model, params.seed)
        params = params.resolved(len(pairs), trained.from_scratch)
        defense = DEFENSES[params.defense](
            defense_options(params.defense, params.defense_options), len(pairs), params.seed
        )
        defense.check_length(params.length(len(pairs))[0])
        # The first process alone: all pictures may have to be read for it.
        request: RequestEntry = group.broadcast(
            make_request(pairs, trained, params, progress=progress) if group.is_first else None
        )
        request["measured_on"] = dict(measured_on or {})
        with one_run(out) if group.is_first else nullcontext():
            finished_result = result_if_done(out, request, resume) if group.is_first else None
            if finished_result is not None:
                finished_result = finished(out, finished_result, request, pairs, evaluate, own_device)
            done: ResultEntry | None = group.broadcast(finished_result)
            if done is not None:
                return done
            checkpoints = Checkpoints(out / CHECKPOINTS, request["id"])
            state = checkpoints.newest()
            if group.is_first:
                keep(out, request, pairs)
                if state is None:
                    record(out)
            if state is None:
                unfold_batchnorm(trained, pairs, params.seed)
            loop = Loop(
                pairs,
                Recipe(trained, defense, params),
                checkpoints,
                RunProcess(own_device, out, group),
                evaluate,
            )
            loop.progress = progress
            if state is not None and checkpoints.taken is not None:
                way_out = "delete it, and the run goes on from the one before"
                with (
                    report_damage(checkpoints.taken, way_out, TrainingError),
                    _report_lost_gpu(own_device, params, checkpoints),
                ):
                    loop.restore(state)
                if not group.broadcast(group.is_first and is_logged(out, loop.at.evaluated)):
                    loop.forget_measured()
            try:
                with _report_lost_gpu(own_device, params, checkpoints):
                    _follow(loop, out, group)
                return _finish(loop, out, group)
            finally:
                if group.is_first:
                    record(out)


def _follow(loop: Loop, out: Path, group: Group) -> None:
    """Run the loop; the first process logs."""
    if not group.is_first:
        loop.run()
        return
    with Tracking(out, loop.at.step, loop.at.evaluated) as tracking:
        loop.log = tracking
        loop.run()


def _finish(loop: Loop, out: Path, group: Group) -> ResultEntry:
    """Write the model, what the defence found, and last the result."""
    params, at = loop.params, loop.at
    figures: RunFigures = {
        "steps": at.step,
        "epochs": at.epoch,
        "loss": loop.loss,
        "seconds": round(loop.seconds, 1),
        "pairs_per_s": round(at.pairs / at.stepping, 2) if at.stepping else None,
    }
    result = result_of(figures, loop.measured, loop.pairs, params, loop.device)
    if group.is_first:
        loop.trained.save(out / MODEL)
        extras = loop.defense.extras()
        if extras:
            with written_beside(out / EXTRAS) as beside, beside.open("wb") as file:
                np.savez(file, **extras)  # type: ignore[arg-type]
        write_json(out / RESULT, result)
    return result


def make_request(
    pairs: TrainingSet,
    trained: TrainedModel,
    params: TrainParams,
    engine: str = "own",
    *,
    progress: Progress,
) -> RequestEntry:
    """Return the content of ``run.json``; ``id`` changes with whatever decides what is learned."""
    fingerprint = pairs.fingerprint(progress)
    decided = json.dumps([engine, params.id, fingerprint, trained.origin, trained.config])
    epochs, steps = params.length(len(pairs))
    return {
        "id": hashlib.sha256(decided.encode()).hexdigest()[:12],
        "params": params.to_dict(),
        "audit": pairs.about["audit"],
        "data": pairs.about["data"],
        "subset": pairs.about["subset"],
        "pairs": len(pairs),
        "set_fingerprint": fingerprint,
        "model_sha256": trained.origin,
        "epochs": epochs,
        "steps": steps,
        "engine": engine,
        "versions": {name: version(name) for name in PACKAGES},
        "started": datetime.now(UTC).isoformat(),
    }


def result_of(
    figures: RunFigures,
    measured: Measured,
    pairs: TrainingSet,
    params: TrainParams,
    device: str,
) -> ResultEntry:
    """The content of ``result.json``: ``figures`` of the loop, what was ``measured`` last, and what was trained."""
    return {
        **figures,
        "ca": None,
        "asr": None,
        **measured,
        "defense": params.defense,
        "subset": params.subset,
        "model": params.model,
        "pairs": len(pairs),
        "device": device,
        "finished": datetime.now(UTC).isoformat(),
    }


def with_whole_paths(params: TrainParams) -> TrainParams:
    """Return the same with whole paths in ``model``: the run may go on from another folder."""
    return dataclasses.replace(params, model=whole_spec(params.model))


def device_of(params: TrainParams) -> str:
    """Return the device that is meant. Raises TrainingError: none such here, or half precision without a GPU."""
    try:
        device = resolve_device(params.device)
    except EncoderError as error:
        raise TrainingError(str(error)) from error
    precision(params, device)
    return device


def check_enough(pairs: TrainingSet, params: TrainParams) -> None:
    """Raise TrainingError for fewer pairs than a step takes."""
    if len(pairs) < params.step_pairs:
        passes = f" × --accumulate {params.accumulate}" if params.accumulate > 1 else ""
        raise TrainingError(
            f"--batch-size {params.batch_size}{passes}: the set has {len(pairs)} pairs, fewer than one batch; "
            f"give --batch-size {max(2, len(pairs) // params.accumulate)} or less"
        )


def _check_divides(params: TrainParams, group: Group) -> None:
    if params.batch_size % group.size:
        raise TrainingError(
            f"--batch-size {params.batch_size}: does not divide among {group.size} processes; "
            f"give a multiple of {group.size}"
        )


@contextmanager
def _report_lost_gpu(device: str, params: TrainParams, checkpoints: Checkpoints) -> Iterator[None]:
    """Say in one line that the GPU is lost, or too small."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory does not hold {params.batch_size} pairs a pass; "
            f"give --batch-size {max(1, params.batch_size // 2)} --accumulate {2 * params.accumulate}"
        ) from error
    except RuntimeError as error:
        if not device.startswith("cuda") or not any(word in str(error) for word in ("CUDA", "cuda", "NCCL")):
            raise
        reason = in_one_line(error, 120)
        raise TrainingError(f"the GPU {device} is lost ({reason}){checkpoints.way_back()}") from error
