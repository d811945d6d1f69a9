"""Stage 1, the teacher: heads on frozen TinyViT features and frozen sentence embeddings, one joint space."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch

from tools.mini.pairs import Pairs
from tools.mini.stage import Progress, Workshop
from tools.mini.towers import Average, JointHeads, contrastive


@dataclass(frozen=True)
class TeacherSettings:
    """How the heads are trained."""

    epochs: int = 60
    batch: int = 512
    rate: float = 2e-3
    decay: float = 0.1
    drop: float = 0.4
    largest_scale: float = 50.0


def cosine_rate(step: int, steps: int, warm: int) -> float:
    """Share of the full learning rate: a linear start, then half a cosine."""
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_teacher(
    shop: Workshop, settings: TeacherSettings, pairs: Pairs, features: torch.Tensor, sentences: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Weights of :class:`JointHeads` (their moving average)."""
    torch.manual_seed(shop.seed)
    rng = np.random.default_rng(shop.seed)
    heads = JointHeads(drop=settings.drop).to(shop.device).train()
    optimizer = torch.optim.AdamW(heads.parameters(), lr=settings.rate, weight_decay=settings.decay)
    average = Average(heads, 0.99)
    progress = Progress(shop, f"teacher {asdict(settings)}", settings.epochs)
    steps = settings.epochs * max(1, round(pairs.draws.sum() / settings.batch))
    step = 0
    for epoch in range(settings.epochs):
        for views, captions in pairs.batches(rng, settings.batch):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * cosine_rate(min(step, steps), steps + 1, 50)
            images = heads.embed_images(features[views].to(shop.device))
            texts = heads.embed_texts(sentences[captions].to(shop.device))
            loss = contrastive(images, texts, heads.log_scale.exp().clamp(max=settings.largest_scale))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(heads)
            step += 1
        progress(epoch + 1, f"loss {loss.item():.3f}")
    return average.module.cpu().state_dict()
