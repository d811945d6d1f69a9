"""The losses that a run of ABL kept of its pairs, for detectors that judge by them."""

from __future__ import annotations

from pathlib import Path

from cfbd_core.errors import TrainingError
from cfbd_core.machine.checked_files import load_arrays, report_damage
from cfbd_core.training.request import read_keys

EXTRAS = "defense.npz"
MOST_BYTES = 2**32  # four bytes a pair


def losses_of(run: Path) -> dict[str, float]:
    """Return the mean loss of the first epochs of each pair that the run in this folder trained on, by key.

    Raises TrainingError: no run on an audit's pairs, one without losses, or a damaged file.
    """
    keys = read_keys(run)
    if keys is None:
        raise TrainingError(
            f"--run {run}: no run on an audit's pairs; give the folder of one (`cfbd train --audit`)"
        )
    path = run / EXTRAS
    if not path.is_file():
        raise TrainingError(
            f"--run {run}: holds no losses of pairs; train with --defense abl to its end first"
        )
    with report_damage(path, "train with --defense abl again, in a new folder", TrainingError):
        mean_losses = load_arrays(path, MOST_BYTES, {"mean_loss": ("f4", (len(keys),))})["mean_loss"]
    return dict(zip(keys, mean_losses.tolist(), strict=True))
