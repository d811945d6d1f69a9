"""A tiny CLIP from scratch and toy pairs for it, so that a run takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cfbd_core.training.config import TrainParams
from cfbd_core.training.sets import TrainingSet
from tests.toy import COLOURS, toy_caption, toy_picture

SIZE = 16


def tiny_folder(folder: Path, tower: str = "vit", **text: float) -> str:
    """Write an open_clip folder without weights, 16 wide, for pictures of 16 px; returns the specification."""
    vision = {"image_size": SIZE, "width": 32, "head_width": 16, "patch_size": 8, "layers": 1}
    if tower == "resnet":
        vision = {"image_size": 32, "width": 8, "layers": [1, 1, 1, 1]}
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": 12,
                "vocab_size": 49408,
                "width": 16,
                "heads": 2,
                "layers": 1,
                **text,
            },
        },
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "resize_mode": "squash"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def toy_set(n: int = 40, seed: int = 0) -> TrainingSet:
    """Pictures of one colour with captions that name it, as arrays."""
    rng = np.random.default_rng(seed)
    colours = [list(COLOURS)[i % len(COLOURS)] for i in range(n)]
    images = np.stack([np.asarray(toy_picture(colour, rng)) for colour in colours])
    return TrainingSet.from_arrays(images, [toy_caption(colour, rng) for colour in colours])


def tiny_params(model: str, **others: object) -> TrainParams:
    """Two epochs of steps of eight, on one CPU thread."""
    chosen: dict[str, object] = {
        "model": model,
        "epochs": 2,
        "batch_size": 8,
        "lr": 1e-3,
        "log_every": 2,
        "device": "cpu",
        "workers": 2,
    }
    return TrainParams(**chosen | others)
