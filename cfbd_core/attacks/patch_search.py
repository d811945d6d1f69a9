"""Gradient search for a patch: a differentiable transform, the pasted patch, and the loop (needs torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from cfbd_core.attacks.base import INPUT_SIZE
from cfbd_core.attacks.saved_search import SavedSearch
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.errors import EncoderError
from cfbd_core.machine.progress import Progress

GREY_LEVEL = 1 / 255
EMBED_BATCH = 32

Loss = Callable[[torch.Tensor, np.ndarray], torch.Tensor]


class PixelTransform:
    """An encoder's own transform for square pictures of ``side`` pixels, differentiable in their pixels.

    Takes floats (n, 3, side, side) in 0..1 and returns what ``encoder.transform`` returns for the same
    pictures: equal where nothing is resized, else to the level that Pillow's rounding can move.
    Square pictures need no crop, so open_clip's three ways to resize are one. Raises EncoderError where the
    encoder's transform does something else.
    """

    def __init__(self, encoder: Encoder, side: int = INPUT_SIZE) -> None:
        config = encoder.model.visual.preprocess_cfg
        size = config["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size[-2:])
        self.interpolation = (
            "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        )  # open_clip's rule
        self.mean = torch.tensor(config["mean"], device=encoder.device).view(1, 3, 1, 1)
        self.std = torch.tensor(config["std"], device=encoder.device).view(1, 3, 1, 1)
        self._compare(encoder, side)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resize and normalise a batch (n, 3, side, side) of 0..1; returns (n, 3, H, W)."""
        height, width = self.size
        for size in ((pixels.shape[-2], width), (height, width)):  # Pillow's order, each pass clipped
            if pixels.shape[-2:] != size:
                pixels = functional.interpolate(
                    pixels, size, mode=self.interpolation, antialias=True, align_corners=False
                ).clamp(0, 1)
        normal: torch.Tensor = (pixels - self.mean) / self.std
        return normal.contiguous(memory_format=torch.channels_last)

    def _compare(self, encoder: Encoder, side: int) -> None:
        """Try it on noise over a slope."""
        slope = np.linspace(0, 155, side)[:, None, None]
        noise = np.random.default_rng(0).integers(0, 100, (side, side, 3))
        picture = (slope + noise).astype(np.uint8)
        theirs = encoder.transform(Image.fromarray(picture)).to(encoder.device)
        if theirs.shape[-2:] == self.size:
            ours = self(as_pixels(picture[None], encoder.device))[0]
            levels = 0 if self.size == (side, side) else 1.5
            if (ours - theirs).abs().max() <= max(1e-4, levels * GREY_LEVEL / float(self.std.min())):
                return
        raise EncoderError(
            f"encoder {encoder.id}: its transform is not a plain resize and normalisation, "
            "so no patch can be optimised through it; choose another encoder"
        )


def as_pixels(pictures: np.ndarray, device: str) -> torch.Tensor:
    """Pictures uint8 (n, h, w, 3) as floats (n, 3, h, w) in 0..1."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255


class Patch:
    """A square patch of floats (3, s, s) in 0..1 under a mask, at one place of every picture."""

    def __init__(self, start: np.ndarray, mask: np.ndarray, left_top: tuple[int, int], device: str) -> None:
        self.values = as_pixels(start[None], device)[0].contiguous().requires_grad_()
        self.mask = torch.from_numpy(mask).to(device)
        self.left, self.top = left_top

    def over(self, pixels: torch.Tensor) -> torch.Tensor:
        """Lay the patch over copies of pictures (n, 3, h, w)."""
        side = self.values.shape[-1]
        rows, columns = slice(self.top, self.top + side), slice(self.left, self.left + side)
        patched = pixels.clone()
        patched[:, :, rows, columns] = torch.where(self.mask, self.values, pixels[:, :, rows, columns])
        return patched

    def pattern(self) -> np.ndarray:
        """Return the patch in whole levels, uint8 (s, s, 3)."""
        levels: np.ndarray = (
            (self.values.detach() * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        )
        return levels


@dataclass(frozen=True)
class Search:
    """How a patch is searched: so many steps of Adam, on so many pictures each, drawn by the seed.

    ``progress`` counts the steps ("trigger"). The search is kept in ``search_file`` once a minute, and goes on from
    there; ``rng`` is what the loss draws from.
    """

    steps: int
    learning_rate: float
    batch: int
    seed: int
    progress: Progress
    rng: np.random.Generator | None = None
    search_file: Path | None = None


def optimise(encoder: Encoder, pictures: np.ndarray, patch: Patch, loss: Loss, search: Search) -> np.ndarray:
    """Move ``patch`` down the loss by Adam, kept within 0..1; returns the loss of each step, float32 (steps,).

    ``loss(images, rows)`` judges transformed patched pictures; ``rows`` says which of ``pictures`` uint8
    (N, side, side, 3) they are. Batches are drawn without repetition until all were seen, then anew.
    Only the patch has a gradient: the encoder's weights stay as they are.
    """
    transform = PixelTransform(encoder, pictures.shape[1])
    adam = torch.optim.Adam([patch.values], lr=search.learning_rate)
    steps = search.steps
    curve = np.zeros(steps, np.float32)
    saved_search = SavedSearch(search.search_file, patch.values, adam, curve, search.rng)
    done = saved_search.restore()
    with frozen(encoder.model):
        batches = islice(_batches(len(pictures), search.batch, steps, search.seed), done, None)
        for step, rows in enumerate(batches, start=done):
            shown = transform(patch.over(as_pixels(pictures[rows], encoder.device)))
            value = loss(shown, rows)
            adam.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            adam.step()
            with torch.no_grad():
                patch.values.clamp_(0, 1)
            curve[step] = value.item()
            saved_search.keep(step + 1)
            search.progress("trigger", step + 1, steps)
    return curve


def in_batches(
    encoder: Encoder, pictures: np.ndarray, forward: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    """Apply ``forward`` to pixels (b, 3, h, w) in 0..1 of pictures uint8 (n, h, w, 3); returns float32 (n, k)."""
    with torch.no_grad():
        parts = [
            forward(as_pixels(pictures[first : first + EMBED_BATCH], encoder.device)).float().cpu().numpy()
            for first in range(0, len(pictures), EMBED_BATCH)
        ]
    return np.concatenate(parts)


def embedded(encoder: Encoder, pictures: np.ndarray) -> np.ndarray:
    """Unit embeddings float32 (n, d) of pictures uint8 (n, side, side, 3)."""
    transform = PixelTransform(encoder, pictures.shape[1])
    return in_batches(
        encoder,
        pictures,
        lambda pixels: functional.normalize(encoder.model.encode_image(transform(pixels)), dim=-1),
    )


def mean_direction(encoder: Encoder, captions: Sequence[str]) -> np.ndarray:
    """Return the unit mean float32 (d,) of the captions' embeddings."""
    mean = encoder.encode_texts(captions).mean(0)
    direction: np.ndarray = mean / np.linalg.norm(mean)
    return direction


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Keep gradients away from the weights: half of the backward pass is saved."""
    before = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        for weight, _ in before:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, needed in before:
            weight.requires_grad_(needed)


def _batches(n: int, batch: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    left = np.zeros(0, np.int64)
    for _ in range(steps):
        if len(left) < min(batch, n):
            left = rng.permutation(n)
        rows, left = left[:batch], left[batch:]
        yield rows
