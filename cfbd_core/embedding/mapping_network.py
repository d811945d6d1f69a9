"""The network behind F and its training loop: a residual MLP on image embeddings (docs/METHOD.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

HELD_OUT_SHARE = 0.1
BATCH = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
DROPOUT = 0.4
LOGIT_SCALE = 10.0  # of the InfoNCE term: softer than CLIP's 100, since F predicts a mean
CONTRAST = 0.05  # weight of InfoNCE beside 1 − cos: more costs cosine, none costs AUROC of c
PATIENCE_EPOCHS = 6
EPOCHS, STEPS = 40, 3500  # the schedule's length is the shorter one: more images need fewer epochs
DUPLICATE_COSINE = 0.999  # cosine from which two targets are one caption, no negatives of each other
CHUNK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Views:
    """What F learns from: views of images (n, d), their targets (n, d), the image id of each, int64 (n,)."""

    image: np.ndarray
    target: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class FitParams:
    """How F is trained: in how many folds, from which seed, for how many epochs (None: by the number of views), where.

    More than one fold cross-fits, for a mapping that is trained on the very data under audit: so no pair is judged by
    a network that learnt its caption.
    """

    folds: int = 1
    seed: int = 0
    epochs: int | None = None
    device: str = "cpu"


def fit_network(
    network: torch.nn.Sequential,
    views: Views,
    rows: np.ndarray,
    params: FitParams,
    on_epoch: Callable[[int, float], None],
) -> tuple[torch.nn.Sequential, float]:
    """Train a :func:`new_network` on ``rows``; returns it (on the CPU, fp16-exact) and its held-out cosine.

    ``on_epoch(epoch, cosine)`` is called after each epoch. What is random is drawn from ``params.seed`` alone, so
    networks may be trained in threads side by side.
    """
    image, target, groups = views.image, views.target, views.groups
    device = params.device
    epochs = schedule_epochs(len(rows)) if params.epochs is None else params.epochs
    rng = np.random.default_rng(params.seed)
    ids = rng.permutation(np.unique(groups[rows]))
    is_held_out = np.isin(groups[rows], ids[: max(1, round(HELD_OUT_SHARE * len(ids)))])
    train_rows, rows_held_out = rows[~is_held_out], rows[is_held_out]

    network = network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    batches = max(1, round(len(train_rows) / BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)

    def take(array: np.ndarray, at: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array[at], np.float32)).to(device)

    best, best_cosine, best_epoch = _half_state(network), -2.0, 0
    for epoch in range(1, epochs + 1):
        for batch in np.array_split(rng.permutation(train_rows), batches):
            batch = np.sort(batch)  # noqa: PLW2901 - a memory map is read in order
            labels = torch.from_numpy(groups[batch]).to(device)
            dropout = torch.from_numpy(_dropout(rng, len(batch), 4 * image.shape[1])).to(device)
            loss = _loss(_predict(network, take(image, batch), dropout), take(target, batch), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        cosine = _held_out_cosine(network, take, image, target, rows_held_out)
        if cosine > best_cosine:
            best, best_cosine, best_epoch = _half_state(network), cosine, epoch
        on_epoch(epoch, cosine)
        if epoch - best_epoch >= PATIENCE_EPOCHS:
            break
    network.load_state_dict(best)
    network = network.cpu().eval()
    device = "cpu"
    return network, _held_out_cosine(network, take, image, target, rows_held_out)


def schedule_epochs(images: int) -> int:
    """Return how many epochs the schedule of a network that is trained on ``images`` rows has."""
    return max(1, min(EPOCHS, round(STEPS * BATCH / images)))


def new_network(width: int, seed: int | None = None) -> torch.nn.Sequential:
    """Return the residual branch d → 4d → d; its last layer starts at zero, so that F starts as the identity."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
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


def forward(network: torch.nn.Sequential, image: torch.Tensor) -> torch.Tensor:
    """F(image): unit-length (n, d), without gradients and dropout."""
    with torch.no_grad():
        return _predict(network, image)


@contextmanager
def single_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, in each of which torch computes alone.

    Whole networks and shards side by side need not wait for each other; the threads in which torch would
    share out every product do, which costs most of the time where other programs use the cores, too.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _predict(
    network: torch.nn.Sequential, image: torch.Tensor, dropout: torch.Tensor | None = None
) -> torch.Tensor:
    """F(image); ``dropout`` (n, 4d) says which hidden values dropout leaves, None: all."""
    norm, widen, activate, _, narrow = network
    hidden = activate(_linear(widen, norm(image)))
    if dropout is not None:
        hidden = hidden * (dropout / (1 - DROPOUT))
    return functional.normalize(image + _linear(narrow, hidden), dim=-1)


def _linear(layer: Any, rows: torch.Tensor) -> torch.Tensor:
    """``layer(rows)``; on a CPU by oneDNN, twice as fast there as torch's first choice on some machines."""
    has_one_dnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or not has_one_dnn:
        plain: torch.Tensor = layer(rows)
        return plain
    return functional.linear(rows.to_mkldnn(), layer.weight, layer.bias).to_dense()


def _dropout(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Return which values dropout leaves, bool (rows, width)."""
    return rng.random((rows, width), dtype=np.float32) >= DROPOUT


def _loss(predicted: torch.Tensor, target: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(1 − cos) + InfoNCE; another view of the image or the same caption is no negative."""
    with torch.no_grad():
        same = (labels[:, None] == labels) | (target @ target.T > DUPLICATE_COSINE)
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
    total = 0.0
    for chunk in np.array_split(rows, -(-len(rows) // CHUNK_ROWS)):
        total += float((forward(network, take(image, chunk)) * take(target, chunk)).sum())
    return total / len(rows)


def _half_state(network: torch.nn.Sequential) -> dict[str, Any]:
    """Return a copy of the weights rounded to fp16, so that the file holds exactly what was measured."""
    return {name: value.detach().half().float() for name, value in network.state_dict().items()}
