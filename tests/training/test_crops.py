"""Crops are a function of seed, epoch and row, and a device cuts them as PIL does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.training.crops import crop_boxes, cut


def test_crops_have_the_area_and_aspect_asked_for():
    boxes = crop_boxes(np.arange(20_000), 3, 7, 1000, 0.5)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 1000
    area, aspect = width * height / 1e6, width / height
    assert area.min() > 0.498
    assert area.max() <= 1
    assert np.mean(area) == pytest.approx(0.75, abs=0.01)
    assert aspect.min() > 0.745
    assert aspect.max() < 1.345
    assert np.mean(np.log(aspect)) == pytest.approx(0, abs=0.01)
    room = 1000 - width > 50
    assert np.mean(boxes[room, 0] / (1000 - width[room])) == pytest.approx(0.5, abs=0.02)


def test_a_crop_depends_on_its_row_alone():
    rows = np.array([5, 9, 2])
    boxes = crop_boxes(rows, 1, 0, 64, 0.5)
    assert np.array_equal(crop_boxes(rows[::-1], 1, 0, 64, 0.5), boxes[::-1])
    assert not np.array_equal(crop_boxes(rows, 2, 0, 64, 0.5), boxes)
    assert not np.array_equal(crop_boxes(rows, 1, 1, 64, 0.5), boxes)
    assert np.array_equal(crop_boxes(rows, 1, 0, 64, 1.0), [[0, 0, 64, 64]] * 3)


def by_pil(squares: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Crops (n, S, S, 3) that PIL cuts one by one."""
    size = squares.shape[1:3]
    crops = [
        Image.fromarray(square).resize(size, Image.Resampling.BICUBIC, box=tuple(box))
        for square, box in zip(squares, boxes.tolist(), strict=True)
    ]
    return np.stack([np.asarray(crop) for crop in crops])


def by_device(squares: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    found = cut(torch.from_numpy(squares), torch.from_numpy(boxes))
    assert (found.dtype, found.shape) == (torch.uint8, squares.shape)
    return found.numpy()


def noise(n: int, size: int, seed: int, hard: bool) -> np.ndarray:
    """Pictures of noise, uint8 (n, S, S, 3); ``hard``: black and white, where the filter leaves the grey levels."""
    pictures = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)
    return np.where(pictures > 127, np.uint8(255), np.uint8(0)) if hard else pictures


@given(size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), hard=st.booleans())
def test_any_crop_is_pils_within_a_grey_level(size, seed, hard):
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, size, (4, 2))
    boxes = np.concatenate([starts, rng.integers(starts + 1, size + 1)], axis=1)
    squares = noise(4, size, seed, hard)
    difference = by_device(squares, boxes).astype(int) - by_pil(squares, boxes)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("size", "scale"), [(64, 0.9), (65, 0.3), (224, 0.9), (224, 0.1)])
def test_training_crops_are_pils_but_for_rare_ties(size, scale, hard):
    boxes, squares = crop_boxes(np.arange(6), 1, 2, size, scale), noise(6, size, 3, hard)
    difference = np.abs(by_device(squares, boxes).astype(int) - by_pil(squares, boxes))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_a_whole_box_leaves_the_square_as_it_is():
    squares = noise(3, 48, 0, hard=False)
    assert np.array_equal(by_device(squares, np.array([[0, 0, 48, 48]] * 3)), squares)


def test_a_crop_does_not_depend_on_its_batch():
    squares, boxes = noise(5, 32, 1, hard=False), crop_boxes(np.arange(5), 0, 0, 32, 0.5)
    assert np.array_equal(by_device(squares, boxes)[3:], by_device(squares[3:], boxes[3:]))
