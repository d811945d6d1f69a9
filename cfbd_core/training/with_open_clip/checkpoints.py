"""The checkpoints that open_clip_train writes, one an epoch and straight to their place: the last two are kept."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cfbd_core.errors import TrainingError
from cfbd_core.machine.checked_files import read_object
from cfbd_core.machine.files import written_beside
from cfbd_core.training.config import CALMER

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINTS_KEPT = 2
_NAME = re.compile(r"epoch_(\d+)\.pt")


def paths(folder: Path) -> list[Path]:
    """Return all of them, oldest first."""
    return sorted((path for path in folder.glob("epoch_*.pt") if _NAME.fullmatch(path.name)), key=_epochs)


def settle(folder: Path) -> int:
    """Delete the newest until one is good, since open_clip_train goes on from the newest; returns its whole epochs."""
    for path in reversed(paths(folder)):
        try:
            weights(path)
        except TrainingError as error:
            logging.getLogger(__name__).warning("%s; going back to the one before", error)
            path.unlink()
        else:
            return _epochs(path)
    return 0


def prune(folder: Path) -> None:
    """Delete all but the last two, once the last one is good."""
    files = paths(folder)
    if len(files) <= CHECKPOINTS_KEPT:
        return
    try:
        weights(files[-1])
    except TrainingError:  # or not whole yet
        return
    for path in files[:-CHECKPOINTS_KEPT]:
        path.unlink()


def weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a checkpoint. Raises TrainingError where it cannot be read, or one is not finite."""
    import torch

    from cfbd_core.training.checkpoints import check_bytes

    try:
        check_bytes(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception as error:  # broken bytes make unpickling raise anything
        raise TrainingError(f"{path}: cannot be read ({type(error).__name__}); train again") from error
    tensors: dict[str, Tensor] = {name.removeprefix("module."): value for name, value in state.items()}
    broken = next((name for name, value in tensors.items() if not bool(value.isfinite().all())), None)
    if broken is not None:
        raise TrainingError(f"{path}: {broken} is not finite; {CALMER}")
    return tensors


def as_folder(checkpoint: Path, start: Path, out: Path) -> Path:
    """Make an open_clip folder of a checkpoint: its weights, and all else of ``start``."""
    from cfbd_core.embedding.encoder_files import CONFIG_NAME
    from cfbd_core.training.models import WEIGHTS_NAME, write_folder

    trained = weights(checkpoint)
    with written_beside(out) as beside:
        ours = (CONFIG_NAME, WEIGHTS_NAME)
        shutil.copytree(start, beside, ignore=lambda _, names: [name for name in names if name in ours])
        config = read_object(start / CONFIG_NAME, dict, "give another --model", TrainingError)
        write_folder(beside, config, trained)
        if out.is_dir():
            shutil.rmtree(out)
    return out


def _epochs(path: Path) -> int:
    return int(path.stem.removeprefix("epoch_"))
