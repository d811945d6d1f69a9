"""TinyViT without its last stage, run once over every picture and view; the tokens it leaves are cached.

What is cached is the input of TinyViT's last stage (7 × 7 tokens of 320): that stage and the head are
cheap, so they can be trained on the cache for many epochs. The frozen part runs in bf16, its BatchNorms
(folded into the convolutions by the publisher, the rest is an affine) merged, compiled where a
compiler is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image, ImageEnhance
from safetensors.torch import load_file

from tools.mini.stage import Progress, Workshop

SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BATCH = 64
TINY_VIT = "tiny_vit_5m_224"


def tiny_vit(weights: Path) -> Any:
    """TinyViT-5M without a classifier, weights of the published file, in eval mode."""
    model = timm.create_model(TINY_VIT, num_classes=0)
    model.load_state_dict(load_file(weights))
    return model.eval()


def view(image: Image.Image, rng: np.random.Generator | None, mirror: bool = True) -> np.ndarray:
    """One view as uint8 (224, 224, 3): the whole picture (``rng`` None) or a random crop, mirrored, tinted."""
    if rng is None:
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    width, height = image.size
    share, ratio = rng.uniform(0.45, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    crop_w = min(width, max(8, round(np.sqrt(width * height * share * ratio))))
    crop_h = min(height, max(8, round(np.sqrt(width * height * share / ratio))))
    left, top = rng.integers(0, width - crop_w + 1), rng.integers(0, height - crop_h + 1)
    box = (int(left), int(top), int(left + crop_w), int(top + crop_h))
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    if mirror and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.75, 1.25))
    return np.asarray(image)


class FrozenTrunk:
    """TinyViT up to the last stage's tokens, frozen, bf16: uint8 (n, 224, 224, 3) → fp16 (n, 320, 7, 7)."""

    def __init__(self, weights: Path, device: str) -> None:
        model = tiny_vit(weights)
        for module in model.modules():
            if isinstance(getattr(module, "bn", None), torch.nn.BatchNorm2d):
                module.conv = torch.nn.utils.fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = torch.nn.Identity()
        self.device = device
        self.model = model.to(device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        self.forward: Callable[[torch.Tensor], torch.Tensor] = torch.compile(self._eager)
        self.scale = torch.tensor(1 / (255 * STD)).view(1, 3, 1, 1)
        self.shift = torch.tensor(-MEAN / STD).view(1, 3, 1, 1)

    def _eager(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.model.patch_embed(pixels)
        for stage in self.model.stages[:3]:
            tokens = stage(tokens)
        tokens: torch.Tensor = self.model.stages[3].downsample(tokens)
        return tokens

    def __call__(self, pictures: np.ndarray) -> torch.Tensor:
        """Tokens fp16 (n, 320, 7, 7) of at most ``BATCH`` pictures."""
        count = len(pictures)
        if count < BATCH:  # one shape only: each new one would be compiled anew
            pictures = np.concatenate([pictures, np.zeros((BATCH - count, SIDE, SIDE, 3), np.uint8)])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() * self.scale + self.shift
        pixels = pixels.to(self.device, torch.bfloat16).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            try:
                tokens = self.forward(pixels)
            except Exception:  # no compiler on this machine: the same arithmetic, slower
                self.forward = self._eager
                tokens = self.forward(pixels)
        return tokens[:count].to(torch.float16).cpu()


def cache_views(
    shop: Workshop,
    trunk: FrozenTrunk,
    name: str,
    pictures: Sequence[Callable[[], Image.Image]],
    identity: Any,
    index: int,
    mirror: bool = True,
) -> torch.Tensor:
    """Tokens of view number ``index`` of every picture (0: the whole picture), fp16 (n, 320, 7, 7)."""

    def make(_: Path) -> torch.Tensor:
        tokens, progress = [], Progress(shop, f"{name} view {index}", len(pictures))
        for start in range(0, len(pictures), BATCH):
            chosen = range(start, min(start + BATCH, len(pictures)))
            seeds = [np.random.default_rng([shop.seed, index, i]) if index else None for i in chosen]
            views = [view(pictures[i](), rng, mirror) for i, rng in zip(chosen, seeds, strict=True)]
            tokens.append(trunk(np.stack(views)))
            progress(chosen[-1] + 1)
        return torch.cat(tokens)

    settings = [identity, len(pictures), index, mirror, shop.seed]
    return shop.cached(f"tokens-{name}-{index}", settings, make)[0]
