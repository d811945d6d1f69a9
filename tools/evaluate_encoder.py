"""Print, as one JSON object, the figures that an encoder is judged by.

    python tools/evaluate_encoder.py [--encoder mini] [--data ../shared/data] [--images 1000]

Text→image retrieval on Flickr8k's first odd-key images, zero-shot top-1 on ``imagenette_val`` and on
drawn scenes of an unseen seed (80 templates each), what F reaches on the odd half, and encoding rates.
All of them are results: nothing is chosen by them (see tools/mini/choosing.py for what is).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from cfbd_core.demo import CLASS_NAMES
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.embedding.mapping import Mapping, mean_targets, ridge_map
from cfbd_core.errors import EncoderError
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.evaluation.embedding import Pictures, embed_texts
from cfbd_core.evaluation.evaluate import Evaluator
from cfbd_core.evaluation.retrieval import retrieval
from cfbd_core.machine.assets import MINI_DIR
from tools.mini.drawn import UNSEEN_SEED, DrawnScene
from tools.mini.photos import Photo, held_out_photos, imagenette_photos, training_photos

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
RIDGE_STRENGTHS = (0.1, 1.0, 10.0, 100.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=1000, help="odd-key images of the retrieval figure")
    parser.add_argument("--scenes", type=int, default=5, help="single-object scenes per class")
    parser.add_argument("--mapping", action="store_true", help="also judge F on the whole odd half")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder, options.device)
    figures: dict[str, Any] = {"encoder": encoder.id, "sha256": encoder.sha256}

    photos = held_out_photos(options.data, None if options.mapping else options.images)
    embedded = embed_pictures(encoder, [photo.image for photo in photos])
    captions = [photo.captions for photo in photos]
    texts = embed_texts(encoder, [text for group in captions for text in group])
    owner = np.repeat(np.arange(len(captions)), [len(group) for group in captions])
    own = owner < options.images
    found = retrieval(embedded[: options.images], texts[own], owner[own])
    figures["retrieval"] = {
        name.upper(): round(100 * share, 1) for name, share in found["text_to_image"].items()
    } | {"images": found["images"], "captions": found["captions"]}

    nette = imagenette_photos(options.data)
    figures["imagenette"] = zero_shot(encoder, [p.image for p in nette], [p.label or "" for p in nette])
    scenes = [DrawnScene(i, name, UNSEEN_SEED) for name in CLASS_NAMES for i in range(options.scenes)]
    figures["scenes"] = zero_shot(encoder, [s.image for s in scenes], [s.class_name or "" for s in scenes])
    if options.mapping:
        figures["mapping"] = mapping_figures(encoder, options.data, embedded, texts, captions)
    if not options.no_speed:
        figures["speed"] = speed(encoder, nette[:512], [text for group in captions for text in group][:5000])
    print(json.dumps(figures, indent=2))


def embed_pictures(encoder: Encoder, pictures: Sequence[Callable[[], Image.Image]]) -> np.ndarray:
    """Unit vectors float32 (n, d)."""
    return Pictures(len(pictures), lambda i: pictures[i]()).embed(encoder)[0]


def zero_shot(
    encoder: Encoder, pictures: Sequence[Callable[[], Image.Image]], labels: Sequence[str]
) -> dict[str, Any]:
    """Top-1 in percent over the classes that occur; a class is the normalised mean over the 80 templates."""
    names = sorted(set(labels))
    numbers = np.array([names.index(label) for label in labels], np.int64)
    found = Evaluator(LabelledImages(tuple(names), numbers, lambda i: pictures[i]())).report(encoder)
    of_class = {name: 100 * one["ca"] for name, one in found["per_class"].items()}
    worst = dict(sorted(of_class.items(), key=lambda item: item[1])[:10])
    return {"top1": round(100 * found["ca"], 1), "classes": found["classes"], "images": found["images"]} | {
        "worst": {name: round(share) for name, share in worst.items()}
    }


def mapping_figures(
    encoder: Encoder, data: Path, images: np.ndarray, texts: np.ndarray, captions: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Mean cosine with the mean caption embedding on the odd half: F's, and ridge maps' from the training half."""
    owner = np.repeat(np.arange(len(captions)), [len(group) for group in captions])
    _, target = mean_targets(texts, owner)
    figures: dict[str, Any] = {"images": len(captions)}
    try:
        mapping = Mapping.load(MINI_DIR / "mapping.safetensors", encoder.sha256)
        figures["F"] = round(float((mapping(images) * target).sum(1).mean()), 4)
    except EncoderError as error:
        figures["F"] = str(error)
    photos: list[Photo] = [photo for group in training_photos(data).values() for photo in group]
    known = embed_pictures(encoder, [photo.image for photo in photos])
    known_texts = embed_texts(encoder, [text for photo in photos for text in photo.captions])
    known_owner = np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos])
    _, known_target = mean_targets(known_texts, known_owner)
    figures["ridge"] = {
        str(alpha): round(float((ridge_map(known, known_target, alpha)(images) * target).sum(1).mean()), 4)
        for alpha in RIDGE_STRENGTHS
    }
    return figures


def speed(
    encoder: Encoder, photos: Sequence[Photo], texts: Sequence[str], size: int = 32
) -> dict[str, float]:
    """Images/s end to end (decode, resize, encode) and of the model alone, in alternating blocks; captions/s."""
    pixels = torch.stack([encoder.transform(photo.image()) for photo in photos[:size]])
    encoder.encode_images(pixels)
    encoder.encode_texts(texts[:size])
    block, alone, whole, rounds = 4, 0.0, 0.0, len(photos) // size

    def load(batch: Sequence[Photo]) -> torch.Tensor:
        return torch.stack([encoder.transform(photo.image()) for photo in batch])

    with ThreadPoolExecutor(1) as pool:
        for first in range(0, rounds, block):
            begun = time.perf_counter()
            batches = (photos[i * size : (i + 1) * size] for i in range(first, min(first + block, rounds)))
            for ready in _ahead(pool, load, batches):
                encoder.encode_images(ready.result())
            between = time.perf_counter()
            for _ in range(first, min(first + block, rounds)):
                encoder.encode_images(pixels)
            whole += between - begun
            alone += time.perf_counter() - between
    begun = time.perf_counter()
    embed_texts(encoder, texts)
    captions = len(texts) / (time.perf_counter() - begun)
    return {
        "threads": torch.get_num_threads(),
        "images_per_s": round(rounds * size / whole, 1),
        "model_only_images_per_s": round(rounds * size / alone, 1),
        "captions_per_s": round(captions, 1),
    }


def _ahead(pool: ThreadPoolExecutor, load: Callable[[Any], Any], batches: Iterator[Any]) -> Iterator[Any]:
    """Futures of the batches in order, two of them under way."""
    waiting = [pool.submit(load, batch) for batch in islice(batches, 2)]
    while waiting:
        yield waiting.pop(0)
        waiting += [pool.submit(load, batch) for batch in islice(batches, 1)]


if __name__ == "__main__":
    main()
