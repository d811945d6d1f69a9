"""Stages 4 and 5: the folder open_clip loads, and F beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from timm.layers import Mlp

from cfbd_core.embedding.mapping import Lineage, mean_targets, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from tools.mini.features import MEAN, SIDE, STD, TINY_VIT, tiny_vit
from tools.mini.ingredients import Ingredients
from tools.mini.stage import Workshop
from tools.mini.student import CONTEXT, HEADS, LAYERS, VOCABULARY, TextTower, tokens_of
from tools.mini.towers import WIDTH, LastStage

CONFIG = {
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": TINY_VIT,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "mlp",
            "timm_proj_bias": True,
            "image_size": SIDE,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": VOCABULARY,
            "width": WIDTH,
            "heads": HEADS,
            "layers": LAYERS,
        },
    },
    "preprocess_cfg": {
        "mean": [round(float(value), 3) for value in MEAN],
        "std": [round(float(value), 3) for value in STD],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}
CONFIG_NAME, WEIGHTS, MAPPING = "open_clip_config.json", "open_clip_model.safetensors", "mapping.safetensors"


def write_model(
    folder: Path, weights: Path, stage: LastStage, image_head: Mlp, tower: TextTower, scale: float
) -> str:
    """Write config and fp16 weights; returns the sha256 of the weights."""
    trunk: dict[str, Any] = {f"visual.trunk.{k}": v for k, v in tiny_vit(weights).state_dict().items()}
    trunk |= {f"visual.trunk.stages.3.blocks.{k}": v for k, v in stage.blocks.state_dict().items()}
    trunk |= {f"visual.trunk.head.{k}": v for k, v in stage.head.state_dict().items()}
    state = trunk | {f"visual.head.mlp.{k}": v for k, v in image_head.state_dict().items()}
    state |= tower.state_dict() | {"logit_scale": torch.tensor(scale).log()}
    half = {
        name: (value.half() if value.dtype.is_floating_point else value).contiguous()
        for name, value in state.items()
    }
    broken = [name for name, value in half.items() if not value.float().isfinite().all()]
    if broken:
        raise SystemExit(f"{broken[0]}: not finite in fp16")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    save_file(half, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    return _sha256(folder / WEIGHTS)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS``, which loading checks and ``sha256sum -c`` reads."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in (WEIGHTS, MAPPING, CONFIG_NAME)]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_mapping(
    shop: Workshop, folder: Path, things: Ingredients, images: torch.Tensor, tower: TextTower, sha256: str
) -> None:
    """Train F on every view of every training picture and write it beside the weights it belongs to."""
    pairs = things.pairs
    rows = np.concatenate([np.array(rows) for rows in pairs.captions])
    texts = tower.embed_all(tokens_of([things.bank.texts[row] for row in rows]))
    owner = np.repeat(np.arange(len(pairs)), [len(rows) for rows in pairs.captions])
    _, targets = mean_targets(texts.numpy(), owner)
    views = np.concatenate([f + np.arange(n) for f, n in zip(pairs.first, pairs.views, strict=True)])
    picture = np.repeat(np.arange(len(pairs)), pairs.views)
    mapping = train_mapping(
        images.numpy()[views],
        targets[picture],
        Lineage(
            "mini",
            sha256,
            "the pairs mini was trained on: Flickr8k even keys, OpenStax, ImageNet one each, scenes",
        ),
        FitParams(seed=shop.seed),
        groups=picture,
        progress=lambda _stage, done, total, note="": shop.say(f"F: epoch {done}/{total}, held-out {note}"),
    )
    mapping.save(folder / MAPPING)
    (folder / MAPPING).chmod(0o644)
