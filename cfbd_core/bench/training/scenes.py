"""The setting ``scenes``: demo scenes drawn at 64 px, and a small CLIP that is trained on them from scratch.

A cell takes minutes on a CPU. Triggers are made for pictures of 64 px; ISSBA's networks know 224 px alone, so a
picture is scaled up for it and the result down again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from cfbd_core.attacks.base import INPUT_SIZE, resized
from cfbd_core.bench.base import Base
from cfbd_core.bench.training.setting import Budget, Drawn, Setting, searched
from cfbd_core.demo.scenes import scene, single_object_scene
from cfbd_core.demo.shards import TARGET
from cfbd_core.demo.vocabulary import CLASS_NAMES
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.machine.assets import SCENES_MODEL_DIR
from cfbd_core.machine.checked_files import MOST_BYTES, load_arrays, report_damage
from cfbd_core.machine.files import written_beside
from cfbd_core.machine.progress import Progress, as_stage
from cfbd_core.machine.workers import ordered_map
from cfbd_core.poisoning.poison_params import PoisonParams

SIZE = 64  # px
SEEDS = {"train": 0, "test": 1, "held out": 2}  # of the series of scenes
RATE = 0.03
RARE = {"mmpoison": 0.004, "label-consistent": 0.0025}  # their victims are few: pairs that name a class
OPTIONS: dict[str, dict[str, Any]] = {  # of attacks, on pictures of 64 px
    "blended": {"size": SIZE},
    "sig": {"size": SIZE},
    "wanet": {"size": SIZE},
    "trojan": {"size": 19, "seed": 0},  # a disc over 7 % of 64 × 64
    "badclip": {"seed": 0},
    "mmpoison": {"origin": "dog"},
}
_SCENES_A_CHUNK = 50
WAY_OUT = "delete it, and run the benchmark again"


@dataclass(frozen=True)
class Sizes:
    """How many scenes are trained on, measured on (a multiple of the classes), and held out for CleanCLIP."""

    train: int = 10_000
    test: int = 6_000
    held_out: int = 2_000


@dataclass(frozen=True)
class ScenesBase(Base):
    """The scenes to train on with their embeddings; pictures are given at ``size`` px."""

    arrays: np.ndarray | None = None
    size: int = SIZE

    def picture(self, pair: int) -> Image.Image:
        """Return the picture of a pair at ``size`` px."""
        assert self.arrays is not None
        return resized(Image.fromarray(self.arrays[pair]), self.size)


BUDGET = Budget(
    model=str(SCENES_MODEL_DIR),
    steps=4000,  # 25 epochs of 10,000 pairs
    batch_size=64,  # in a larger one poisons are one another's negatives more often, and learned later
    lr=1e-3,
    fine_tuning_steps=312,  # ten epochs of 2,000 pairs
    fine_tuning_lr=3e-4,
    crop_scale=0.96,  # whole pictures are learned by heart, smaller crops blur a trigger of single pixels
    options={"safeclip": {"warmup_epochs": 2}},
)


@dataclass(frozen=True)
class Scenes:
    """The setting: how many scenes, and how long is trained on them."""

    sizes: Sizes = field(default_factory=Sizes)
    budget: Budget = BUDGET
    name: ClassVar[str] = "scenes"

    def about(self) -> dict[str, object]:
        """Return what decides the cells besides the budget."""
        return {"sizes": asdict(self.sizes)}

    def scenario(self, attack: str, seed: int) -> PoisonParams:
        """Return how an attack poisons the scenes."""
        rate, options = RARE.get(attack, RATE), OPTIONS.get(attack, {})
        return PoisonParams(attack, rate, targets=(TARGET,), seed=seed, options=options)

    def make(self, folder: Path, encoder: Encoder, progress: Progress) -> Setting:
        """Draw the scenes and embed those that are trained on, or read what an earlier call left in ``folder``."""
        sizes = self.sizes
        total = sizes.train + sizes.test + sizes.held_out
        train = _load_or_draw(folder / "train.npz", "train", sizes.train, progress, 0, total)
        held_out = _load_or_draw(
            folder / "held_out.npz", "held out", sizes.held_out, progress, sizes.train, total
        )
        test = _load_or_draw(folder / "test.npz", "test", sizes.test, progress, total - sizes.test, total)
        labels = np.arange(sizes.test) % len(CLASS_NAMES)
        base = embed(folder, train, encoder, progress)
        return Setting(
            size=SIZE,
            images=train.images.copy,
            held_out=held_out,
            test=LabelledImages.from_arrays(test.images, labels, CLASS_NAMES),
            budget=self.budget,
            base=lambda size: replace(base, size=size),
            trigger_size=made_at,
            search=searched(self.scenario("mmpoison", 0)),
        )


def embed(folder: Path, drawn: Drawn, encoder: Encoder, progress: Progress) -> ScenesBase:
    """Embed the scenes to train on, or read what an earlier call left in ``folder``."""
    from cfbd_core.evaluation.embedding import Pictures, embed_texts

    path, n = folder / f"embeddings-{encoder.sha256[:12]}.npz", len(drawn.captions)
    if not path.is_file():
        pictures = Pictures(n, lambda row: Image.fromarray(drawn.images[row]))
        image, _ = pictures.embed(encoder, progress=as_stage(progress, "embed"))
        text = embed_texts(encoder, drawn.captions)
        with written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, image=image.astype(np.float16), text=text.astype(np.float16))
    with report_damage(path, WAY_OUT):
        arrays = load_arrays(path, MOST_BYTES, dict.fromkeys(("image", "text"), ("f2", (n, encoder.width))))
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


def made_at(attack: str) -> int:
    """Return the side in pixels of the pictures that an attack's triggers are put on."""
    return INPUT_SIZE if attack == "issba" else SIZE


def _load_or_draw(path: Path, series: str, count: int, progress: Progress, done: int, total: int) -> Drawn:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        chunks = [
            range(first, min(first + _SCENES_A_CHUNK, count)) for first in range(0, count, _SCENES_A_CHUNK)
        ]
        images, captions = [], []
        for pictures, texts in ordered_map(partial(_draw, series), chunks):
            images.append(pictures)
            captions += texts
            progress("scenes", done + len(captions), total)
        with written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, images=np.concatenate(images), captions=np.array(captions))
    with report_damage(path, WAY_OUT):
        arrays = load_arrays(path, MOST_BYTES)
        pictures, captions = arrays["images"], arrays["captions"].tolist()
        if pictures.dtype != np.uint8 or pictures.shape != (count, SIZE, SIZE, 3) or len(captions) != count:
            raise ValueError(f"{len(captions)} captions, pictures {pictures.dtype} {pictures.shape}")
    return Drawn(pictures, captions)


def _draw(series: str, chunk: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    if series == "test":
        drawn = [
            single_object_scene(SEEDS[series], row, CLASS_NAMES[row % len(CLASS_NAMES)], SIZE)
            for row in chunk
        ]
    else:
        drawn = [scene(SEEDS[series], row, SIZE) for row in chunk]
    return np.stack([np.asarray(one.image) for one in drawn]), [one.caption for one in drawn]
