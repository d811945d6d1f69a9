"""Batches: in which order pairs come, and how their pictures and captions are made ready ahead.

All is a function of (seed, epoch, row): neither the number of workers nor where a run was resumed matters.

A picture is first resized, whole, to the model's square; training crops show at least ``crop_scale`` of that square.
open_clip's crop is cut from the picture as it is, and squashed too; ours loses detail only where the picture is
larger than the square, and lets the square be kept: where all squares fit into ``KEPT_BYTES``, they are written once
to a file that has no name (it is gone with the process), and later epochs decode nothing.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cfbd_core.embedding.encoders import cut_caption
from cfbd_core.training.config import TrainParams
from cfbd_core.training.crops import crop_boxes
from cfbd_core.training.defences.augment import caption_view, image_view, view_generator
from cfbd_core.training.group import Group
from cfbd_core.training.models import TrainedModel
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.streams import stream

KEPT_BYTES = 2 << 30
BATCHES_AHEAD = 2  # batches
PAIRS_AT_A_TIME = 16  # pairs that one worker makes ready at a time

Tokenize = Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """This process's part of a step: ``rows`` int64 (n,) are those of all processes, in their order.

    ``pictures`` uint8 (m, S, S, 3) and ``tokens`` (m, length) are its own; with views (2m, …), the views after the
    pairs. Pictures are crops; where there are ``boxes`` int64 (m, 4), they are whole, and still to be cropped to these.
    """

    rows: np.ndarray
    pictures: torch.Tensor
    tokens: torch.Tensor
    boxes: torch.Tensor | None = None


def epoch_order(pairs: int, step_pairs: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of an epoch's steps, shuffled, int64 (steps, ``step_pairs``); what is left over is not used in it."""
    shuffled = np.random.default_rng(stream("order", seed, epoch)).permutation(pairs)
    steps = pairs // step_pairs
    ordered: np.ndarray = shuffled[: steps * step_pairs].reshape(steps, step_pairs)
    return ordered


@dataclass(frozen=True)
class RunProcess:
    """One process of a run: its device, a folder on a disk for what it keeps, the processes that it works with.

    With ``crops`` the device cuts the crops.
    """

    device: str
    scratch: Path
    group: Group
    crops: bool = False


class Batches:
    """The batches of a set for a model.

    Where the device cuts the crops, pictures come whole, with the boxes for :func:`cfbd_core.training.crops.cut`:
    where squares are kept, a batch is then one copy, and nothing holds up the thread that launches the device's work.
    """

    def __init__(
        self,
        pairs: TrainingSet,
        trained: TrainedModel,
        params: TrainParams,
        process: RunProcess,
        *,
        views: bool,
    ) -> None:
        self._params, self._views, self._group = params, views, process.group
        self._whole, self._pinned = process.crops, process.device.startswith("cuda")
        self._squares = _Squares(pairs, trained.size, process.scratch)
        self._tokens = _Tokens(pairs.captions, trained.tokenize)

    def epoch(self, epoch: int, order: np.ndarray, first: int) -> Generator[Batch]:
        """Yield the batches of the steps ``order`` (:func:`epoch_order`) from ``first`` on, made ready ahead."""
        workers = ThreadPoolExecutor(self._params.workers, thread_name_prefix="batches")
        try:
            rest = (self._begun(rows, epoch, workers) for rows in order[first:])
            begun = deque(islice(rest, BATCHES_AHEAD))
            while begun:
                batch, parts = begun.popleft()
                for part in parts:
                    part.result()
                yield batch
                begun.extend(islice(rest, 1))
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def _begun(
        self, rows: np.ndarray, epoch: int, workers: ThreadPoolExecutor
    ) -> tuple[Batch, list[Future[None]]]:
        """Return a batch that the workers are filling."""
        own = self._group.part(rows)
        pairs, both, size = len(own), 2 if self._views else 1, self._squares.size
        batch = Batch(
            rows,
            self._empty((both * pairs, size, size, 3), torch.uint8),
            self._empty((both * pairs, self._tokens.length), torch.int64),
            self._empty((pairs, 4), torch.int64) if self._whole else None,
        )
        each = pairs if self._is_one_copy(own) else PAIRS_AT_A_TIME
        chunks = [slice(at, min(at + each, pairs)) for at in range(0, pairs, each)]
        return batch, [workers.submit(self._fill, batch, own, epoch, chunk) for chunk in chunks]

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._pinned)

    def _is_one_copy(self, rows: np.ndarray) -> bool:
        """Return whether nothing has to be made for a batch of these rows."""
        return self._whole and not self._views and self._squares.has(rows) and self._tokens.has(rows)

    def _fill(self, batch: Batch, own: np.ndarray, epoch: int, chunk: slice) -> None:
        """Fill a batch's tensors at the places of a chunk; ``own`` are its rows."""
        pictures, tokens, rows = batch.pictures.numpy(), batch.tokens.numpy(), own[chunk]
        boxes = crop_boxes(rows, epoch, self._params.seed, self._squares.size, self._params.crop_scale)
        self._tokens.take(rows, tokens[chunk])
        if batch.boxes is not None:
            batch.boxes.numpy()[chunk] = boxes
            self._squares.take(rows, pictures[chunk])
        else:
            for place, row, box in zip(
                range(chunk.start, chunk.stop), rows.tolist(), boxes.tolist(), strict=True
            ):
                pictures[place] = self._crop(row, tuple(box))
        if self._views:
            for place, row in enumerate(rows.tolist(), len(own) + chunk.start):
                pictures[place] = self._picture_view(row, epoch)
                tokens[place] = self._caption_view(row, epoch)

    def _crop(self, row: int, box: tuple[int, int, int, int]) -> np.ndarray:
        """Return a training crop, uint8 (S, S, 3)."""
        square, size = self._squares[row], self._squares.size
        if box[2] - box[0] == size and box[3] - box[1] == size:
            return square
        picture = Image.fromarray(square)
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))

    def _picture_view(self, row: int, epoch: int) -> np.ndarray:
        """Return the second view of a picture, uint8 (S, S, 3)."""
        rng = view_generator("image", self._params.seed, epoch, row)
        return image_view(self._squares[row], rng, self._squares.size)

    def _caption_view(self, row: int, epoch: int) -> np.ndarray:
        """Tokens of the second view of a caption, (length,)."""
        rng = view_generator("caption", self._params.seed, epoch, row)
        return self._tokens.encode(caption_view(self._tokens.captions[row], rng))


class _Squares:
    """Whole pictures as squares of ``size``, uint8 (S, S, 3), by row; kept, each picture once, where they fit."""

    def __init__(self, pairs: TrainingSet, size: int, scratch: Path) -> None:
        self._pairs, self.size = pairs, size
        self._cache: np.ndarray | None = None
        self._number = pairs.picture_numbers()
        pictures = int(self._number.max()) + 1
        self._is_filled = np.zeros(pictures, bool)
        arrays = pairs.arrays
        if arrays is not None and arrays.shape[1:3] == (size, size):
            self._cache, self._is_filled = np.asarray(arrays), np.ones(pictures, bool)
        elif pictures * size * size * 3 <= KEPT_BYTES:
            self._cache = _unnamed(scratch, (pictures, size, size, 3))

    def __getitem__(self, row: int) -> np.ndarray:
        number = self._number[row]
        if self._cache is not None and self._is_filled[number]:
            pixels: np.ndarray = self._cache[number]
            return pixels
        picture = self._pairs.picture(row)
        square = np.asarray(picture.resize((self.size, self.size), Image.Resampling.BICUBIC))
        if self._cache is not None:
            self._cache[number] = square
            self._is_filled[number] = True
        return square

    def has(self, rows: np.ndarray) -> bool:
        """Return whether the squares of all ``rows`` (n,) are kept."""
        return bool(self._is_filled[self._number[rows]].all())

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy the squares of ``rows`` (n,) into ``out``, uint8 (n, S, S, 3)."""
        if self._cache is None:
            for place, row in enumerate(rows.tolist()):
                out[place] = self[row]
            return
        numbers = self._number[rows]
        for row in rows[~self._is_filled[numbers]].tolist():
            self[row]
        # mode: else numpy copies `out`, too. Other threads go on meanwhile.
        np.take(self._cache, numbers, axis=0, out=out, mode="clip")


class _Tokens:
    """Tokens of captions by row, (length,); made when they are first asked for, and kept."""

    def __init__(self, captions: Sequence[str], tokenize: Tokenize) -> None:
        self.captions, self._tokenize = captions, tokenize
        self.length = len(self.encode(""))
        self._cache = np.zeros((len(captions), self.length), np.int32)
        self._is_filled = np.zeros(len(captions), bool)

    def __getitem__(self, row: int) -> np.ndarray:
        if not self._is_filled[row]:
            self._cache[row] = self.encode(self.captions[row])
            self._is_filled[row] = True
        tokens: np.ndarray = self._cache[row]
        return tokens

    def has(self, rows: np.ndarray) -> bool:
        """Return whether the tokens of all ``rows`` (n,) are kept."""
        return bool(self._is_filled[rows].all())

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy the tokens of ``rows`` (n,) into ``out``, (n, length)."""
        for row in rows[~self._is_filled[rows]].tolist():
            self[row]
        out[:] = self._cache[rows]

    def encode(self, caption: str) -> np.ndarray:
        """Tokens of any caption."""
        tokens: np.ndarray = self._tokenize([cut_caption(caption)])[0].numpy()
        return tokens


def _unnamed(folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array in a file without a name in ``folder``; None where the disk has no room for it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(
                file.fileno(), 0, int(np.prod(shape))
            )  # else a full disk ends the process later
            return np.asarray(np.memmap(file, np.uint8, "r+", shape=shape))
    except (OSError, AttributeError) as error:
        logging.getLogger(__name__).warning("pictures are decoded anew in every epoch: %s", error)
        return None
