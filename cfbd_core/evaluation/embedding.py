"""Embeddings for an evaluation: pictures are made ready once and kept, the model's mode stays as it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from cfbd_core.embedding.encoders import Encoder
from cfbd_core.embedding.transforms import Transform, transformed
from cfbd_core.errors import EncoderError
from cfbd_core.machine.progress import Progress, no_progress
from cfbd_core.machine.workers import usable_cores
from cfbd_core.pictures.images import BadImage

PICTURE_BATCH = 32
TEXT_BATCH = 256
MOST_CACHED_BYTES = 2 << 30  # of one set of pictures; larger ones are made ready anew each time


def embed_texts(encoder: Encoder, texts: Sequence[str], progress: Progress = no_progress) -> np.ndarray:
    """Return unit vectors float32 (n, d); its stage is "texts". Raises EncoderError for NaN."""
    parts = []
    for first in range(0, len(texts), TEXT_BATCH):
        parts.append(_checked(encoder.encode_texts(texts[first : first + TEXT_BATCH]), encoder))
        progress("texts", min(first + TEXT_BATCH, len(texts)), len(texts))
    return np.concatenate(parts)


class Pictures:
    """``count`` pictures that are embedded by one model after another.

    ``picture(i)`` is called from several threads and may raise BadImage; ``change(i, picture)``, such as a trigger,
    from one. Resized and cropped as the model wants it, a picture is kept as uint8, so that the next model (the
    same one an epoch later) finds it ready; what reaches the model is equal, bit for bit, to ``transform(picture)``.
    """

    def __init__(
        self,
        count: int,
        picture: Callable[[int], Image.Image],
        change: Callable[[int, Image.Image], Image.Image] | None = None,
    ) -> None:
        self.count = count
        self._picture, self._change = picture, change
        self._batches: list[torch.Tensor] = []  # batches
        self._made_for = ""
        self._bad: set[int] = set()

    def embed(
        self, encoder: Encoder, batch_size: int = PICTURE_BATCH, progress: Progress = no_progress
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return unit vectors float32 (count, d), and which pictures could be read, bool (count,).

        Others have zeros. The stage is "pictures". Raises EncoderError for NaN.
        """
        shape, finish = _split(encoder.transform)
        ready = partial(transformed, encoder.transform, shape=shape)
        wanted = f"{batch_size} {encoder.transform!r}"
        batches: Iterator[torch.Tensor] = iter(self._batches)
        if self._made_for != wanted:
            self._batches, self._made_for, self._bad = [], "", set()
            batches = self._made(ready, batch_size, wanted)
        vectors = np.zeros((self.count, encoder.width), np.float32)
        for number, batch in enumerate(batches):
            rows = range(number * batch_size, min((number + 1) * batch_size, self.count))
            read = [row for row in rows if row not in self._bad]
            if read:
                vectors[read] = _checked(encoder.encode_images(finish(batch.to(encoder.device))), encoder)
            progress("pictures", rows.stop, self.count)
        readable = np.ones(self.count, bool)
        readable[list(self._bad)] = False
        return vectors, readable

    def _made(self, shape: Transform, batch_size: int, wanted: str) -> Iterator[torch.Tensor]:
        """Yield the batches, made ready two ahead, and keep them if all of them fit."""
        batches: list[torch.Tensor] = []
        fits = True

        def ready(rows: range) -> list[Any]:
            return [self._ready(row, shape) for row in rows]

        parts = [
            range(first, min(first + batch_size, self.count)) for first in range(0, self.count, batch_size)
        ]
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
            for rows, made in zip(parts, _ahead(pool, ready, parts), strict=True):
                tensors = []
                for row, one in zip(rows, made, strict=True):
                    shaped = self._changed(row, one, shape)
                    if isinstance(shaped, BadImage):
                        self._bad.add(row)
                    else:
                        tensors.append(shaped)
                batch = torch.stack(tensors) if tensors else torch.zeros(0)
                fits = fits and batch.nbytes * len(parts) <= MOST_CACHED_BYTES
                if fits:
                    batches.append(batch)
                else:
                    batches.clear()
                yield batch
        if fits:
            self._batches, self._made_for = batches, wanted

    def _ready(self, row: int, shape: Transform) -> Any:
        try:
            picture = self._picture(row)
            return picture if self._change is not None else shape(picture)
        except BadImage as bad:
            return bad

    def _changed(self, row: int, picture: Any, shape: Transform) -> Any:
        if isinstance(picture, BadImage) or self._change is None:
            return picture
        try:
            return shape(self._change(row, picture))
        except BadImage as bad:
            return bad


def _split(
    transform: Any,
) -> tuple[Callable[[Image.Image], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """Split a transform into what makes pixels, uint8 (3, H, W), and what makes of a batch of them the model's input.

    open_clip's ends in ``ToTensor`` and ``Normalize``, which are done for the whole batch; any other is applied whole.
    """
    from cfbd_core.embedding.torchvision_compat import import_torchvision

    import_torchvision()
    from torchvision.transforms import Normalize, ToTensor

    steps = getattr(transform, "transforms", [])
    if len(steps) < 2 or not isinstance(steps[-1], Normalize) or not isinstance(steps[-2], ToTensor):
        return transform, lambda batch: batch
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (steps[-1].mean, steps[-1].std))

    def shape(picture: Image.Image) -> torch.Tensor:
        for step in steps[:-2]:
            picture = step(picture)
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)

    def finish(batch: torch.Tensor) -> torch.Tensor:
        pixels = batch.contiguous().float().div_(255)
        return pixels.sub_(mean.to(batch.device)).div_(std.to(batch.device))

    return shape, finish


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[range], list[Any]], parts: Sequence[range]
) -> Iterator[list[Any]]:
    """Yield ``work(part)`` in order, with every core and one more part under way."""
    rest = iter(parts)

    def submit(count: int) -> list[Future[list[Any]]]:
        return [pool.submit(work, part) for part in islice(rest, count)]

    waiting = submit(usable_cores() + 1)
    while waiting:
        yield waiting.pop(0).result()
        waiting += submit(1)


def _checked(vectors: np.ndarray, encoder: Encoder) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise EncoderError(f"encoder {encoder.id} gives NaN or infinite embeddings; its weights are damaged")
    return vectors
