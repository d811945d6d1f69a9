"""Stage 3: the text tower and the picture head are aligned contrastively, the teacher still pulling.

The picture features are fixed by now. Beside CLIP's loss on the pairs, the pairs' captions and a
share of the broad mix stay near the teacher's joint space: what the pairs do not speak of is kept.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tools.mini.council import Council
from tools.mini.pairs import Pairs
from tools.mini.stage import Progress, Workshop, save
from tools.mini.student import TextTower, tokens_of
from tools.mini.teacher import cosine_rate
from tools.mini.towers import Average, JointHeads, contrastive


@dataclass(frozen=True)
class AlignSettings:
    """How the two towers are aligned."""

    epochs: int = 8
    batch: int = 512
    broad: int = 192  # texts of the whole mix beside each batch
    text_rate: float = 4e-4
    head_rate: float = 3e-4
    decay: float = 0.05
    pull: float = 2.0  # weight of the teacher's places beside the contrastive loss
    council: float = 2.0  # weight of agreeing with the council
    largest_scale: float = 50.0


def train_alignment(
    shop: Workshop,
    settings: AlignSettings,
    pairs: Pairs,
    corpus: list[str],
    features: torch.Tensor,
    joint: torch.Tensor,
    council: Council,
    tower: TextTower,
    heads: JointHeads,
    checkpoint: Path,
    watch: Any = None,
) -> dict[str, dict[str, torch.Tensor]]:
    """Averaged weights of the text ``tower`` and of ``heads``.

    ``corpus`` are the texts that ``pairs`` point into,
    ``joint`` (n, 256) the teacher's places of them.
    """
    torch.manual_seed(shop.seed)
    rng = np.random.default_rng(shop.seed + 2)
    device, tokens = shop.device, tokens_of(corpus)
    both = nn.ModuleDict({"tower": copy.deepcopy(tower), "heads": copy.deepcopy(heads)}).to(device).train()
    tower, heads = both["tower"], both["heads"]
    both.requires_grad_(True)
    heads.text.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [
            {"params": tower.parameters(), "full": settings.text_rate},
            {"params": [*heads.image.parameters(), heads.log_scale], "full": settings.head_rate},
        ],
        weight_decay=settings.decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    average = Average(both, 0.98)
    steps = settings.epochs * max(1, round(pairs.draws.sum() / settings.batch))
    step = first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        both.load_state_dict(state["both"])
        average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, step = state["epoch"], state["step"]
        average.steps = step
    progress = Progress(shop, f"alignment {asdict(settings)}", steps, step)
    for epoch in range(settings.epochs):
        for views, captions in pairs.batches(rng, settings.batch):
            broad = torch.from_numpy(rng.integers(0, len(tokens), settings.broad))
            if epoch < first:
                continue
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * cosine_rate(min(step, steps), steps + 1, 50)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                # Two passes: a definition is three times as long as a caption.
                states = torch.cat([tower(tokens[rows].to(device)).float() for rows in (captions, broad)])
            texts = functional.normalize(states @ tower.text_projection, dim=-1)
            images = heads.embed_images(features[views].to(device))
            wanted = joint[torch.cat([captions, broad])].to(device)
            scale = heads.log_scale.exp().clamp(max=settings.largest_scale)
            # The council judges the broad texts too: what a picture is not is learnt from words without pictures.
            split = council.disagreement(views, torch.cat([captions, broad]), scale * images @ texts.T, scale)
            loss = contrastive(images, texts[: len(captions)], scale) + settings.council * split
            loss = loss + settings.pull * (1 - (texts * wanted).sum(1).mean())
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
                shown = copy.deepcopy(average.module).cpu().eval()
                watch(shown["tower"], shown["heads"])
    return {name: average.module[name].cpu().state_dict() for name in ("tower", "heads")}
