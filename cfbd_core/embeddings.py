"""The batch loop: decode in workers, encode on the device, write fp16 shards.

The unit of work is a shard of ``shard_size`` rows. A job that was killed goes on after the last
whole shard; since batches are formed in reading order and the batch size is kept in the plan, the
result is the same as that of an unbroken run. Images and captions with the same bytes are encoded
once.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cfbd_core.encoders import Encoder
from cfbd_core.errors import EncoderError
from cfbd_core.files import write_array
from cfbd_core.images import BadImage, decode_image, read_image_bytes
from cfbd_core.shards import EmbeddingFolder

Progress = Callable[[int], None]
Locator = tuple[str, int | None, int | None]

CPU_BATCH = 32  # a CPU's rate is flat from 16 to 128 images a pass (benchmarks/encoding.py)
LARGEST_BATCH = 1024
CAPTIONS_PER_IMAGE = 8  # a text tower takes so many captions in the memory of one image
HASH_BYTES = 16
REMEMBERED = 20_000_000  # hashes kept to find repeats; beyond, repeats are encoded again


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


def embed(folder: EmbeddingFolder, job: EmbedJob, progress: Progress | None = None) -> None:
    """Write every missing shard; ``progress`` is told the number of pairs done.

    An image that cannot be read leaves a row of zeros and a line in its shard's ``failures``.
    """
    seen = _Repeats()
    with ThreadPoolExecutor(job.workers, thread_name_prefix="decode") as workers:
        for number in range(-(-job.rows // job.shard_size)):
            start = number * job.shard_size
            stop = min(start + job.shard_size, job.rows)
            if folder.is_whole(number):
                hashes = np.load(folder.hash_path(number), allow_pickle=False)
                if progress:
                    progress(folder.stats(number)["pairs"])
            else:
                hashes = _embed_shard(folder, number, job.fetch(start, stop), job, seen, workers, progress)
            seen.remember(number, hashes)


def failures(folder: EmbeddingFolder, shards: int) -> pa.Table:
    """All pairs whose image could not be read: row, reason, detail."""
    found = [failure for number in range(shards) for failure in folder.stats(number)["failures"]]
    return pa.table(
        {
            "row": pa.array([failure["row"] for failure in found], pa.int64()),
            "reason": pa.array([failure["reason"] for failure in found], pa.string()),
            "detail": pa.array([failure["detail"] for failure in found], pa.string()),
        }
    )


def find_batch_size(encoder: Encoder) -> int:
    """Images a forward pass: on a GPU doubled while it fits and gains at least 5 %; on a CPU fixed."""
    if not encoder.device.startswith("cuda"):
        return CPU_BATCH
    best, best_rate, size = CPU_BATCH, 0.0, CPU_BATCH
    picture = encoder.transform(_grey_picture())
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


@dataclass
class _Repeats:
    """Where bytes were seen before: hash -> (shard, row in it), for images and captions."""

    image: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    text: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def remember(self, number: int, hashes: np.ndarray) -> None:
        """Take in a shard's hashes (rows, 2); the first place of each stays."""
        for index, known in enumerate((self.image, self.text)):
            room = max(0, REMEMBERED - len(known))
            for row, digest in islice(enumerate(hashes[:, index].tolist()), room):
                if digest:
                    known.setdefault(digest.ljust(HASH_BYTES, b"\0"), (number, row))


def _embed_shard(
    folder: EmbeddingFolder,
    number: int,
    table: pa.Table,
    job: EmbedJob,
    seen: _Repeats,
    workers: ThreadPoolExecutor,
    progress: Progress | None,
) -> np.ndarray:
    began = time.perf_counter()
    start = number * job.shard_size
    rows = min(job.shard_size, job.rows - start)
    places = table["row"].to_numpy() - start
    hashes = np.zeros((rows, 2), dtype=f"S{HASH_BYTES}")

    captions = table["caption"].to_pylist()
    caption_digests = [_digest(caption.encode()) for caption in captions]
    text_vectors = _encode_captions(dict(zip(caption_digests, captions, strict=True)), job, seen, folder)
    text = np.zeros((rows, job.encoder.width), np.float16)
    for place, digest in zip(places, caption_digests, strict=True):
        text[place], hashes[place, 1] = text_vectors[digest], digest

    places_of: dict[Locator, list[int]] = {}
    locators = zip(
        *(table[name].to_pylist() for name in ("image", "image_offset", "image_size")), strict=True
    )
    for place, locator in zip(places.tolist(), locators, strict=True):
        places_of.setdefault(locator, []).append(place)
    image = np.zeros((rows, job.encoder.width), np.float16)
    failed: list[dict[str, Any]] = []
    encoded = 0
    for locator, digest, vector in _encode_images(places_of, job, seen, folder, workers):
        for place in places_of[locator]:
            if isinstance(vector, BadImage):
                failed.append({"row": start + place, "reason": vector.reason, "detail": vector.detail})
                text[place], hashes[place, 1] = 0, b""  # no later caption may be read from here
            else:
                image[place], hashes[place, 0] = vector, digest
        encoded += 1
        if progress:
            progress(len(places_of[locator]))

    folder.folder.mkdir(parents=True, exist_ok=True)
    write_array(folder.hash_path(number), hashes)
    stats = {
        "pairs": table.num_rows,
        "images": encoded - len({failure["row"] for failure in failed}),
        "captions": len(text_vectors),
        "seconds": round(time.perf_counter() - began, 2),
        "failures": sorted(failed, key=lambda failure: failure["row"]),
    }
    folder.write(number, image, text, stats)
    return hashes


def _encode_captions(
    captions: dict[bytes, str], job: EmbedJob, seen: _Repeats, folder: EmbeddingFolder
) -> dict[bytes, np.ndarray]:
    """Vectors float16 (d,) by hash; captions of earlier shards are read back."""
    vectors = {
        digest: np.load(folder.text_path(seen.text[digest][0]), mmap_mode="r")[seen.text[digest][1]]
        for digest in captions
        if digest in seen.text
    }
    new = [digest for digest in captions if digest not in vectors]
    size = job.batch_size * CAPTIONS_PER_IMAGE
    for first in range(0, len(new), size):
        batch = new[first : first + size]
        encoded = job.encoder.encode_texts([captions[digest] for digest in batch])
        vectors |= zip(batch, _checked(encoded, job.encoder), strict=True)
    return vectors


def _encode_images(
    locators: Iterable[Locator],
    job: EmbedJob,
    seen: _Repeats,
    folder: EmbeddingFolder,
    workers: ThreadPoolExecutor,
) -> Iterator[tuple[Locator, bytes, np.ndarray | BadImage]]:
    """Yield (locator, hash, vector float16 (d,) or what was wrong), batch by batch, in reading order."""
    vectors: dict[bytes, np.ndarray] = {}
    waiting: list[tuple[Locator, bytes]] = []
    batch: dict[bytes, torch.Tensor] = {}

    def flush() -> Iterator[tuple[Locator, bytes, np.ndarray | BadImage]]:
        if batch:
            encoded = job.encoder.encode_images(torch.stack(list(batch.values())))
            vectors.update(zip(batch, _checked(encoded, job.encoder), strict=True))
            batch.clear()
        yield from ((locator, digest, vectors[digest]) for locator, digest in waiting)
        waiting.clear()

    def load(locator: Locator) -> tuple[bytes, torch.Tensor | None]:
        data = read_image_bytes(*locator)
        digest = _digest(data)
        if digest in seen.image or digest in vectors or digest in batch:
            return digest, None
        return digest, job.encoder.transform(decode_image(data))

    for locator, loaded in _in_order(locators, load, workers, ahead=2 * job.batch_size):
        try:
            digest, tensor = loaded.result()
        except BadImage as bad:
            yield locator, b"", bad
            continue
        if digest in seen.image and digest not in vectors:
            shard, row = seen.image[digest]
            vectors[digest] = np.load(folder.image_path(shard), mmap_mode="r")[row]
        if digest not in vectors and tensor is not None:
            batch.setdefault(digest, tensor)
        waiting.append((locator, digest))
        if len(batch) == job.batch_size:
            yield from flush()
    yield from flush()


def _in_order(
    locators: Iterable[Locator],
    load: Callable[[Locator], tuple[bytes, torch.Tensor | None]],
    workers: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[tuple[Locator, Future[tuple[bytes, torch.Tensor | None]]]]:
    """Run ``load`` in the workers, at most ``ahead`` images before the one that is yielded."""
    remaining = iter(locators)
    queue = deque((locator, workers.submit(load, locator)) for locator in islice(remaining, ahead))
    while queue:
        locator, future = queue.popleft()
        future.exception()  # wait, so that the pool is topped up only when there is room
        queue.extend((following, workers.submit(load, following)) for following in islice(remaining, 1))
        yield locator, future


def _checked(vectors: np.ndarray, encoder: Encoder) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise EncoderError(f"encoder {encoder.id} gives NaN or infinite embeddings; its weights are damaged")
    return vectors.astype(np.float16)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def _grey_picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (256, 256), (127, 127, 127))
