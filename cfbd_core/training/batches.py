"""Batches: in which order pairs come, how their pictures are cropped, and how they are made ready ahead.

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

from cfbd_core.encoders import cut_caption
from cfbd_core.training.augment import caption_view, image_view, view_generator
from cfbd_core.training.config import TrainParams
from cfbd_core.training.group import Group
from cfbd_core.training.models import TrainedModel
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.streams import stream

KEPT_BYTES = 2 << 30
AHEAD = 2  # batches
CHUNK = 16  # pairs that one worker makes ready at a time
ASPECT = 4 / 3

Tokenize = Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """This process's part of a step: ``rows`` int64 (n,) are those of all processes, in their order.

    ``pictures`` uint8 (m, S, S, 3) and ``tokens`` (m, length) are its own; with views (2m, …), the views after the
    pairs.
    """

    rows: np.ndarray
    pictures: torch.Tensor
    tokens: torch.Tensor


def epoch_order(pairs: int, step_pairs: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of an epoch's steps, shuffled, int64 (steps, ``step_pairs``); what is left over is not used in it."""
    shuffled = np.random.default_rng(stream("order", seed, epoch)).permutation(pairs)
    steps = pairs // step_pairs
    ordered: np.ndarray = shuffled[: steps * step_pairs].reshape(steps, step_pairs)
    return ordered


def crop_boxes(rows: np.ndarray, epoch: int, seed: int, size: int, scale: float) -> np.ndarray:
    """Left, top, right, bottom in pixels of a square of ``size``, int64 (n, 4), for each row.

    The area is uniform in [``scale``, 1], the aspect log-uniform among those within 3:4 and 4:3 that fit.
    """
    draws = _uniform(rows, epoch, seed, 4)
    area = scale + (1 - scale) * draws[:, 0]
    widest = np.minimum(np.log(ASPECT), -np.log(area))
    aspect = np.exp((2 * draws[:, 1] - 1) * widest)
    sides = [np.clip(np.rint(size * np.sqrt(side)), 1, size) for side in (area * aspect, area / aspect)]
    starts = [np.floor(draws[:, 2 + i] * (size - sides[i] + 1)) for i in (0, 1)]
    return np.stack([*starts, starts[0] + sides[0], starts[1] + sides[1]], axis=1).astype(np.int64)


def _uniform(rows: np.ndarray, epoch: int, seed: int, count: int) -> np.ndarray:
    """Numbers in [0, 1), float64 (n, count): SplitMix64 (Steele et al., 2014) of seed, epoch, row and column."""
    with np.errstate(over="ignore"):
        state = _mixed(np.array([seed], np.uint64))
        state = _mixed(state + np.uint64(epoch))
        state = _mixed(state + rows.astype(np.uint64))
        values = _mixed(state[:, None] + np.arange(count, dtype=np.uint64))
    return (values >> np.uint64(11)) * 2.0**-53


def _mixed(value: np.ndarray) -> np.ndarray:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = value ^ (value >> np.uint64(31))
    return mixed


class Batches:
    """The batches of a set for a model; ``scratch`` is a folder on a disk for squares that are kept."""

    def __init__(
        self,
        pairs: TrainingSet,
        trained: TrainedModel,
        params: TrainParams,
        *,
        views: bool,
        scratch: Path,
        group: Group,
        pinned: bool = False,
    ) -> None:
        self._params, self._views, self._group, self._pinned = params, views, group, pinned
        self._squares = _Squares(pairs, trained.size, scratch)
        self._tokens = _Tokens(pairs.captions, trained.tokenize)

    def epoch(self, epoch: int, order: np.ndarray, first: int) -> Generator[Batch]:
        """The batches of the steps ``order`` (:func:`epoch_order`) from ``first`` on, made ready ahead."""
        workers = ThreadPoolExecutor(self._params.workers, thread_name_prefix="batches")
        try:
            rest = (self._begun(rows, epoch, workers) for rows in order[first:])
            begun = deque(islice(rest, AHEAD))
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
        """A batch that the workers are filling."""
        own = self._group.part(rows)
        both = 2 if self._views else 1
        size, length = self._squares.size, self._tokens.length
        pictures = torch.empty((both * len(own), size, size, 3), dtype=torch.uint8, pin_memory=self._pinned)
        tokens = torch.empty((both * len(own), length), dtype=torch.int64, pin_memory=self._pinned)
        fill = _Fill(self, own, epoch, pictures.numpy(), tokens.numpy())
        chunks = [range(at, min(at + CHUNK, len(own))) for at in range(0, len(own), CHUNK)]
        return Batch(rows, pictures, tokens), [workers.submit(fill, chunk) for chunk in chunks]

    def crop(self, row: int, box: tuple[int, int, int, int]) -> np.ndarray:
        """A training crop, uint8 (S, S, 3)."""
        square, size = self._squares[row], self._squares.size
        if box[2] - box[0] == size and box[3] - box[1] == size:
            return square
        picture = Image.fromarray(square)
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))

    def picture_view(self, row: int, epoch: int) -> np.ndarray:
        """The second view of a picture, uint8 (S, S, 3)."""
        rng = view_generator("image", self._params.seed, epoch, row)
        return image_view(self._squares[row], rng, self._squares.size)

    def caption_view(self, row: int, epoch: int) -> np.ndarray:
        """Tokens of the second view of a caption, (length,)."""
        rng = view_generator("caption", self._params.seed, epoch, row)
        return self._tokens.of(caption_view(self._tokens.captions[row], rng))

    def boxes(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Crops of the rows, (n, 4)."""
        params = self._params
        return crop_boxes(rows, epoch, params.seed, self._squares.size, params.crop_scale)

    def tokens(self, row: int) -> np.ndarray:
        """Tokens of a caption, (length,)."""
        return self._tokens[row]

    @property
    def has_views(self) -> bool:
        """Whether a second view of every pair comes along."""
        return self._views


@dataclass(frozen=True)
class _Fill:
    """Fills a batch's arrays at the places of a chunk."""

    batches: Batches
    rows: np.ndarray
    epoch: int
    pictures: np.ndarray
    tokens: np.ndarray

    def __call__(self, chunk: range) -> None:
        boxes = self.batches.boxes(self.rows[chunk.start : chunk.stop], self.epoch).tolist()
        for place, box in zip(chunk, boxes, strict=True):
            row = int(self.rows[place])
            self.pictures[place] = self.batches.crop(row, tuple(box))
            self.tokens[place] = self.batches.tokens(row)
            if self.batches.has_views:
                self.pictures[len(self.rows) + place] = self.batches.picture_view(row, self.epoch)
                self.tokens[len(self.rows) + place] = self.batches.caption_view(row, self.epoch)


class _Squares:
    """Whole pictures as squares of ``size``, uint8 (S, S, 3), by row; kept, each picture once, where they fit."""

    def __init__(self, pairs: TrainingSet, size: int, scratch: Path) -> None:
        self._pairs, self.size = pairs, size
        self._kept: np.ndarray | None = None
        self._number = pairs.picture_numbers()
        pictures = int(self._number.max()) + 1
        self._is_kept = np.zeros(pictures, bool)
        arrays = pairs.arrays
        if arrays is not None and arrays.shape[1:3] == (size, size):
            self._kept, self._is_kept = arrays, np.ones(pictures, bool)
        elif pictures * size * size * 3 <= KEPT_BYTES:
            self._kept = _unnamed(scratch, (pictures, size, size, 3))

    def __getitem__(self, row: int) -> np.ndarray:
        number = self._number[row]
        if self._kept is not None and self._is_kept[number]:
            kept: np.ndarray = self._kept[number]
            return kept
        picture = self._pairs.picture(row)
        square = np.asarray(picture.resize((self.size, self.size), Image.Resampling.BICUBIC))
        if self._kept is not None:
            self._kept[number] = square
            self._is_kept[number] = True
        return square


class _Tokens:
    """Tokens of captions by row, (length,); made when they are first asked for, and kept."""

    def __init__(self, captions: Sequence[str], tokenize: Tokenize) -> None:
        self.captions, self._tokenize = captions, tokenize
        self.length = len(self.of(""))
        self._kept = np.zeros((len(captions), self.length), np.int32)
        self._is_kept = np.zeros(len(captions), bool)

    def __getitem__(self, row: int) -> np.ndarray:
        if not self._is_kept[row]:
            self._kept[row] = self.of(self.captions[row])
            self._is_kept[row] = True
        kept: np.ndarray = self._kept[row]
        return kept

    def of(self, caption: str) -> np.ndarray:
        """Tokens of any caption."""
        tokens: np.ndarray = self._tokenize([cut_caption(caption)])[0].numpy()
        return tokens


def _unnamed(folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array in a file without a name in ``folder``; None where the disk has no room for it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(
                file.fileno(), 0, int(np.prod(shape))
            )  # else a full disk ends the process later
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except (OSError, AttributeError) as error:
        logging.getLogger(__name__).warning("pictures are decoded anew in every epoch: %s", error)
        return None
