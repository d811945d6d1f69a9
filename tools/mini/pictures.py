"""Stage 2b, the picture side: TinyViT's last stage and the heads, fine-tuned on the cached tokens."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tools.mini.pairs import Pairs
from tools.mini.stage import Progress, Workshop, compiled_or_not, save
from tools.mini.teacher import cosine_rate
from tools.mini.towers import Average, JointHeads, LastStage, contrastive


@dataclass(frozen=True)
class PictureSettings:
    """How the picture side is fine-tuned; the text head moves slowly, for the text tower learns from it."""

    epochs: int = 6
    batch: int = 320
    stage_rate: float = 2e-4
    head_rate: float = 3e-4
    text_rate: float = 1e-4
    decay: float = 0.1
    largest_scale: float = 50.0


def train_pictures(
    shop: Workshop,
    settings: PictureSettings,
    pairs: Pairs,
    tokens: torch.Tensor,
    sentences: torch.Tensor,
    stage: LastStage,
    heads: JointHeads,
    checkpoint: Path,
    watch: Any = None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Averaged weights of the last stage and of the heads. ``watch(stage, heads)`` is told after an epoch."""
    torch.manual_seed(shop.seed)
    rng = np.random.default_rng(shop.seed + 1)
    device = shop.device
    both = nn.ModuleList([copy.deepcopy(stage), copy.deepcopy(heads)]).to(device).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": both[0].parameters(), "full": settings.stage_rate},
            {"params": both[1].image.parameters(), "full": settings.head_rate},
            {"params": both[1].text.parameters(), "full": settings.text_rate},
            {"params": [both[1].log_scale], "full": settings.text_rate},
        ],
        weight_decay=settings.decay,
        fused=True,
    )
    average = Average(both, 0.99)
    per_epoch = max(1, round(pairs.draws.sum() / settings.batch))
    step, steps, first = 0, settings.epochs * per_epoch, 0
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        both.load_state_dict(state["both"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, step = state["epoch"], state["step"]
        average.steps = step
    forward = compiled_or_not(both[0])
    progress = Progress(shop, f"pictures {asdict(settings)}", steps, step)
    for epoch in range(settings.epochs):
        for views, captions in pairs.batches(rng, settings.batch):
            if epoch < first:
                continue
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * cosine_rate(min(step, steps), steps + 1, 50)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                features = forward(tokens[views].to(device).bfloat16())
            images = both[1].embed_images(features.float())
            texts = both[1].embed_texts(sentences[captions].to(device))
            loss = contrastive(images, texts, both[1].log_scale.exp().clamp(max=settings.largest_scale))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(both)
            step += 1
            progress(min(step, steps), f"loss {loss.item():.3f}")
        if epoch >= first:
            state = {"both": both.state_dict(), "average": average.module.state_dict(), "step": step}
            save(state | {"optimizer": optimizer.state_dict(), "epoch": epoch + 1}, checkpoint)
            if watch:
                shown = copy.deepcopy(average.module).cpu().train().eval()
                watch(shown[0], shown[1])
    return average.module[0].cpu().state_dict(), average.module[1].cpu().state_dict()
