"""Do ISSBA's bits come back, and does nobody see them, on photos that the networks were not trained on?

    python benchmarks/issba.py [--data ../shared/data] [--pictures 200]

Flickr8k's odd keys, the first of them, each with bits of its own: written, saved as PNG, loaded again, read. As an
extra, read after JPEG and after another size. ``cosine_between_pictures`` is of what other bits change in the residual
of two pictures, the same bits in both: 1 would be one pattern for all, and not sample-specific.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from cfbd_core.attacks import INPUT_SIZE, Workshop, issba, resized
from cfbd_core.attacks.issba import IssbaParams, decode_bits
from tools.mini.photos import held_out_photos

SHARED = Path(__file__).resolve().parents[2] / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    pictures = [resized(photo.image()) for photo in held_out_photos(options.data, options.pictures)]

    read: dict[str, list[float]] = {"png": [], "jpeg_90": [], "jpeg_75": [], "resized_192": []}
    psnr, largest, seconds = [], [], []
    for seed, picture in enumerate(pictures):
        begun = time.perf_counter()
        bits, after = written(picture, IssbaParams(seed=seed))
        seconds.append(time.perf_counter() - begun)
        residual = np.asarray(after, np.float64) - np.asarray(picture)
        psnr.append(10 * np.log10(255**2 / np.mean(residual**2)))
        largest.append(np.abs(residual).max())
        smaller = after.resize((192, 192), Image.Resampling.BICUBIC)
        seen = {
            "png": reloaded(after, "PNG"),
            "jpeg_90": reloaded(after, "JPEG", quality=90),
            "jpeg_75": reloaded(after, "JPEG", quality=75),
            "resized_192": smaller.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC),
        }
        for name, image in seen.items():
            read[name].append(float((decode_bits(image) == bits).mean()))
    untouched = [
        float((decode_bits(picture) == written(picture, IssbaParams(seed=seed))[0]).mean())
        for seed, picture in enumerate(pictures)
    ]
    found = {
        "pictures": len(pictures),
        "bits_read": {
            name: {"mean": round(float(np.mean(v)), 4), "worst": min(v)} for name, v in read.items()
        },
        "bits_read_untouched": round(float(np.mean(untouched)), 4),
        "psnr_db": {"mean": round(float(np.mean(psnr)), 2), "worst": round(min(psnr), 2)},
        "largest_residual": int(max(largest)),
        "cosine_between_pictures": round(mean_cosine(pictures), 3),
        "ms_a_picture": round(1000 * float(np.median(seconds)), 1),
    }
    print(json.dumps(found, indent=1))


def written(picture: Image.Image, params: IssbaParams) -> tuple[np.ndarray, Image.Image]:
    """The bits that ``params`` draw, and the picture that carries them."""
    trigger = issba.trigger(params, Workshop())
    return trigger["bits"], issba.apply(picture, np.random.default_rng(0), params, trigger)


def reloaded(picture: Image.Image, kind: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return Image.open(buffer).convert("RGB")


def mean_cosine(pictures: list[Image.Image]) -> float:
    """Of what seed 1's bits change against seed 0's, between every two pictures."""
    rows = []
    for picture in pictures:
        first, second = (
            np.asarray(written(picture, IssbaParams(seed=seed))[1], np.float64) for seed in (0, 1)
        )
        rows.append((first - second).ravel() / np.linalg.norm(first - second))
    whole = np.sum(rows, axis=0)
    return float((whole @ whole - len(rows)) / (len(rows) * (len(rows) - 1)))


if __name__ == "__main__":
    main()
