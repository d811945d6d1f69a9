"""The network behind F and its training loop: a residual MLP on image embeddings (METHOD §1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

HELD_OUT = 0.1
BATCH = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
DROPOUT = 0.4
LOGIT_SCALE = 10.0  # of the InfoNCE term: softer than CLIP's 100, since F predicts a mean
CONTRAST = 0.05  # weight of InfoNCE beside 1 − cos: more costs cosine, none costs AUROC of c
PATIENCE = 6
DUPLICATE = 0.999  # cosine from which two targets are one caption, no negatives of each other
CHUNK = 4096

Progress = Callable[[int, int, float], None]


def fit_network(
    image: np.ndarray,
    target: np.ndarray,
    groups: np.ndarray,
    rows: np.ndarray,
    seed: int,
    epochs: int,
    device: str,
    progress: Progress | None,
) -> tuple[torch.nn.Sequential, float]:
    """Train one network on ``rows``; returns it (on the CPU, fp16-exact) and its held-out cosine."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.unique(groups[rows]))
    held = np.isin(groups[rows], ids[: max(1, round(HELD_OUT * len(ids)))])
    train_rows, held_rows = rows[~held], rows[held]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(image.shape[1]).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = max(1, round(len(train_rows) / BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)

    def take(array: np.ndarray, at: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array[at], np.float32)).to(device)

    best, best_cosine, best_epoch = _half_state(network), -2.0, 0
    with torch.random.fork_rng(devices=None if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            network.train()
            for batch in np.array_split(rng.permutation(train_rows), batches):
                batch = np.sort(batch)  # noqa: PLW2901 - a memory map is read in order
                labels = torch.from_numpy(groups[batch]).to(device)
                loss = _loss(forward(network, take(image, batch), grad=True), take(target, batch), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            cosine = _held_out_cosine(network, take, image, target, held_rows)
            if cosine > best_cosine:
                best, best_cosine, best_epoch = _half_state(network), cosine, epoch
            if progress:
                progress(epoch, epochs, cosine)
            if epoch - best_epoch >= PATIENCE:
                break
    network.load_state_dict(best)
    network = network.cpu().eval()
    device = "cpu"
    return network, _held_out_cosine(network, take, image, target, held_rows)


def new_network(width: int) -> torch.nn.Sequential:
    """The residual branch d → 4d → d; its last layer starts at zero, so that F starts as the identity."""
    last = torch.nn.Linear(4 * width, width)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(
        torch.nn.LayerNorm(width),
        torch.nn.Linear(width, 4 * width),
        torch.nn.GELU(),
        torch.nn.Dropout(DROPOUT),
        last,
    )


def forward(network: torch.nn.Sequential, image: torch.Tensor, grad: bool = False) -> torch.Tensor:
    """F(image): unit-length (n, d); gradients are kept when ``grad``."""
    with torch.set_grad_enabled(grad):
        return functional.normalize(image + network(image), dim=-1)


def _loss(predicted: torch.Tensor, target: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(1 − cos) + InfoNCE; another view of the image or the same caption is no negative."""
    with torch.no_grad():
        same = (labels[:, None] == labels) | (target @ target.T > DUPLICATE)
        same.fill_diagonal_(False)
    logits = (LOGIT_SCALE * predicted @ target.T).masked_fill(same, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    contrast = functional.cross_entropy(logits, own)
    return (1 - (predicted * target).sum(1)).mean() + CONTRAST * contrast


def _held_out_cosine(
    network: torch.nn.Sequential,
    take: Callable[[np.ndarray, np.ndarray], torch.Tensor],
    image: np.ndarray,
    target: np.ndarray,
    rows: np.ndarray,
) -> float:
    network.eval()
    total = 0.0
    for chunk in np.array_split(rows, -(-len(rows) // CHUNK)):
        total += float((forward(network, take(image, chunk)) * take(target, chunk)).sum())
    return total / len(rows)


def _half_state(network: torch.nn.Sequential) -> dict[str, Any]:
    """A copy of the weights rounded to fp16, so that the file holds exactly what was measured."""
    return {name: value.detach().half().float() for name, value in network.state_dict().items()}
