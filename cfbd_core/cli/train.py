"""``cfbd train``: its options, and what it prints."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfbd_core.cli.options import Result, number, place, whole
from cfbd_core.cli.progress import StageBars
from cfbd_core.errors import CfbdError, ParameterError, TrainingError
from cfbd_core.machine.checked_files import report_damage
from cfbd_core.machine.json_shapes import parse
from cfbd_core.machine.places import at_home
from cfbd_core.machine.progress import Progress
from cfbd_core.training.config import TrainParams
from cfbd_core.training.defences import DEFENSES
from cfbd_core.training.place import REQUEST, read_request
from cfbd_core.wording import rounded_percentage

if TYPE_CHECKING:
    from cfbd_core.store.training import ResultEntry
    from cfbd_core.training.sets import TrainingSet

REPORTING_SECONDS = 5.0  # for the first process to report what is wrong
ENGINES = ("own", "open_clip")
# What measuring is at, by the stages of an Evaluator; it may take longer than the training.
MEASURING = {"classes": "measuring: classes", "pictures": "measuring CA", "triggers": "measuring ASR"}
UNITS = {
    "pictures hashed": "pictures",
    "measuring: classes": "prompts",
    "measuring CA": "pictures",
    "measuring ASR": "pictures",
}
OPTIONS = ("model", "defense", "epochs", "steps", "batch_size", "accumulate", "lr", "warmup", "weight_decay")
LESS_COMMON = ("crop_scale", "seed", "device", "precision", "checkpoint_every", "log_every", "workers")


def add_train(command: argparse.ArgumentParser) -> None:
    """A set, a model, a defence and settings."""
    command.set_defaults(run=_train)
    defaults = TrainParams()
    source = command.add_mutually_exclusive_group()
    source.add_argument("--audit", type=place, metavar="DIR", help="the audit whose pairs to train on")
    source.add_argument("--data", metavar="EXPORT", help="an export instead: CSV, Parquet, a folder of tars")
    command.add_argument(
        "--subset", choices=("all", "kept", "coarse"), help="of the audit: kept (default), all, or D_b alone"
    )
    command.add_argument("--out", required=True, type=place, metavar="RUN", help="a new folder for the run")
    command.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN; other options come from it"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")

    model = command.add_argument_group("model")
    model.add_argument(
        "--model",
        metavar="M",
        help="mini (default), NAME of open_clip from scratch, NAME/PRETRAINED, NAME@FILE, a folder, or a RUN",
    )
    model.add_argument("--defense", choices=tuple(DEFENSES), help="how it is trained (plain)")
    model.add_argument(
        "--defense-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the defence itself, repeatable",
    )
    model.add_argument(
        "--engine", choices=ENGINES, default="own", help="the loop: own (default) or open_clip_train"
    )

    length = command.add_argument_group("training")
    length.add_argument("--epochs", type=whole(), metavar="N", help="over the set (10)")
    length.add_argument(
        "--steps", type=whole(), metavar="N", help="end after so many steps, if epochs are not over"
    )
    length.add_argument(
        "--batch-size", type=whole(), metavar="N", help=f"pairs a pass, over all GPUs ({defaults.batch_size})"
    )
    length.add_argument(
        "--accumulate",
        type=whole(),
        metavar="N",
        help="passes a step; the loss is that of all their pairs (1)",
    )
    length.add_argument(
        "--lr", type=number, metavar="X", help="highest learning rate (5e-4 from scratch, else 1e-5)"
    )
    length.add_argument(
        "--warmup", type=whole(), metavar="N", help="steps until then (a tenth, at most 10,000)"
    )
    length.add_argument("--weight-decay", type=number, metavar="X", help=f"({defaults.weight_decay})")
    length.add_argument(
        "--crop-scale", type=number, metavar="X", help=f"least share a crop shows ({defaults.crop_scale})"
    )
    length.add_argument(
        "--seed", type=whole(most=2**64), metavar="N", help="for everything that is drawn (0)"
    )

    machine = command.add_argument_group("machine")
    machine.add_argument("--device", help="auto (default), cpu, cuda, cuda:1 …; several GPUs: torchrun")
    machine.add_argument("--precision", choices=("auto", "fp32", "amp"), help="auto: half precision on a GPU")
    machine.add_argument(
        "--workers", type=whole(), metavar="N", help="threads that make batches (one a core)"
    )
    machine.add_argument(
        "--checkpoint-every", type=whole(), metavar="N", help=f"steps ({defaults.checkpoint_every:,})"
    )
    machine.add_argument("--log-every", type=whole(), metavar="N", help=f"steps ({defaults.log_every})")

    measured = command.add_argument_group("measured after every epoch")
    measured.add_argument(
        "--classes", metavar="SOURCE|FILE", help="as for `cfbd evaluate`: CA on its pictures"
    )
    measured.add_argument("--images", metavar="SOURCE", help="the pictures, where --classes is a text file")
    measured.add_argument("--attack", metavar="DIR", help="a poisoned copy's folder: ASR of its triggers")


def _train(options: argparse.Namespace) -> Result:
    if is_first():
        return _run(options)
    try:  # one of those that torchrun started; the first one reports it
        _run(options)
    except CfbdError:
        time.sleep(REPORTING_SECONDS)  # torchrun ends all as soon as one ends
        sys.exit(2)
    sys.exit(0)


def is_first() -> bool:
    """Return whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _run(options: argparse.Namespace) -> Result:
    stored = _stored_request(options)
    request = TrainRequest(options, stored)
    pairs = request.pairs()
    if pairs.not_compared and is_first():
        print(
            f"warning: what the pictures of {pairs.not_compared:,} pairs were when they were audited is not known; "
            "they are trained on as they are now",
            file=sys.stderr,
        )
    with StageBars(UNITS) as bars:
        if request.engine == "open_clip":
            from cfbd_core.training.with_open_clip.run import train_with_open_clip as train
        else:
            from cfbd_core.training.run import train
        result = train(
            pairs,
            options.out,
            request.params,
            evaluate=request.evaluator(lambda stage, *state: bars.aside(MEASURING[stage], *state)),
            measured_on=request.measured_on,
            resume=options.resume,
            progress=bars.report,
        )
    return result, _text(result, options.out)


def _stored_request(options: argparse.Namespace) -> Mapping[str, Any]:
    """Return what RUN says that it was asked for, where it is to go on. Raises TrainingError where there is none."""
    if not options.resume:
        return {}
    stored = read_request(options.out)
    if stored is None:
        raise TrainingError(f"--resume: {options.out} holds no training run; leave --resume out to begin one")
    return stored


class TrainRequest:
    """The options, checked; with ``held``, a run's ``run.json``, where they were not given."""

    def __init__(self, options: argparse.Namespace, stored: Mapping[str, Any]) -> None:
        self._resumed: Path | None = options.out if options.resume else None
        self.audit = options.audit or (None if options.data else stored.get("audit"))
        self.data = options.data or (None if options.audit else stored.get("data"))
        if not (self.audit or self.data):
            raise ParameterError("nothing to train on; give --audit DIR or --data EXPORT")
        if self.data and options.subset:
            raise ParameterError("--subset: is of an audit; an export holds the pairs that it was made of")
        self.engine = stored.get("engine", options.engine) if options.engine == "own" else options.engine
        self.params = self._params(options, stored.get("params") or {})
        before = stored.get("measured_on") or {}
        self.measured_on = {
            name: _whole(value) if (value := getattr(options, name) or before.get(name)) else None
            for name in ("classes", "images", "attack")
        }
        if not self.measured_on["classes"] and (self.measured_on["attack"] or self.measured_on["images"]):
            raise ParameterError("--attack, --images: give --classes with them, for pictures to measure on")

    def _params(self, options: argparse.Namespace, stored: Mapping[str, Any]) -> TrainParams:
        given = {
            name: value for name in (*OPTIONS, *LESS_COMMON) if (value := getattr(options, name)) is not None
        }
        own = dict(_name_and_value(text) for text in options.defense_option)
        if own:
            given["defense_options"] = own
        if self.audit:
            given["subset"] = options.subset or stored.get("subset") or "kept"
        known = {field.name for field in fields(TrainParams)}
        if not stored.keys() <= known:
            raise TrainingError(f"{options.out}: was begun by another version; give a new folder")
        if "defense" in given and given["defense"] != stored.get("defense"):
            stored = {name: value for name, value in stored.items() if name != "defense_options"}
        if self._resumed is not None:
            with report_damage(self._resumed / REQUEST, "give a new folder", TrainingError):
                TrainParams(**stored)
        return TrainParams(**dict(stored) | given)

    def pairs(self) -> TrainingSet:
        """Return the set that is trained on."""
        from cfbd_core.training.sets import TrainingSet

        if self.data:
            return TrainingSet.from_data(self.data)
        from cfbd_core.audit.audit import Audit

        assert self.audit is not None
        assert self.params.subset is not None
        return TrainingSet.from_audit(Audit.open(self.audit), self.params.subset, self._keys())

    def _keys(self) -> list[str] | None:
        """Of the pairs of a run that goes on."""
        from cfbd_core.training.request import read_keys

        return read_keys(self._resumed) if self._resumed is not None else None

    def evaluator(self, progress: Progress) -> Any:
        """Return what measures the model after every epoch and reports to ``progress``, or None."""
        classes, images, attack = (self.measured_on[name] for name in ("classes", "images", "attack"))
        if classes is None or not is_first():
            return None
        from cfbd_core.evaluation.attack_success import SavedAttack
        from cfbd_core.evaluation.classes import labelled_images
        from cfbd_core.evaluation.evaluate import Evaluator

        saved = SavedAttack.load(Path(attack)) if attack else None
        return Evaluator(labelled_images(classes, images), saved, progress=progress)


def _whole(text: str) -> str:
    """Return the whole path of what exists, so that the run may go on from another folder."""
    path = at_home(text)
    return str(path.absolute()) if os.path.exists(path) else text


def _name_and_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ParameterError(f"--defense-option {text}: give NAME=VALUE")
    try:
        return name, parse(value)
    except ValueError:
        return name, value


# --- for people ---------------------------------------------------------------------------------------


def _text(result: ResultEntry, out: Path) -> str:
    rate = f", {result['pairs_per_s']:,.0f} pairs/s" if result["pairs_per_s"] else ""
    loss = f"; loss {result['loss']:.4f}" if result["loss"] is not None else ""
    lines = [
        f"{result['steps']:,} steps on {result['pairs']:,} pairs in {result['seconds']:,.0f} s{rate}{loss}",
        *(
            f"{name} {rounded_percentage(share)}"
            for name, share in (("CA", result.get("ca")), ("ASR", result.get("asr")))
            if share is not None
        ),
        f"the model: {out / 'model'}  (--encoder {out / 'model'})",
    ]
    return "\n".join(lines)
