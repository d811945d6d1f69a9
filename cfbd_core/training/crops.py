"""Training crops: where they are cut, as a function of (seed, epoch, row), and how a device cuts a whole batch of them.

:func:`cut` is PIL's ``resize(box=…)`` with the bicubic filter, a = −0.5 (Keys, IEEE TASSP 29, 1981), as two matrix
products a picture, columns first, each rounded to whole grey levels as PIL's 8-bit passes are (Pillow's
``Resample.c``). A crop is never larger than its square, so it is magnified alone and no filter is widened.
"""

from __future__ import annotations

import numpy as np
import torch

ASPECT = 4 / 3


def crop_boxes(rows: np.ndarray, epoch: int, seed: int, size: int, scale: float) -> np.ndarray:
    """Left, top, right, bottom in pixels of a square of ``size``, int64 (n, 4), for each row.

    The area is uniform in [``scale``, 1], the aspect log-uniform among those within 3:4 and 4:3 that fit.
    """
    draws = _uniform(rows, epoch, seed, 4)
    area = scale + (1 - scale) * draws[:, 0]
    widest = np.minimum(np.log(ASPECT), -np.log(area))
    aspect = np.exp((2 * draws[:, 1] - 1) * widest)
    sides = [np.clip(np.rint(size * np.sqrt(side)), 1, size) for side in (area * aspect, area / aspect)]
    starts = [np.floor(draws[:, 2 + i] * (size - sides[i] + 1)) for i in (0, 1)]
    return np.stack([*starts, starts[0] + sides[0], starts[1] + sides[1]], axis=1).astype(np.int64)


def cut(squares: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Crop uint8 (n, S, S, 3) to ``boxes`` int64 (n, 4) and magnify to the whole square again, uint8 (n, S, S, 3).

    Both on one device. Within one grey level of PIL, where rounding is a near tie (two where the process has switched
    TF32 on); a box of the whole square gives the square.
    """
    pictures, size = len(squares), squares.shape[1]
    across, down = _weights(boxes, size).unbind(1)
    # A column, all its rows and channels, is a row of the first product's right side.
    columns = squares.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    wide = _grey(torch.bmm(across, columns.view(pictures, size, -1)))
    rows = wide.view(pictures, size, size, 3).transpose(1, 2).reshape(pictures, size, -1)
    return _grey(torch.bmm(down, rows)).to(torch.uint8).view(squares.shape)


def _weights(boxes: torch.Tensor, size: int) -> torch.Tensor:
    """How much of each column, and row, of the square is in each of the crop's: float32 (n, 2, S, S), rows sum to 1.

    Pixel o of a crop lies at start + (o + ½) · side / S of the square, whose pixel x lies at x + ½. The distance times
    2S is a whole number, exact in float32 up to S = 2,047.
    """
    starts = boxes[:, :2, None, None].float()
    sides = boxes[:, 2:, None, None].float() - starts
    odd = torch.arange(1, 2 * size, 2, device=boxes.device, dtype=torch.float32)
    distance = (size * (odd - 2 * starts) - odd[:, None] * sides).div_(2 * size).abs_().clamp_(max=2)
    near = (1.5 * distance - 2.5).mul_(distance).mul_(distance).add_(1)
    far = (2.5 - 0.5 * distance).mul_(distance).sub_(4).mul_(distance).add_(2)
    weights = torch.where(distance < 1, near, far)
    return weights.div_(weights.sum(-1, keepdim=True))  # at the edge a part of the filter lies outside


def _grey(values: torch.Tensor) -> torch.Tensor:
    """Whole grey levels, halves up, as float; in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _uniform(rows: np.ndarray, epoch: int, seed: int, count: int) -> np.ndarray:
    """Return numbers in [0, 1), float64 (n, count): SplitMix64 (Steele et al., 2014) of seed, epoch, row and column."""
    with np.errstate(over="ignore"):
        state = _mixed(np.array([seed], np.uint64))
        state = _mixed(state + np.uint64(epoch))
        state = _mixed(state + rows.astype(np.uint64))
        values = _mixed(state[:, None] + np.arange(count, dtype=np.uint64))
    return (values >> np.uint64(11)) * 2.0**-53


def _mixed(value: np.ndarray) -> np.ndarray:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = value ^ (value >> np.uint64(31))
    return mixed
