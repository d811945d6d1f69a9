"""How much of the bare model's rate does `cfbd embed` keep, decoding and writing included?

    python benchmarks/encoding.py [--encoder mini] [--source GLOB] [--images 384] [--rounds 5]

Each round times the whole path (read, decode, resize, encode, fp16 shard) over the same pictures
as the bare model on tensors made before, turn by turn, so that a noisy machine slows both alike.
Without --source it draws demo scenes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.batch_loop import find_batch_size
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.pictures.images import decode_image, read_image_bytes
from cfbd_core.pictures.place import places_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--source", help="pictures to encode, e.g. a glob of img2dataset tars")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--captions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or _scenes(Path(folder) / "scenes", options.images)
        images = _images(encoder, source, Path(folder), options.images, options.rounds)
        captions = _captions(encoder, source, Path(folder), options.captions, options.rounds)
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "device": encoder.device}
    print(
        json.dumps({"encoder": options.encoder, "machine": machine, "images": images, "captions": captions})
    )


def _images(encoder: Encoder, source: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    size = find_batch_size(encoder)
    audit = Audit.create(folder / "pictures")
    audit.ingest(source)
    places = places_of(audit.pairs(limit=count))
    tensors = [encoder.transform(decode_image(read_image_bytes(place))) for place in places]
    batches = [torch.stack(tensors[first : first + size]) for first in range(0, len(tensors), size)]
    return _turn_by_turn(
        lambda: [encoder.encode_images(batch) for batch in batches],
        lambda: _embed(audit, encoder, len(places)),
        len(places),
        rounds,
    )


def _captions(encoder: Encoder, source: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    audit = Audit.create(folder / "captions")
    audit.ingest(source)
    texts = sorted(set(audit.pairs()["caption"].to_pylist()))[:count]
    size = 8 * find_batch_size(encoder)
    tokens = [
        encoder.tokenize(texts[first : first + size]).to(encoder.device)
        for first in range(0, len(texts), size)
    ]

    def bare() -> None:
        with torch.inference_mode():
            for batch in tokens:
                encoder.model.encode_text(batch)

    def whole() -> None:
        for first in range(0, len(texts), size):
            encoder.encode_texts(texts[first : first + size])

    return _turn_by_turn(bare, whole, len(texts), rounds)


def _embed(audit: Audit, encoder: Encoder, rows: int) -> None:
    """Embed the first ``rows`` pairs without their captions."""
    from cfbd_core.audit.embed import EmbedAudit
    from cfbd_core.embedding.batch_loop import EmbedJob, embed
    from cfbd_core.embedding.shards import EmbeddingFolder

    class ImagesOnly:
        """The encoder with its captions left out, so that images alone are timed."""

        id, width, transform = encoder.id, encoder.width, staticmethod(encoder.transform)
        encode_images = staticmethod(encoder.encode_images)

        @staticmethod
        def encode_texts(texts: list[str]) -> object:
            return torch.zeros(len(texts), encoder.width).numpy()

    with tempfile.TemporaryDirectory(dir=audit.folder) as folder:
        job = EmbedJob(
            encoder=ImagesOnly(),  # type: ignore[arg-type]
            rows=rows,
            fetch=EmbedAudit(audit.files).fetch,
            batch_size=find_batch_size(encoder),
            shard_size=rows,
            workers=EmbedParams().workers,
        )
        embed(EmbeddingFolder(Path(folder)), job)


def _turn_by_turn(
    bare: Callable[[], object], whole: Callable[[], object], items: int, rounds: int
) -> dict[str, float]:
    bare()
    times: dict[str, list[float]] = {"bare": [], "whole": []}
    for _ in range(rounds):
        for name, work in (("bare", bare), ("whole", whole)):
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    ratios = [one / other for one, other in zip(times["bare"], times["whole"], strict=True)]
    return {
        "items": items,
        "model_only_per_s": round(items / statistics.median(times["bare"]), 1),
        "end_to_end_per_s": round(items / statistics.median(times["whole"]), 1),
        "share_of_model_only": round(statistics.median(ratios), 3),
    }


def _scenes(folder: Path, count: int) -> str:
    from cfbd_core.demo import DemoParams, write_demo

    write_demo(folder, DemoParams(count, seed=1, rate=0))
    return str(folder)


if __name__ == "__main__":
    sys.exit(main())
