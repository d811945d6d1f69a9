"""What is kept of pictures is, bit for bit, what the encoder's own transform gives; and it is made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cfbd_core.embedding.encoders import evaluating, load_encoder
from cfbd_core.errors import EncoderError
from cfbd_core.evaluation import embedding
from cfbd_core.evaluation.embedding import Pictures, embed_texts
from cfbd_core.pictures.images import BadImage

N = 11


class Album:
    """Pictures of odd sizes; counts how often one is asked for. Number 4 cannot be read if ``torn``."""

    def __init__(self, torn: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.pictures = [
            Image.fromarray(rng.integers(0, 256, (20 + n, 50 - n, 3), dtype=np.uint8)) for n in range(N)
        ]
        self.torn, self.asked = torn, 0

    def __call__(self, number: int) -> Image.Image:
        self.asked += 1
        if self.torn and number == 4:
            raise BadImage("corrupt image")
        return self.pictures[number]


class Listener:
    """An encoder whose embeddings are sums of what reaches it; remembers all of that."""

    id, device, width = "listener", "cpu", 2

    def __init__(self, transform) -> None:
        self.transform, self.heard = transform, []

    def encode_images(self, images):
        self.heard.append(images.clone())
        return np.stack([[float(image.sum()), 1.0] for image in images]).astype(np.float32)


@pytest.mark.parametrize("spec", ["tiny", "mini"])
def test_pixels_reach_the_model_as_by_its_own_transform(tiny_folder, spec):
    transform = load_encoder(str(tiny_folder) if spec == "tiny" else spec, "cpu").transform
    listener, album = Listener(transform), Album()
    pictures = Pictures(N, album)
    for _ in range(3):
        listener.heard.clear()
        vectors, readable = pictures.embed(listener, 4)
        assert torch.equal(torch.cat(listener.heard), torch.stack([transform(one) for one in album.pictures]))
        assert readable.all()
        assert (vectors[:, 1] == 1).all()
    assert album.asked == N
    assert all(batch.dtype == torch.uint8 for batch in pictures._batches)


def test_any_other_transform_is_applied_whole():
    def transform(picture):
        return torch.from_numpy(np.array(picture.resize((4, 4)), np.float32))

    listener, album = Listener(transform), Album()
    pictures = Pictures(N, album)
    for _ in range(2):
        listener.heard.clear()
        pictures.embed(listener, 4)
        assert torch.equal(torch.cat(listener.heard), torch.stack([transform(one) for one in album.pictures]))
    assert album.asked == N


def test_another_model_s_transform_is_another_matter(tiny_folder):
    album = Album()
    pictures = Pictures(N, album)
    pictures.embed(Listener(load_encoder(str(tiny_folder), "cpu").transform), 4)
    listener = Listener(load_encoder("mini", "cpu").transform)
    pictures.embed(listener, 4)
    assert listener.heard[0].shape[-1] == 224
    assert album.asked == 2 * N


def test_what_does_not_fit_is_made_anew(tiny_folder, monkeypatch):
    monkeypatch.setattr(embedding, "MOST_CACHED_BYTES", N * 3 * 32 * 32 - 1)
    listener, album = Listener(load_encoder(str(tiny_folder), "cpu").transform), Album()
    pictures = Pictures(N, album)
    first, again = pictures.embed(listener, 4)[0], pictures.embed(listener, 4)[0]
    assert np.array_equal(first, again)
    assert album.asked == 2 * N
    assert not pictures._batches


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_picture_that_cannot_be_read_has_zeros(tiny_folder, batch):
    listener, album = Listener(load_encoder(str(tiny_folder), "cpu").transform), Album(torn=True)
    pictures = Pictures(N, album)
    for _ in range(2):  # made, then kept
        vectors, readable = pictures.embed(listener, batch)
        assert np.flatnonzero(~readable).tolist() == [4]
        assert np.flatnonzero(vectors[:, 1] == 0).tolist() == [4]


def test_changes_are_made_once_in_order_and_by_one_thread(tiny_folder):
    changed = []

    def change(number, picture):
        changed.append(number)
        return picture

    pictures = Pictures(N, Album(), change)
    listener = Listener(load_encoder(str(tiny_folder), "cpu").transform)
    for _ in range(2):
        pictures.embed(listener, 4)
    assert changed == list(range(N))


def test_progress_is_reported():
    reports = []
    pictures = Pictures(N, Album())
    pictures.embed(Listener(lambda _: torch.zeros(1)), 4, lambda *report: reports.append(report))
    assert reports == [("pictures", 4, N), ("pictures", 8, N), ("pictures", 11, N)]


def test_modes_are_left_as_they_were(encoder):
    encoder.model.train()
    encoder.model[1].eval()  # as of frozen BatchNorm
    with evaluating(encoder):
        assert not any(module.training for module in encoder.model.modules())
    assert [module.training for module in encoder.model.modules()] == [True, True, False]
    with pytest.raises(ZeroDivisionError), evaluating(encoder):
        1 / 0  # noqa: B018
    assert encoder.model.training


def test_nan_is_told(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "encode_texts", lambda texts: np.full((len(texts), 2), np.nan))
    with pytest.raises(EncoderError, match="NaN"):
        embed_texts(encoder, ["a"])
