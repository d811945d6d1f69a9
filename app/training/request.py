"""Training without its page: what was asked for, what it will cost, where the run goes, how it is started."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from app import state, words
from app.lab import request as lab
from app.training import runs as train_runs
from app.training.runs import PREFIX, Run
from app.waiting import previews
from cfbd_core import Audit
from cfbd_core.demo.audit import SOURCE_NAME
from cfbd_core.errors import CfbdError, ParameterError
from cfbd_core.jobs.jobs import Job
from cfbd_core.poisoning.place import MANIFEST
from cfbd_core.poisoning.trigger_files import TRIGGERS_NAME
from cfbd_core.training.config import LR_FINE_TUNING, LR_FROM_SCRATCH, TrainParams
from cfbd_core.training.place import REQUEST, RUNS
from cfbd_core.training.specs import is_from_scratch
from cfbd_core.wording import counted, duration

LABELS = {
    "subset": "Train on",
    "defense": "Defence",
    "model": "Model",
    "epochs": "Epochs",
    "batch-size": "Batch size",
    "lr": "Learning rate",
    "seed": "Seed",
    "device": "Device",
    "classes": "Labelled pictures",
    "attack": "Poisoned copy",
    "steps": "Most steps",
    "warmup": "Warm-up",
    "accumulate": "Batches a step",
    "checkpoint-every": "Steps between checkpoints",
    "encoder": "Model",
    "out": "Run",
}


FIRST = TrainParams()  # what the fields begin at


@dataclass(frozen=True)
class RunRequest:
    """What the form says, on a set of ``pairs`` pairs; ``classes`` and ``attack`` are whole paths or None."""

    params: TrainParams
    pairs: int
    classes: str | None = None
    attack: str | None = None

    def arguments(self, audit: Path, run: Path) -> list[str]:
        """Return the command that trains into the folder ``run``."""
        given = self.params
        values = {
            "subset": given.subset,
            "model": given.model,
            "defense": given.defense,
            "epochs": given.epochs,
            "steps": given.steps,
            "batch-size": given.batch_size,
            "accumulate": given.accumulate,
            "lr": given.lr,
            "warmup": given.warmup,
            "seed": given.seed,
            "device": given.device,
            "checkpoint-every": given.checkpoint_every,
            "classes": self.classes,
            "attack": self.attack,
        }
        flags = [f"--{name}={value}" for name, value in values.items() if value is not None]
        flags += [f"--defense-option={name}={value}" for name, value in given.defense_options.items()]
        return ["train", "--audit", str(audit), "--out", str(run), *flags]


def sets(audit: Path) -> tuple[dict[str, int], str | None] | None:
    """Return the sets that can be trained on with their numbers of pairs, and why that is not all of them.

    None while the sliders' split is made, which the page says.
    """
    whole = {"all": Audit.open(audit).state.pair_count()}
    if not state.is_scored(audit):
        return whole, "not scored yet; the page Audits goes on with it"
    try:
        preview = previews.shown()
    except CfbdError as error:  # nothing to split: all scores are the same
        return whole, str(error)
    if preview is None:
        return None
    kept_count = int((~preview.removed()).sum())
    return {"kept": kept_count, "coarse": preview.counts.benign, "all": preview.counts.pairs}, None


def first_batch(pairs: int) -> int:
    """Return the batch size to begin with: as many as a small set gives a few steps an epoch of."""
    return max(2, min(FIRST.batch_size, pairs // 4))


def model(typed: str, audit: Path) -> str:
    """Return a model's specification by what was typed or chosen; a run of this audit may be called by its name.

    Raises ParameterError: nothing, or a path outside the roots.
    """
    text = typed.strip()
    if not text:
        raise ParameterError("Model: give mini, NAME, NAME/PRETRAINED or a folder")
    run = audit / RUNS / text
    if os.path.basename(text) == text and os.path.isdir(run):
        return str(run)
    return state.settings().encoder(text)


def model_caption(spec: str) -> str:
    """Return what training starts from, in words, as Markdown."""
    shown = words.escaped(state.settings().name(Path(spec)) if os.path.isdir(spec) else spec, 120)
    if spec == "mini":
        return "The encoder that ships with CFBD Auditor is fine-tuned."
    if is_from_scratch(spec):
        return f"{shown} is trained **from scratch**; NAME/PRETRAINED or NAME@FILE would give it weights to begin with."
    return f"{shown} is fine-tuned."


def default_lr(spec: str) -> float:
    """Return the learning rate where none is given."""
    return LR_FROM_SCRATCH if is_from_scratch(spec) else LR_FINE_TUNING


def cost(request: RunRequest, runs: Sequence[Run]) -> str:
    """What the run will take, in words, as Markdown. Raises ParameterError where the set is smaller than a step."""
    epochs, steps = request.params.length(request.pairs)
    if not steps:
        raise ParameterError(
            f"{request.params.step_pairs:,} pairs a step are more than this set has ({request.pairs:,}); "
            "give a smaller Batch size"
        )
    pairs = steps * request.params.step_pairs
    an_epoch = request.pairs // request.params.step_pairs
    passes = f"{epochs:,} ×" if steps == epochs * an_epoch else f"{steps / an_epoch:.2g} times"
    amount = f"{passes} {request.pairs:,} pairs, {pairs:,} in all"
    text = f"**{counted(steps, 'step')}** of {request.params.step_pairs:,} pairs: {amount}."
    rate = train_runs.last_rate(runs, request.params.model)
    if rate is None:
        return f"{text} No run with this model here yet: its first steps will tell how long it takes."
    more = " and the time to measure" if request.classes else ""
    return f"{text} At {rate:,.0f} pairs/s, as this model's last run here: about **{duration(pairs / rate)}**{more}."


# --- what to measure with ------------------------------------------------------------------------------


def labelled(audit: Path) -> list[str]:
    """Sources that may hold labelled pictures, by their names: this audit's own, poisoned copies, other audits'."""
    return _named([_source(audit), *_copies(), *map(_source, state.settings().audits())])


def attacks(audit: Path) -> list[str]:
    """Poisoned copies that have their trigger beside them, by their names; this audit's own source first."""
    places = [_source(audit), *_copies(), *map(_source, state.settings().audits())]
    return [name for name in _named(places) if _is_copy(state.settings().inside(name))]


def is_own(audit: Path, names: Sequence[str]) -> bool:
    """Return whether the first of these names is this audit's own source."""
    return bool(names) and _named([_source(audit)]) == list(names[:1])


def _copies() -> list[str]:
    return [str(job.audit) for job in lab.copies() if job.state == "done"]


def _source(audit: Path) -> str | None:
    if os.path.isdir(audit / SOURCE_NAME):  # the demo's scenes go where its audit goes
        return str(audit / SOURCE_NAME)
    try:
        return Audit.open(audit).state.source()
    except CfbdError:  # busy or damaged: it is not offered
        return None


def _named(places: Sequence[str | None]) -> list[str]:
    """Names of what is there and lies inside the roots, each once."""
    names = []
    for place in places:
        try:
            if place is not None:
                names.append(state.settings().name(Path(state.settings().source(place))))
        except CfbdError:
            continue
    return list(dict.fromkeys(names))


def _is_copy(folder: Path) -> bool:
    return all(os.path.isfile(folder / name) for name in (MANIFEST, TRIGGERS_NAME))


# --- the job -------------------------------------------------------------------------------------------


def start(request: RunRequest, audit: Path) -> Job:
    """Store the sliders' split where the set depends on it, and start the run; asked twice, it starts once.

    Raises CfbdError: another training run or a job that writes is at work on this audit.
    """
    if request.params.subset != "all":
        state.apply()
    for run, job in train_runs.jobs_of(audit).items():
        if job.state == "running" and list(job.arguments) == request.arguments(audit, run):
            return job
    run = place(request.params, audit)
    return state.jobs().start(run.name, audit, request.arguments(audit, run))


def resume(run: Run, audit: Path) -> None:
    """Go on with a run that was stopped or failed, as it was asked for."""
    arguments = _again(run, audit) if run.job is None else list(run.job.arguments)
    if (run.folder / REQUEST).is_file() and "--resume" not in arguments:
        arguments.append("--resume")  # with its own pairs, whatever was decided since
    state.jobs().start(run.name, audit, arguments)


def place(params: TrainParams, audit: Path) -> Path:
    """Return a folder for the run that nothing has yet, named by what is trained."""
    model_name = Path(params.model.rpartition("@")[2]).name if os.path.sep in params.model else params.model
    name = "-".join([f"{params.subset}", params.defense, model_name.removeprefix(PREFIX)])
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60]
    taken = {folder.name for folder in train_runs.jobs_of(audit)}
    names = (f"{PREFIX}{name}" if number == 1 else f"{PREFIX}{name}-{number}" for number in count(1))
    return (
        audit
        / RUNS
        / next(one for one in names if one not in taken and not os.path.lexists(audit / RUNS / one))
    )


def _again(run: Run, audit: Path) -> list[str]:
    return ["train", "--audit", str(audit), "--out", str(run.folder), "--resume"]


def evaluation(run: Run) -> str:
    """Return the command that measures a run's model later."""
    return f"cfbd evaluate {shlex.quote(str(run.folder))} --classes LABELLED_PICTURES --attack POISONED_COPY"


def in_words(error: str) -> str:
    """Return a command's error, with the fields' names in place of its options."""
    return re.sub(r"--([a-z-]+)", lambda match: LABELS.get(match[1], match[0]), error)
