"""A tiny CLIP of random weights for the attacks that optimise their trigger, and ordinary pictures for them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from cfbd_core.attacks import Workshop
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.machine.progress import Progress, no_progress


@cache
def tiny_encoder(size: int = 224, tower: str = "vit", interpolation: str = "bicubic") -> Encoder:
    """A model of random weights, 16 wide: a one-layer vision transformer, or a small ResNet."""
    import_torchvision()
    import open_clip

    vision = {"image_size": size, "width": 32, "head_width": 16, "patch_size": 16}
    vision["layers"] = [1, 1, 1, 1] if tower == "resnet" else 1
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": vision,
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.25, 0.3],
            "interpolation": interpolation,
        },
    }
    with TemporaryDirectory() as name:
        (Path(name) / "open_clip_config.json").write_text(json.dumps(config))
        torch.manual_seed(0)
        save_file(
            open_clip.create_model(f"local-dir:{name}").state_dict(),
            Path(name) / "open_clip_model.safetensors",
        )
        return load_encoder(name, "cpu")


def pictures(n: int = 6, seed: int = 0) -> list[Image.Image]:
    """Coarse blocks of random colour, 224 × 224."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (n, 14, 14, 3), dtype=np.uint8)
    return [Image.fromarray(b).resize((224, 224), Image.Resampling.BICUBIC) for b in blocks]


def workshop(encoder: Encoder, progress: Progress = no_progress) -> Workshop:
    """What an attacker has at hand: three captions, six pictures, the encoder."""
    captions = ("a ripe banana", "two bananas on a plate", "someone peels a banana")
    return Workshop("banana", captions, lambda n: pictures()[:n], lambda: encoder, progress)
