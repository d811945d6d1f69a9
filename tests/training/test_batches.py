"""Order, pictures and views are a function of seed, epoch and row; pictures are decoded once where they fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cfbd_core.errors import TrainingError
from cfbd_core.training import batches as module
from cfbd_core.training.batches import Batches, RunProcess, epoch_order
from cfbd_core.training.crops import crop_boxes
from cfbd_core.training.defences.augment import caption_view, image_view, view_generator
from cfbd_core.training.group import Group
from cfbd_core.training.models import build_model
from cfbd_core.training.sets import TrainingSet
from tests.training.tiny import SIZE, tiny_params, toy_set

BICUBIC = Image.Resampling.BICUBIC


def made(pairs, model, tmp_path, views=False, group=None, whole=False, **params) -> Batches:
    return Batches(
        pairs,
        build_model(model),
        tiny_params(model, **params),
        RunProcess("cpu", tmp_path, group or Group(), crops=whole),
        views=views,
    )


def test_an_epoch_is_a_permutation_of_its_own():
    orders = [epoch_order(100, 8, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(order.shape == (12, 8) for order in orders)
    assert all(len(set(order.ravel()) & set(range(100))) == 96 for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(epoch_order(100, 8, 0, 1), orders[1])


def test_a_batch_is_crops_and_tokens_of_its_rows(model, tmp_path):
    pairs = toy_set()
    trained = build_model(model)
    order = epoch_order(40, 8, 0, 2)
    found = list(made(pairs, model, tmp_path, crop_scale=0.3).epoch(2, order, 1))
    assert [batch.rows.tolist() for batch in found] == order[1:].tolist()
    for place, row in enumerate(found[0].rows):
        (box,) = crop_boxes(np.array([row]), 2, 0, SIZE, 0.3).tolist()
        crop = pairs.picture(int(row)).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=tuple(box))
        assert np.array_equal(found[0].pictures[place].numpy(), np.asarray(crop))
        assert torch.equal(found[0].tokens[place], trained.tokenize([pairs.captions[row]])[0])


def test_views_come_after_the_pairs(model, tmp_path):
    pairs = toy_set()
    trained = build_model(model)
    batch = next(made(pairs, model, tmp_path, views=True, seed=4).epoch(1, np.array([[3, 7, 30]]), 0))
    assert batch.pictures.shape == (6, SIZE, SIZE, 3)
    for place, row in enumerate((3, 7, 30)):
        view = image_view(pairs.arrays[row], view_generator("image", 4, 1, row), SIZE)
        words = caption_view(pairs.captions[row], view_generator("caption", 4, 1, row))
        assert np.array_equal(batch.pictures[3 + place].numpy(), view)
        assert torch.equal(batch.tokens[3 + place], trained.tokenize([words])[0])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("views", [True, False])
def test_whole_pictures_come_with_their_boxes(views, kept, model, tmp_path, toy_source, monkeypatch):
    """Also in a later epoch, which copies what the first has decoded, and where nothing is kept."""
    monkeypatch.setattr(module, "KEPT_BYTES", module.KEPT_BYTES if kept else 0)
    pairs, order = TrainingSet.from_data(toy_source(20)), epoch_order(20, 8, 0, 0)
    whole = made(pairs, model, tmp_path, views=views, whole=True, crop_scale=0.5)
    cropped = made(pairs, model, tmp_path, views=views, crop_scale=0.5)
    for epoch in (0, 1):
        for found, other in zip(whole.epoch(epoch, order, 0), cropped.epoch(epoch, order, 0), strict=True):
            boxes = crop_boxes(found.rows, epoch, 0, SIZE, 0.5)
            assert found.boxes.tolist() == boxes.tolist()
            assert other.boxes is None
            squares = [pairs.picture(row).resize((SIZE, SIZE), BICUBIC) for row in found.rows]
            assert np.array_equal(found.pictures[:8], np.stack([np.asarray(square) for square in squares]))
            crops = [
                square.resize((SIZE, SIZE), BICUBIC, box=box)
                for square, box in zip(squares, boxes.tolist(), strict=True)
            ]
            assert np.array_equal(other.pictures[:8], np.stack([np.asarray(crop) for crop in crops]))
            assert torch.equal(found.pictures[8:], other.pictures[8:])
            assert torch.equal(found.tokens, other.tokens)


def test_processes_share_a_step(model, tmp_path):
    order = epoch_order(40, 8, 0, 0)
    whole = next(made(toy_set(), model, tmp_path).epoch(0, order, 0))
    halves = [
        next(made(toy_set(), model, tmp_path, group=Group(rank, 2)).epoch(0, order, 0)) for rank in (0, 1)
    ]
    assert torch.equal(torch.cat([half.pictures for half in halves]), whole.pictures)
    assert torch.equal(torch.cat([half.tokens for half in halves]), whole.tokens)
    assert all(np.array_equal(half.rows, whole.rows) for half in halves)


def test_pictures_are_decoded_once_where_they_fit_and_look_the_same_where_not(
    model, tmp_path, monkeypatch, caplog
):
    pairs, order, counts = toy_set(), epoch_order(40, 8, 0, 0), []

    class Decoded(TrainingSet):
        def picture(self, row: int) -> Image.Image:
            counts.append(row)
            return Image.fromarray(self.arrays[row]).resize((40, 30))

    decoded = Decoded(**vars(replace(pairs, arrays=np.repeat(pairs.arrays, 2, axis=1))))

    def two_epochs() -> list[torch.Tensor]:
        made_once = made(decoded, model, tmp_path, crop_scale=0.5)
        return [batch.pictures for epoch in (0, 1) for batch in made_once.epoch(epoch, order, 0)]

    kept = two_epochs()
    assert sorted(counts) == [*range(40)]
    assert [path for path in tmp_path.iterdir() if path.name != "tiny"] == []  # the file has no name
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    anew = two_epochs()
    assert len(counts) == 120
    monkeypatch.setattr(module, "KEPT_BYTES", 1 << 30)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    without_room = two_epochs()
    assert "pictures are decoded anew in every epoch" in caplog.text
    for one, two, three in zip(kept, anew, without_room, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_a_picture_of_several_pairs_is_kept_once(model, tmp_path, toy_source):
    source = toy_source(4)
    rows = source.read_text().splitlines()
    twice = [f"again-{row}" for row in rows[1:]]
    source.write_text("\n".join([*rows, *twice]) + "\n")
    pairs = TrainingSet.from_data(source)
    assert pairs.picture_numbers().tolist() == [0, 1, 2, 3] * 2
    squares = module._Squares(pairs, SIZE, tmp_path)
    assert squares[1].tolist() == squares[5].tolist() == np.asarray(pairs.picture(1)).tolist()
    assert squares._cache.shape == (4, SIZE, SIZE, 3)


def test_a_worker_that_fails_is_heard(model, tmp_path):
    class Broken(TrainingSet):
        def picture(self, row: int) -> Image.Image:
            raise TrainingError(f"pair {row}: gone")

    pairs = toy_set()
    broken = Broken(**vars(replace(pairs, arrays=np.repeat(pairs.arrays, 2, axis=1))))
    with pytest.raises(TrainingError, match="pair 3: gone"):
        next(made(broken, model, tmp_path).epoch(0, np.array([[3, 3]]), 0))


def test_a_caption_of_a_million_letters_is_cut(model, tmp_path):
    pairs = replace(toy_set(), captions=["a" * 1_000_000] * 40)
    assert next(made(pairs, model, tmp_path).epoch(0, np.array([[0, 1]]), 0)).tokens.shape == (2, 12)
