"""ISSBA's two networks: one writes a bit string into a picture, the other reads it (after StegaStamp's, smaller).

Both work on 4 × 4 blocks of pixels, so that a picture costs some milliseconds on one core. Importing this
module imports torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cfbd_core.attacks.base import INPUT_SIZE

MOST_RESIDUAL = 8 / 255  # no residual is larger, pixels in 0–1

_BLOCK = 4  # px, side of the blocks that become channels
_CELLS = INPUT_SIZE // 16  # the coarsest grid, 14 × 14, where the bits enter and leave
_BIT_CHANNELS = 8


class BitsEncoder(nn.Module):
    """A U-Net from picture and bits to a residual, which tanh keeps within ``MOST_RESIDUAL``.

    The bits become a coarse picture by a linear layer (StegaStamp) and join at the coarsest and finest scale. What
    they are written in is multiplied by a key that the picture alone gives: the same bits look different elsewhere.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        fine, middle, coarse = 32, 48, 64
        pixels = 3 * _BLOCK**2
        self.spread = nn.Linear(bits, _BIT_CHANNELS * _CELLS**2)
        self.enter = _convolution(pixels + _BIT_CHANNELS, fine)
        self.down = _convolution(fine, middle, stride=2)
        self.further_down = _convolution(middle, coarse, stride=2)
        self.bottom = _convolution(coarse + _BIT_CHANNELS, coarse)
        self.up = _convolution(coarse + middle, middle)
        self.further_up = _convolution(middle + fine, fine)
        self.key = _Key(pixels, fine)
        self.leave = nn.Conv2d(fine, pixels, 3, padding=1)

    def forward(self, pictures: Tensor, bits: Tensor) -> Tensor:
        """Pictures (n, 3, 224, 224) in 0–1 and bits (n, bits) in {0, 1} to residuals of the pictures' shape."""
        message = self.spread(2 * bits - 1).unflatten(1, (_BIT_CHANNELS, _CELLS, _CELLS))
        blocks = functional.pixel_unshuffle(2 * pictures - 1, _BLOCK)
        fine = self.enter(torch.cat([blocks, functional.interpolate(message, scale_factor=4)], 1))
        middle = self.down(fine)
        coarse = self.bottom(torch.cat([self.further_down(middle), message], 1))
        middle = self.up(torch.cat([functional.interpolate(coarse, scale_factor=2), middle], 1))
        fine = self.further_up(torch.cat([functional.interpolate(middle, scale_factor=2), fine], 1))
        fine = fine * self.key(blocks)
        return MOST_RESIDUAL * torch.tanh(functional.pixel_shuffle(self.leave(fine), _BLOCK))


class BitsDecoder(nn.Module):
    """Strided convolutions from a picture to one logit a bit; it finds a key in the picture as the encoder does."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        pixels = 3 * _BLOCK**2
        self.enter = _convolution(pixels, 48)
        self.key = _Key(pixels, 48)
        self.down = nn.Sequential(
            _convolution(48, 64, stride=2),
            _convolution(64, 96, stride=2),
            _convolution(96, 64),
            nn.Conv2d(64, 16, 1),
            nn.Flatten(),
        )
        self.read = nn.Linear(16 * _CELLS**2, bits)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, 224, 224) in 0–1 to logits (n, bits); a bit is 1 where its logit is above 0."""
        blocks = functional.pixel_unshuffle(2 * pictures - 1, _BLOCK)
        logits: Tensor = self.read(self.down(self.enter(blocks) * self.key(blocks)))
        return logits


class BitsNetworks(nn.Module):
    """Both networks for ``bits`` bits, as they are trained and shipped together."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.encoder = BitsEncoder(bits)
        self.decoder = BitsDecoder(bits)


class _Key(nn.Module):
    """What the picture itself multiplies features with: of either sign, and 1 before it is trained."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.inner = _convolution(channels, 24)
        self.outer = nn.Conv2d(24, out, 3, padding=1)
        nn.init.zeros_(self.outer.weight)
        nn.init.ones_(self.outer.bias)  # type: ignore[arg-type]

    def forward(self, blocks: Tensor) -> Tensor:
        """Blocks (n, channels, h, w) to factors (n, out, h, w)."""
        factors: Tensor = self.outer(self.inner(blocks))
        return factors


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.GroupNorm(4, out), nn.ReLU()
    )
