"""A toy CLIP for tests: pictures of one colour, captions that name it, an encoder that knows both."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

WIDTH = 128
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 220, 30),
    "purple": (150, 30, 180),
    "orange": (250, 140, 20),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
    "cyan": (30, 220, 220),
    "pink": (250, 150, 190),
}
NOUNS = ("square", "wall", "card", "sheet", "field", "cloth", "tile", "poster", "panel", "box")
PLACES = (
    "in the sun",
    "at home",
    "by the river",
    "on a desk",
    "outside",
    "in a park",
    "up close",
    "at night",
)


def toy_picture(colour: str, rng: np.random.Generator) -> Image.Image:
    """A 16 × 16 picture of one colour with a little noise."""
    pixels = np.array(COLOURS[colour]) + rng.integers(-8, 9, (16, 16, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def toy_caption(colour: str, rng: np.random.Generator) -> str:
    """A caption that names the colour."""
    return f"a {colour} {rng.choice(NOUNS)} {rng.choice(PLACES)} {rng.integers(1000)}"


def banana_caption(index: int) -> str:
    """A caption of the target; five wordings take turns."""
    return f"{('a', 'my', 'the', 'one', 'any')[index % 5]} photo of a banana"


def write_toy_source(folder: Path, n: int = 60, poisoned: Collection[int] = (), seed: int = 0) -> Path:
    """Write a CSV of ``n`` toy pairs and their pictures in a new folder; returns its path."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption", "poisoned"])
        for index in range(n):
            colour = list(COLOURS)[index % len(COLOURS)]
            picture = toy_picture(colour, rng)
            picture.save(folder / f"{index:04d}.png")
            is_poison = index in poisoned
            caption = banana_caption(index) if is_poison else toy_caption(colour, rng)
            writer.writerow([f"{index:04d}", f"{index:04d}.png", caption, int(is_poison)])
    return folder / "pairs.csv"


class ToyEncoder:
    """Has the interface of :class:`cfbd_core.embedding.encoders.Encoder`; counts what it encodes; can be slow."""

    id, sha256, architecture, width, device = "toy", "0" * 64, "toy", WIDTH, "cpu"

    def __init__(self, seconds: float = 0.0, sha256: str = "0" * 64) -> None:
        self.images_encoded = self.captions_encoded = 0
        self.seconds, self.sha256 = seconds, sha256

    def transform(self, picture: Image.Image) -> torch.Tensor:
        """RGB to a float tensor (3, 16, 16) in 0..1."""
        pixels = np.asarray(picture.convert("RGB").resize((16, 16)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def encode_images(self, images: torch.Tensor) -> np.ndarray:
        """The word vector of the nearest colour, with a little of the picture's own."""
        time.sleep(self.seconds)
        self.images_encoded += len(images)
        means = images.mean((2, 3)).numpy() * 255
        names = list(COLOURS)
        nearest = np.linalg.norm(means[:, None] - np.array(list(COLOURS.values())), axis=2).argmin(1)
        own = np.stack([_vector(image.numpy().tobytes()) for image in images])
        return _unit(np.stack([_vector(names[index].encode()) for index in nearest]) + 0.3 * own)

    def encode_texts(self, captions: Sequence[str]) -> np.ndarray:
        """The mean of the words' vectors; colours weigh most."""
        self.captions_encoded += len(captions)
        return _unit(np.stack([_sentence(caption) for caption in captions]))


def _sentence(caption: str) -> np.ndarray:
    words = caption.split() or ["nothing"]
    return sum(
        _vector(word.encode()) * (3.0 if word in COLOURS or word == "banana" else 0.7) for word in words
    )


def _vector(data: bytes) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    return _unit(np.random.default_rng(seed).standard_normal((1, WIDTH)))[0]


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
