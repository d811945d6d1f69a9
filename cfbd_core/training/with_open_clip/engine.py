"""``--engine open_clip``: the same job in ``open_clip_train``, in a process of its own, for users who train at scale.

``python -m cfbd_core.training.with_open_clip.engine ARGUMENTS`` is that process: it declares torchvision's missing
operators (:mod:`cfbd_core.embedding.torchvision_compat`) and calls ``open_clip_train.main.main``. What it prints on
stdout is a line of JSON a logged step, and one for an error; its log goes to ``RUN/open_clip/log.txt``.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict

from cfbd_core.errors import TrainingError
from cfbd_core.machine.assets import PACKAGES_DIR
from cfbd_core.machine.json_shapes import parse
from cfbd_core.machine.tars import PATTERN_SIGNS
from cfbd_core.training.config import CALMER
from cfbd_core.training.with_open_clip import checkpoints as engine_checkpoints
from cfbd_core.wording import in_one_line

if TYPE_CHECKING:
    from cfbd_core.store.training import StepLine
    from cfbd_core.training.config import TrainParams

MODULE = "cfbd_core.training.with_open_clip.engine"
PACKAGES = {"webdataset": "webdataset==0.2.86", "braceexpand": "braceexpand==0.1.7", "pandas": "pandas"}
NAME = "train"  # of open_clip_train's experiment, in RUN/open_clip
OnStep = Callable[["StepLine"], None]


class ErrorLine(TypedDict):
    """What the process says of the error that ended it."""

    kind: Literal["error"]
    error: str


@dataclass(frozen=True)
class Training:
    """What open_clip_train is to do: train the folder ``start`` on ``data``, an export of ``pairs`` pairs, in ``run``.

    ``params`` are resolved (:meth:`TrainParams.resolved`), ``device`` is "cpu" or "cuda", with ``gpus`` of them.
    """

    params: TrainParams
    data: Path
    pairs: int
    start: Path
    run: Path
    device: str
    gpus: int = 1


def train(training: Training, on_step: OnStep | None = None) -> Path:
    """Do the training; returns ``run``/model, an open_clip folder like ``start``.

    ``on_step`` gets a line of ``metrics.jsonl`` for each logged step. A run that was stopped goes on after its last
    whole epoch. Raises TrainingError in one line: packages that are missing, an export that open_clip_train does not
    read, and whatever goes wrong in its process.
    """
    check_packages()
    listed = arguments(training)
    folder = training.run / "open_clip"
    folder.mkdir(parents=True, exist_ok=True)
    workers = int(listed[listed.index("--workers") + 1])
    steps = steps_an_epoch(training, workers)
    earlier = checkpoints(training.run)
    engine_checkpoints.settle(earlier)
    last_epoch = -1

    def on_line(line: StepLine) -> None:
        nonlocal last_epoch
        if line["epoch"] > last_epoch:  # the one before has its checkpoint
            engine_checkpoints.prune(earlier)
        last_epoch = line["epoch"]
        if on_step is not None:
            on_step(line)

    with (folder / "log.txt").open("ab") as log:
        _follow(command(listed, training.gpus), log, steps, on_line)
    engine_checkpoints.prune(earlier)
    last = earlier / f"epoch_{training.params.epochs}.pt"
    return engine_checkpoints.as_folder(last, training.start, training.run / "model")


def checkpoints(run: Path) -> Path:
    """Return the folder of a run's checkpoints (:mod:`cfbd_core.training.with_open_clip.checkpoints`)."""
    return run / "open_clip" / NAME / "checkpoints"


def check_packages() -> None:
    """Raise TrainingError naming what open_clip_train imports and is not installed."""
    missing = [pinned for name, pinned in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"--engine open_clip needs packages that are not installed; run: pip install {' '.join(missing)}"
        )


def arguments(training: Training) -> list[str]:
    """Return what ``open_clip_train`` is called with; TrainingError where it cannot do the job."""
    params, data, pairs, gpus = training.params, training.data, training.pairs, training.gpus
    if params.defense != "plain":
        raise TrainingError(
            f"--engine open_clip trains with CLIP's loss alone; --defense {params.defense} needs --engine own"
        )
    if params.steps is not None:
        raise TrainingError(
            "--engine open_clip counts epochs; give --epochs instead of --steps, or --engine own"
        )
    if params.batch_size % gpus:
        raise TrainingError(
            f"--batch-size {params.batch_size} does not divide among {gpus} GPUs; give a multiple of {gpus}"
        )
    source, workers = _data_arguments(data, pairs, params.workers, gpus)
    if not steps_an_epoch(training, workers):
        raise TrainingError(
            f"--batch-size {params.batch_size} × --accumulate {params.accumulate}: {data} has {pairs} pairs, not "
            "one whole batch; give a smaller batch"
        )
    half = training.device == "cuda" and params.precision != "fp32"
    listed = [
        *source,
        *("--model", f"local-dir:{training.start}", "--device", training.device),
        *("--precision", "amp" if half else "fp32"),
        *("--epochs", str(params.epochs), "--batch-size", str(params.batch_size // gpus)),
        *("--accum-freq", str(params.accumulate), "--workers", str(workers)),
        *("--lr", repr(params.lr), "--beta1", repr(params.betas[0]), "--beta2", repr(params.betas[1])),
        *("--eps", repr(params.eps), "--wd", repr(params.weight_decay), "--warmup", str(params.warmup)),
        *("--aug-cfg", f"scale=({params.crop_scale!r},1.0)", "--seed", str(params.seed)),
        *("--logs", str(training.run / "open_clip"), "--name", NAME, "--report-to", "tensorboard"),
        *("--log-every-n-steps", str(params.log_every), "--save-frequency", "1"),
        *("--resume", "latest"),
    ]
    return [*listed, "--local-loss", "--gather-with-grad"] if gpus > 1 else listed


def steps_an_epoch(training: Training, workers: int) -> int:
    """Optimiser's steps in an epoch: open_clip_train drops a CSV's last, partial batch; with tars it is filled up."""
    params, data, pairs = training.params, training.data, training.pairs
    if data.is_file():
        batches = pairs // params.batch_size
    else:
        each = max(1, workers)
        batches = math.ceil(math.ceil(pairs / params.batch_size) / each) * each
    return int(batches // params.accumulate)


def command(listed: Sequence[str], gpus: int = 1) -> list[str]:
    """Return how the process is started: as a module, with several GPUs by torchrun."""
    if gpus == 1:
        return [sys.executable, "-m", MODULE, *listed]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [sys.executable, *launcher, "-m", MODULE, *listed]


def _data_arguments(data: Path, pairs: int, workers: int, gpus: int) -> tuple[list[str], int]:
    """Arguments that name the data, and the number of workers: every one needs a tar of its own."""
    if data.is_dir():
        return _tars_arguments(data, pairs, workers, gpus)
    if data.suffix.lower() != ".csv":
        raise TrainingError(f"{data}: open_clip_train reads CSV and WebDataset; export with --format csv")
    try:
        with data.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
    except OSError as error:
        raise TrainingError(f"{data}: cannot be read ({error.strerror})") from error
    if not {"image", "caption"} <= set(header):
        raise TrainingError(
            f"{data}: no columns image and caption in its first line; give a CSV of `cfbd export`"
        )
    columns = ("--csv-separator", ",", "--csv-img-key", "image", "--csv-caption-key", "caption")
    return ["--dataset-type", "csv", "--train-data", str(data), *columns], workers


def _tars_arguments(data: Path, pairs: int, workers: int, gpus: int) -> tuple[list[str], int]:
    names = sorted(path.name for path in data.glob("*.tar"))
    if len(names) < gpus:
        raise TrainingError(
            f"{data}: {len(names)} tars, and {gpus} are needed, one a GPU; give an export with --format csv"
        )
    special = sorted({sign for sign in PATTERN_SIGNS if sign in f"{data}{''.join(names)}"})
    if special:
        raise TrainingError(
            f"{data}: open_clip_train reads {special[0]!r} in a path as a pattern; rename the folder"
        )
    tars = f"{data}/{{{','.join(names)}}}" if len(names) > 1 else f"{data}/{names[0]}"
    number = ("--train-num-samples", str(pairs))
    return ["--dataset-type", "webdataset", "--train-data", tars, *number], min(workers, len(names) // gpus)


def _follow(started: Sequence[str], log: BinaryIO, steps: int, on_step: OnStep) -> None:
    """Run the process to its end, telling its steps; TrainingError with its error where it fails."""
    error = None
    with _process(started, log) as process:
        assert process.stdout is not None
        for line in process.stdout:
            message = _json_line(line)
            if message is None:
                error = line.strip() or error  # open_clip_train prints why it gives up
            elif message["kind"] == "error":
                error = message["error"]
            else:
                message["epoch"] = (message["step"] - 1) // steps
                on_step(message)
        code = process.wait()
    if code < 0:
        error = f"its process was ended by {signal.Signals(-code).name}"
    if code:
        raise TrainingError(f"open_clip_train: {error or 'failed'}; its log is {log.name}")


@contextmanager
def _process(started: Sequence[str], log: BinaryIO) -> Iterator[subprocess.Popen[str]]:
    """The process, which is ended where the block is left before it has."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(PACKAGES_DIR), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    process = subprocess.Popen(
        list(started),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _json_line(line: str) -> StepLine | ErrorLine | None:
    try:
        value = parse(line)
    except ValueError:
        return None
    is_message = isinstance(value, dict) and "kind" in value
    message: StepLine | ErrorLine | None = value if is_message else None
    return message


class _Scalars:
    """Stands in for ``torch.utils.tensorboard`` in open_clip_train: a step's figures become a line on stdout."""

    SummaryWriter: type[_Scalars]

    def __init__(self, _folder: str) -> None:
        self._figures: dict[str, float] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Collect a step's figures; the loss is the last of them."""
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {step}; {CALMER}")
        self._figures[name.removeprefix("train/")] = value
        if name == "train/loss":
            figures, self._figures = self._figures, {}
            _send(
                {
                    "kind": "step",
                    "step": step + 1,  # how many are done
                    "loss": value,
                    "parts": {"clip": figures["contrastive_loss"]},
                    "lr": figures["lr"],
                    "logit_scale": figures["scale"],
                    "pairs_per_s": figures["samples_per_second"],
                    "time": time.time(),
                }
            )


_Scalars.SummaryWriter = _Scalars


def _send(line: StepLine | ErrorLine) -> None:
    print(json.dumps(line), flush=True)


def main(listed: list[str]) -> int:
    """Be the process; returns its exit code."""
    try:
        from cfbd_core.embedding.torchvision_compat import import_torchvision

        import_torchvision()
        from open_clip_train import main as open_clip_main

        open_clip_main.tensorboard = _Scalars
        return 1 if open_clip_main.main(listed) == -1 else 0
    except Exception as error:
        traceback.print_exc()
        _send({"kind": "error", "error": _in_one_line(error)})
        return 1


def _in_one_line(error: Exception) -> str:
    """An error with its kind; of a data loader's worker the last line, since its text holds the whole traceback."""
    text, kind = str(error).strip(), type(error).__name__
    if text.startswith("Caught ") and "Original Traceback" in text:
        return text.splitlines()[-1].strip()
    return f"{kind}: {in_one_line(text)}" if text else kind


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
