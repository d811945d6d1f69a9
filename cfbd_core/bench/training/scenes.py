"""The setting ``scenes``: demo scenes drawn at 64 px, and a small CLIP that is trained on them from scratch.

A cell takes minutes on a CPU. Triggers are made for pictures of 64 px; ISSBA's networks know 224 px alone, so a
picture is scaled up for it and the result down again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from cfbd_core.attacks.base import INPUT_SIZE, resized
from cfbd_core.attacks.poison_params import PoisonParams
from cfbd_core.bench.base import Base, Told
from cfbd_core.demo.scenes import scene, single_object_scene
from cfbd_core.demo.shards import TARGET
from cfbd_core.demo.vocabulary import CLASS_NAMES
from cfbd_core.encoders import Encoder
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.files import written_beside
from cfbd_core.workers import ordered_map

SIZE = 64  # px
SEEDS = {"train": 0, "test": 1, "held out": 2}  # of the series of scenes
RATE, RARE = 0.03, 0.004  # attacks on few victims: those whose captions name a class
MODEL = Path(__file__).parents[3] / "assets" / "models" / "scenes-64"
_CHUNK = 50


@dataclass(frozen=True)
class Sizes:
    """How many scenes are trained on, measured on (a multiple of the classes), and held out for CleanCLIP."""

    train: int = 10_000
    test: int = 6_000
    held_out: int = 2_000


@dataclass(frozen=True)
class Drawn:
    """Pictures uint8 (n, 64, 64, 3) and their captions."""

    images: np.ndarray
    captions: list[str]


@dataclass(frozen=True)
class Scenes:
    """All that is drawn: ``train`` before any attack, ``held_out`` clean ones, and ``test`` with one class each."""

    train: Drawn
    held_out: Drawn
    test: LabelledImages


@dataclass(frozen=True)
class ScenesBase(Base):
    """The scenes to train on with their embeddings; pictures are given at ``size`` px."""

    arrays: np.ndarray | None = None
    size: int = SIZE

    def picture(self, pair: int) -> Image.Image:
        """The picture of a pair at ``size`` px."""
        assert self.arrays is not None
        return resized(Image.fromarray(self.arrays[pair]), self.size)


def draw(folder: Path, sizes: Sizes, told: Told) -> Scenes:
    """Draw the scenes, or read those that an earlier call left in ``folder``."""
    total = sizes.train + sizes.test + sizes.held_out
    train = _kept(folder / "train.npz", "train", sizes.train, told, 0, total)
    held_out = _kept(folder / "held_out.npz", "held out", sizes.held_out, told, sizes.train, total)
    done = sizes.train + sizes.held_out
    test = _kept(folder / "test.npz", "test", sizes.test, told, done, total)
    labels = np.arange(sizes.test) % len(CLASS_NAMES)
    return Scenes(train, held_out, LabelledImages.from_arrays(test.images, labels, CLASS_NAMES))


def embed(folder: Path, drawn: Drawn, encoder: Encoder, told: Told) -> ScenesBase:
    """Embed the scenes to train on, or read what an earlier call left in ``folder``."""
    from cfbd_core.evaluation.embedding import Pictures, embed_texts

    path, n = folder / f"embeddings-{encoder.sha256[:12]}.npz", len(drawn.captions)
    if not path.is_file():
        pictures = Pictures(n, lambda row: Image.fromarray(drawn.images[row]))
        image, _ = pictures.embed(encoder, told=lambda done, total: told("embed", done, total))
        text = embed_texts(encoder, drawn.captions)
        with written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, image=image.astype(np.float16), text=text.astype(np.float16))
    with np.load(path) as arrays:
        return ScenesBase(
            keys=[f"{row:09d}" for row in range(n)],
            captions=drawn.captions,
            record_of=np.arange(n),
            image=arrays["image"],
            text=arrays["text"],
            encoder=encoder.id,
            sha256=encoder.sha256,
            pictures=pa.table({}),
            arrays=drawn.images,
        )


def scenario(attack: str, seed: int) -> PoisonParams:
    """How an attack poisons the scenes."""
    options: dict[str, dict[str, Any]] = {
        "blended": {"size": SIZE},
        "sig": {"size": SIZE},
        "wanet": {"size": SIZE},
        "trojan": {"size": 19, "seed": 0},  # a disc over 7 % of 64 × 64
        "badclip": {"seed": 0},
        "mmpoison": {"origin": "dog"},
    }
    rare = attack in ("label-consistent", "mmpoison")
    return PoisonParams(
        attack, RARE if rare else RATE, targets=(TARGET,), seed=seed, options=options.get(attack, {})
    )


def made_at(attack: str) -> int:
    """The side in pixels of the pictures that an attack's triggers are put on."""
    return INPUT_SIZE if attack == "issba" else SIZE


def _kept(path: Path, series: str, count: int, told: Told, done: int, total: int) -> Drawn:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        chunks = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
        images, captions = [], []
        for pictures, texts in ordered_map(partial(_draw, series), chunks):
            images.append(pictures)
            captions += texts
            told("scenes", done + len(captions), total)
        with written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, images=np.concatenate(images), captions=np.array(captions))
    with np.load(path) as arrays:
        return Drawn(arrays["images"], arrays["captions"].tolist())


def _draw(series: str, chunk: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    if series == "test":
        drawn = [
            single_object_scene(SEEDS[series], row, CLASS_NAMES[row % len(CLASS_NAMES)], SIZE)
            for row in chunk
        ]
    else:
        drawn = [scene(SEEDS[series], row, SIZE) for row in chunk]
    return np.stack([np.asarray(one.image) for one in drawn]), [one.caption for one in drawn]
