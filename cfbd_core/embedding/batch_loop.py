"""The batch loop: decode in workers, encode on the device, write fp16 shards.

The unit of work is a shard of ``shard_size`` rows. A job that was killed goes on after the last
whole shard; since batches are formed in reading order and the batch size is kept in the plan, the
result is the same as that of an unbroken run. Images and captions with the same bytes are encoded
once. What a picture's bytes were is kept as a hash, so that whoever reads it later sees that it is the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from cfbd_core.embedding.encoders import Encoder
from cfbd_core.embedding.shards import EmbeddingFolder, Failure, Shape, Shards, ShardStats, shard_shapes
from cfbd_core.embedding.transforms import transformed
from cfbd_core.errors import EncoderError, SourceError
from cfbd_core.machine.files import write_array
from cfbd_core.machine.progress import Counter
from cfbd_core.machine.stamps import NO_STAMP, Stamp, stamp_of
from cfbd_core.pictures.digests import HASH_BYTES, HASHES, STAMPS, as_hashes, content_hash
from cfbd_core.pictures.images import CHANGED, BadImage, decode_image, read_image_bytes
from cfbd_core.pictures.picture import ANEW
from cfbd_core.pictures.place import PicturePlace, places_of
from cfbd_core.store.entries import ShardPlan

CPU_BATCH = 32  # a CPU's rate is flat from 16 to 128 images a pass
LARGEST_BATCH = 1024
CAPTION_BATCHES = 8, 1024  # a text tower takes so many captions an image, at most so many
MOST_REMEMBERED_HASHES = 20_000_000  # hashes kept to find repeats; beyond, repeats are encoded again
PASSING = ("missing file", "unreadable file")  # reasons that may be gone when the job is called again


@dataclass(frozen=True)
class EmbedJob:
    """What :func:`embed` needs: the encoder, ``rows`` to embed and ``fetch(start, stop)`` to read them.

    ``fetch`` returns a table (row, key, image, image_offset, image_size, caption) by row.
    """

    encoder: Encoder
    rows: int
    fetch: Callable[[int, int], pa.Table]
    batch_size: int
    shard_size: int
    workers: int

    @property
    def plan(self) -> ShardPlan:
        """What its shards look like, as the folder's plan says it."""
        return {"rows": self.rows, "shard_size": self.shard_size, "width": self.encoder.width}


def embed(
    folder: EmbeddingFolder, job: EmbedJob, counter: Counter | None = None, again: Collection[int] = ()
) -> int:
    """Write every missing shard, and those numbered in ``again``; ``counter`` adds up the pairs.

    Returns how many pairs it embedded of whose pictures nothing was known before: all of them, the first time.

    An image that cannot be read leaves a row of zeros and a line in its shard's ``failures``; where
    that may pass (a disk that is not there), the shard is made again when the job is called again.
    Raises EncoderError: NaN from the encoder, or not enough GPU memory. Raises SourceError: a picture that was
    embedded is another one now that it is read again.
    """
    counter = counter or Counter()
    folder.keep_digests(job.rows)
    new = 0
    shapes = list(shard_shapes(job.plan))
    images, texts = _Repeats(job, shapes, folder.image_path), _Repeats(job, shapes, folder.text_path)
    with ThreadPoolExecutor(job.workers, thread_name_prefix="decode") as workers:
        for number in range(len(shapes)):
            hashes = None if number in again else _settled_hashes(folder, number, job)
            if hashes is None:
                start = number * job.shard_size
                table = job.fetch(start, min(start + job.shard_size, job.rows))
                shard = _Shard(folder, number, table, job, images, texts)
                hashes = shard.make(workers, counter)
                new += shard.new
            elif (stats := folder.stats(number)) is not None:
                counter.add(stats["pairs"])
            images.remember(number, hashes[:, 0])
            texts.remember(number, hashes[:, 1])
    return new


def failures(folder: EmbeddingFolder, shards: int) -> pa.Table:
    """Return all pairs whose image could not be read: row, reason, detail."""
    every_failure = list(_failures(folder, shards))
    return pa.table(
        {
            "row": pa.array([failure["row"] for failure in every_failure], pa.int64()),
            "reason": pa.array([failure["reason"] for failure in every_failure], pa.string()),
            "detail": pa.array([failure["detail"] for failure in every_failure], pa.string()),
        }
    )


def failed_hashes(folder: EmbeddingFolder, shards: int) -> dict[int, str]:
    """By row, the hash (hexadecimal, or "") of the bytes that could not be embedded."""
    return {failure["row"]: failure.get("digest", "") for failure in _failures(folder, shards)}


def _failures(folder: EmbeddingFolder, shards: int) -> Iterator[Failure]:
    for number in range(shards):
        stats = folder.stats(number)
        yield from stats["failures"] if stats is not None else ()


def find_batch_size(encoder: Encoder) -> int:
    """Images a forward pass: on a GPU doubled while it fits and gains at least 5 %; on a CPU fixed."""
    if not encoder.device.startswith("cuda"):
        return CPU_BATCH
    best, best_rate, size = CPU_BATCH, 0.0, CPU_BATCH
    picture = encoder.transform(Image.new("RGB", (256, 256), (127, 127, 127)))
    while size <= LARGEST_BATCH:
        batch = picture.expand(size, *picture.shape)
        try:
            encoder.encode_images(batch)
            began = time.perf_counter()
            encoder.encode_images(batch)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        rate = size / (time.perf_counter() - began)
        if rate < 1.05 * best_rate:
            break
        best, best_rate, size = size, rate, size * 2
    return best


class _Repeats:
    """Where bytes were seen before in earlier shards: hash -> row, and the embedding kept there."""

    def __init__(self, job: EmbedJob, shapes: Sequence[Shape], path: Callable[[int], Path]) -> None:
        self._rows: dict[bytes, int] = {}
        self._shard_size = job.shard_size
        self._shards = Shards([(path(number), shape) for number, shape in enumerate(shapes)])

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def vector(self, digest: bytes) -> np.ndarray:
        """Return the float16 (d,) embedding of bytes seen before."""
        number, place = divmod(self._rows[digest], self._shard_size)
        copied: np.ndarray = np.array(self._shards[number][place])  # a view would keep the file open
        return copied

    def vectors(self, digests: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return embeddings of those of ``digests`` that were seen before, read shard by shard."""
        known = sorted((digest for digest in digests if digest in self), key=self._rows.__getitem__)
        return {digest: self.vector(digest) for digest in known}

    def remember(self, number: int, hashes: np.ndarray) -> None:
        """Take in a shard's hashes (rows,); the first place of each stays."""
        room = max(0, MOST_REMEMBERED_HASHES - len(self._rows))
        for place, digest in islice(enumerate(hashes.tolist()), room):
            if digest:  # numpy drops the zeros at a hash's end
                self._rows.setdefault(digest.ljust(HASH_BYTES, b"\0"), number * self._shard_size + place)


@dataclass
class _Shard:
    """One shard in the making."""

    folder: EmbeddingFolder
    number: int
    table: pa.Table
    job: EmbedJob
    images: _Repeats
    texts: _Repeats
    new: int = 0  # pairs embedded of whose pictures nothing was known

    def make(self, workers: ThreadPoolExecutor, counter: Counter) -> np.ndarray:
        """Encode and write it; returns its hashes (rows, 2) of image and caption."""
        began = time.perf_counter()
        job, start = self.job, self.number * self.job.shard_size
        rows = min(job.shard_size, job.rows - start)
        positions = (self.table["row"].to_numpy() - start).tolist()
        hashes, stamps = np.zeros((rows, 2), HASHES), np.zeros((rows, 3), STAMPS)
        known = as_hashes(self.folder.image_hashes(np.arange(start, start + rows)))
        image, text = (np.zeros((rows, job.encoder.width), np.float16) for _ in range(2))

        positions_of: dict[PicturePlace, list[int]] = {}
        for position, place in zip(positions, places_of(self.table), strict=True):
            positions_of.setdefault(place, []).append(position)
        pictures = _Pictures(list(positions_of), job, self.images, workers)  # decoding begins

        captions = self.table["caption"].to_pylist()
        digests = [content_hash(caption.encode()) for caption in captions]
        vectors = _encode_captions(dict(zip(digests, captions, strict=True)), job, self.texts)
        for position, digest in zip(positions, digests, strict=True):
            text[position], hashes[position, 1] = vectors[digest], digest

        failed: list[Failure] = []
        for place, read, vector in pictures:
            for at in positions_of[place]:
                if known[at] and _is_other(known[at], read, vector):
                    raise SourceError(f"{place.file}: its picture of pair {start + at} {CHANGED}; {ANEW}")
                if isinstance(vector, BadImage):
                    failed.append(_failure(start + at, read, vector))
                    text[at], hashes[at, 1] = 0, b""  # no later caption may be read from here
                    continue
                image[at], hashes[at, 0], stamps[at] = vector, read.digest, read.stamp
                self.new += not known[at]
            counter.add(len(positions_of[place]))

        self.folder.folder.mkdir(parents=True, exist_ok=True)
        write_array(self.folder.hash_path(self.number), hashes)
        self.folder.pictures.keep(start, hashes[:, 0], stamps)
        stats: ShardStats = {
            "pairs": self.table.num_rows,
            "images": len(positions_of),
            "captions": len(vectors),
            "seconds": round(time.perf_counter() - began, 2),
            "failures": sorted(failed, key=lambda failure: failure["row"]),
        }
        self.folder.write(self.number, image, text, stats)
        return hashes


class _Read(NamedTuple):
    """The hash of a picture's bytes, and the stamp that its file had before they were read, if it is one of its own."""

    digest: bytes
    stamp: Stamp


def _is_other(known: bytes, read: _Read, vector: np.ndarray | BadImage) -> bool:
    """Whether a picture whose hash was ``known`` is not the one that was read now; one that is gone may come back."""
    if isinstance(vector, BadImage) and not read.digest:
        return vector.reason not in PASSING
    return read.digest != known


def _failure(row: int, read: _Read, bad: BadImage) -> Failure:
    """Return what the stats say of a pair that could not be embedded; the same bytes need not be tried again."""
    return {"row": row, "reason": bad.reason, "detail": bad.detail, "digest": read.digest.hex()}


class _Pictures:
    """Decodes pictures in the workers from the moment it is made; iterating encodes them in reading order.

    Yields (place, what was read, vector float16 (d,) or what was wrong).
    """

    def __init__(
        self, places: Sequence[PicturePlace], job: EmbedJob, seen: _Repeats, workers: ThreadPoolExecutor
    ) -> None:
        self._job, self._seen, self._workers = job, seen, workers
        self._vectors: dict[bytes, np.ndarray] = {}
        self._batch: dict[bytes, torch.Tensor] = {}
        self._remaining = iter(places)
        self._queue: deque[tuple[PicturePlace, Future[tuple[_Read, torch.Tensor | BadImage | None]]]] = (
            deque()
        )
        self._submit(2 * job.batch_size)

    def __iter__(self) -> Iterator[tuple[PicturePlace, _Read, np.ndarray | BadImage]]:
        waiting: list[tuple[PicturePlace, _Read]] = []
        while self._queue:
            place, future = self._queue.popleft()
            try:
                read, tensor = future.result()
            except BadImage as bad:
                yield place, _Read(b"", NO_STAMP), bad
                continue
            finally:
                self._submit(1)
            if isinstance(tensor, BadImage):
                yield place, read, tensor
                continue
            digest = read.digest
            if digest in self._seen and digest not in self._vectors:
                self._vectors[digest] = self._seen.vector(digest)
            if digest not in self._vectors and tensor is not None:
                self._batch.setdefault(digest, tensor)
            waiting.append((place, read))
            if len(self._batch) == self._job.batch_size or not self._queue:
                self._encode()
                yield from ((done, known, self._vectors[known.digest]) for done, known in waiting)
                waiting.clear()
        self._encode()
        yield from ((done, known, self._vectors[known.digest]) for done, known in waiting)

    def _submit(self, count: int) -> None:
        for place in islice(self._remaining, count):
            self._queue.append((place, self._workers.submit(self._load, place)))

    def _load(self, place: PicturePlace) -> tuple[_Read, torch.Tensor | BadImage | None]:
        stamp = stamp_of(place.file) if place.is_own_file else NO_STAMP
        data = read_image_bytes(place)
        read = _Read(content_hash(data), stamp)
        if read.digest in self._seen or read.digest in self._vectors or read.digest in self._batch:
            return read, None
        try:
            return read, transformed(self._job.encoder.transform, decode_image(data))
        except BadImage as bad:
            return read, bad

    def _encode(self) -> None:
        if self._batch:
            encoded = self._job.encoder.encode_images(torch.stack(list(self._batch.values())))
            self._vectors.update(zip(self._batch, _checked(encoded, self._job.encoder), strict=True))
            self._batch.clear()


def _encode_captions(captions: dict[bytes, str], job: EmbedJob, seen: _Repeats) -> dict[bytes, np.ndarray]:
    """Return vectors float16 (d,) by hash; captions of earlier shards are read back."""
    vectors = seen.vectors(captions)
    new = [digest for digest in captions if digest not in vectors]
    an_image, most = CAPTION_BATCHES
    size = min(job.batch_size * an_image, most)
    for first in range(0, len(new), size):
        batch = new[first : first + size]
        encoded = job.encoder.encode_texts([captions[digest] for digest in batch])
        vectors.update(zip(batch, _checked(encoded, job.encoder), strict=True))
    return vectors


def _settled_hashes(folder: EmbeddingFolder, number: int, job: EmbedJob) -> np.ndarray | None:
    """Hashes of a whole shard, or None where it has to be made (again)."""
    stats = folder.stats(number)
    if stats is None or folder.fault(number, job.plan) is not None:
        return None
    if any(failure["reason"] in PASSING for failure in stats["failures"]):
        return None
    return folder.hashes(number, job.plan)


def _checked(vectors: np.ndarray, encoder: Encoder) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise EncoderError(f"encoder {encoder.id} gives NaN or infinite embeddings; its weights are damaged")
    return vectors.astype(np.float16)
