"""F: from an image's embedding to the text embedding its captions would have (docs/METHOD.md §1).

F is a conditional mean: ``F(I)`` says where the caption of such an image is expected, so that a
pair's similarity is judged against what its image should have scored.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional

from cfbd_core.embedding.mapping_network import (
    FitParams,
    Views,
    fit_network,
    forward,
    new_network,
    schedule_epochs,
    single_threads,
)
from cfbd_core.errors import EncoderError, ParameterError
from cfbd_core.machine.files import system_errors, written_beside
from cfbd_core.machine.json_shapes import COUNT, check, parse
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.wording import in_one_line

VERSION = 1
_INFO = {
    **dict.fromkeys(("encoder_id", "encoder_sha256", "trained_on"), str),
    "held_out_cosine": float,
    "images": COUNT,
    "seed": range(2**32),
    "width": range(1, 2**14),
    "folds?": range(1, 100),
    "version?": range(VERSION, VERSION + 1),
}
FORWARD_ROWS = 512  # a pass of F: large enough for full speed, small enough to be filled by a shard's fold
MIN_IMAGES = 40  # fewer leave nothing to hold out


PLAIN_FIT = FitParams()


@dataclass(frozen=True)
class MappingInfo:
    """Where a mapping comes from.

    ``trained_on`` says in words which pairs it saw ("self": the data under audit), ``images`` how
    many, ``held_out_cosine`` the mean cosine with the targets of images it did not see.
    """

    encoder_id: str
    encoder_sha256: str
    trained_on: str
    held_out_cosine: float
    images: int
    seed: int
    width: int
    folds: int = 1
    version: int = VERSION


class Mapping:
    """F as one network, or as several cross-fitted ones that each left a fold of the images out.

    Call it with image embeddings (n, d) to get unit-length float32 (n, d). A cross-fitted mapping
    that is also given ``groups`` (n,), the same image ids it was trained with, predicts every row
    by the network that did not see its image; without them by the mean of its networks.
    """

    def __init__(self, networks: list[torch.nn.Sequential], info: MappingInfo) -> None:
        self.networks, self.info = networks, info

    def __call__(self, image: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Predict unit-length text embeddings float32 (n, d), in chunks; rows of zeros stay zeros."""
        if image.ndim != 2 or image.shape[1] != self.info.width:
            raise EncoderError(
                f"mapping of {self.info.encoder_id}: it takes embeddings of width {self.info.width}, "
                f"these have shape {image.shape}; embed with that encoder or train another mapping"
            )
        predicted = np.empty(image.shape, np.float32)
        if groups is None or self.info.folds == 1:
            parts = [(np.arange(len(image)), self.networks)]
        else:
            fold = _fold_of(groups, self.info.folds, self.info.seed)
            parts = [(np.flatnonzero(fold == i), [network]) for i, network in enumerate(self.networks)]
        for rows, networks in parts:
            for start in range(0, len(rows), FORWARD_ROWS):
                chunk = rows[start : start + FORWARD_ROWS]
                predicted[chunk] = _mean_prediction(networks, image[chunk])
        return predicted

    def save(self, path: Path) -> None:
        """Write safetensors (fp16, the precision it is used in) with its info as JSON metadata."""
        tensors = {
            f"{fold}.{name}": value.half().contiguous()
            for fold, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }
        with written_beside(path) as beside, system_errors():
            # One metadata entry: safetensors writes several in no fixed order.
            save_file(tensors, beside, {"cfbd_mapping": json.dumps(asdict(self.info), sort_keys=True)})

    @classmethod
    def load(cls, path: Path, encoder_sha256: str | None = None) -> Self:
        """Read a mapping; ``encoder_sha256`` names the encoder it is to be used with.

        Raises EncoderError: no such file, not a mapping, damaged, or made for another encoder.
        """
        if not os.path.isfile(path):
            raise EncoderError(f"--mapping {path}: no such file; give a mapping's file, or `self`")
        try:
            with safe_open(path, framework="pt") as file:
                fields = parse((file.metadata() or {})["cfbd_mapping"])
                check(fields, _INFO)
                info = MappingInfo(**fields)
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            networks = [_restored(tensors, fold, info.width) for fold in range(info.folds)]
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            reason = in_one_line(error, 120)
            raise EncoderError(
                f"--mapping {path}: no mapping, or a damaged one ({type(error).__name__}: {reason}); "
                "restore the file or train it again"
            ) from error
        if encoder_sha256 is not None and encoder_sha256 != info.encoder_sha256:
            raise EncoderError(
                f"--mapping {path}: it belongs to encoder {info.encoder_id} "
                f"(sha256 {info.encoder_sha256[:12]}…), not to the one in use ({encoder_sha256[:12]}…); "
                "give this encoder's mapping, or `--mapping self`"
            )
        return cls(networks, info)


@dataclass(frozen=True)
class Lineage:
    """What a mapping is made of: the embeddings of which encoder, of what pairs."""

    encoder_id: str
    encoder_sha256: str
    trained_on: str


def train_mapping(
    image: np.ndarray,
    target: np.ndarray,
    lineage: Lineage,
    params: FitParams = PLAIN_FIT,
    *,
    groups: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> Mapping:
    """Train F on image embeddings (n, d) and their targets (n, d), see :func:`mean_targets`.

    ``groups`` (n,) are integer image ids: rows of one id are views of one image, never parted
    between training and held-out images.
    Loss (1 − cos) + InfoNCE, AdamW, cosine schedule over the epochs (None: 40, fewer where there are
    many images); the weights of the best held-out epoch stay.
    ``progress`` counts epochs over all folds, in the stage "train F", with the held-out cosine as a note.

    Raises ParameterError: fewer than 40 images, or shapes that differ.
    """
    groups = np.arange(len(image)) if groups is None else np.asarray(groups, np.int64)
    if image.shape != target.shape or groups.shape != image.shape[:1]:
        raise ParameterError(
            f"mapping: image {image.shape}, target {target.shape} and groups {groups.shape} must have one "
            "row a view each; check the embeddings"
        )
    images = len(np.unique(groups))
    if images < MIN_IMAGES:
        raise ParameterError(
            f"mapping: {images} images are too few to train it (at least {MIN_IMAGES}); "
            "give --mapping FILE or audit more pairs"
        )
    folds, epochs = params.folds, params.epochs
    if epochs is None:
        epochs = schedule_epochs(len(image) * (folds - 1) // folds if folds > 1 else len(image))
    views = Views(image, target, groups)
    networks, held_out = zip(*_fit_folds(views, params, epochs, progress), strict=True)
    cosine = float(np.mean(held_out))
    made_of = lineage.encoder_id, lineage.encoder_sha256, lineage.trained_on
    info = MappingInfo(*made_of, cosine, images, params.seed, image.shape[1], folds)
    return Mapping(list(networks), info)


def mean_targets(text: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised mean of the caption embeddings (n, d) of each image id in ``groups`` (n,).

    Returns (ids (g,), sorted; targets float32 (g, d)).
    """
    order = np.argsort(groups, kind="stable")
    ids, first = np.unique(groups[order], return_index=True)
    sums = np.add.reduceat(np.asarray(text, np.float32)[order], first, axis=0)
    return ids, _unit(sums)


def ridge_map(image: np.ndarray, target: np.ndarray, alpha: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the linear baseline of F: ridge regression with intercept, unit-length predictions (n, d)."""
    image = np.asarray(image, np.float64)
    centre, mean = image.mean(0), np.asarray(target, np.float64).mean(0)
    x = image - centre
    weights = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (target - mean))
    return lambda other: _unit((other - centre) @ weights + mean)


def _mean_prediction(networks: list[torch.nn.Sequential], image: np.ndarray) -> np.ndarray:
    """Return the mean of the networks' predictions for at most ``FORWARD_ROWS`` rows; rows of zeros stay zeros."""
    # Every chunk has one size: else a row's last bit would depend on how many others there are.
    chunk = torch.zeros(FORWARD_ROWS, image.shape[1])
    known = chunk[: len(image)]
    known.copy_(torch.from_numpy(image))
    predicted = [forward(network, chunk)[: len(image)] for network in networks]
    mean = (
        predicted[0] if len(predicted) == 1 else functional.normalize(sum(predicted, torch.zeros(())), dim=-1)
    )
    prediction: np.ndarray = (mean * (known != 0).any(1, keepdim=True)).numpy()
    return prediction


def _restored(tensors: dict[str, torch.Tensor], fold: int, width: int) -> torch.nn.Sequential:
    network = new_network(width)
    prefix = f"{fold}."
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    network.load_state_dict(state)
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise ValueError("weights that are not finite")
    return network.eval()


def _fold_of(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold (n,) of each image id, by a hash (splitmix64): the same whichever rows are asked for."""
    x = np.asarray(groups).astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)


def _fit_folds(
    views: Views, params: FitParams, epochs: int, progress: Progress
) -> list[tuple[torch.nn.Sequential, float]]:
    """Train the network of every fold, on a CPU side by side; returns each with its held-out cosine."""
    folds, seed = params.folds, params.seed
    fold_of = _fold_of(views.groups, folds, seed)
    tally = _Tally(folds, epochs, progress)
    networks = [
        new_network(views.image.shape[1], seed + fold) for fold in range(folds)
    ]  # torch's seed is one for all

    def fit(fold: int) -> tuple[torch.nn.Sequential, float]:
        rows = np.flatnonzero(fold_of != fold) if folds > 1 else np.arange(len(views.image))
        own = replace(params, seed=seed + fold, epochs=epochs)
        return fit_network(networks[fold], views, rows, own, partial(tally.report, fold))

    if folds == 1 or params.device != "cpu":
        return list(map(fit, range(folds)))
    with single_threads(folds) as pool:
        try:
            return list(pool.map(fit, range(folds)))
        except BaseException:
            tally.stopped = True  # the threads notice at their next epoch
            raise


class _Tally:
    """Reports the epochs done over all folds, whichever thread they were done in."""

    def __init__(self, folds: int, epochs: int, progress: Progress) -> None:
        self._done, self._total, self._progress = [0] * folds, folds * epochs, progress
        self._lock = threading.Lock()
        self.stopped = False

    def report(self, fold: int, epoch: int, cosine: float) -> None:
        """One more epoch of a fold is done."""
        if self.stopped:
            raise InterruptedError("another fold has failed")
        with self._lock:
            self._done[fold] = epoch
            self._progress("train F", sum(self._done), self._total, f"cosine={cosine:.3f}")


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit
