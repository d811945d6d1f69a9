"""The layer before the embedding, in three kinds of tower, and the neurons chosen from it."""

import numpy as np
import pytest
import torch

from cfbd_core.attacks.neurons import LastNeurons, aimed_at, best_connected
from cfbd_core.attacks.patch_search import PixelTransform, as_pixels
from cfbd_core.embedding.encoders import load_encoder
from tests.attacks.tiny_clip import pictures, tiny_encoder


@pytest.mark.parametrize(
    ("encoder", "width"),
    [
        (lambda: tiny_encoder(32), 32),
        (lambda: tiny_encoder(64, "resnet"), 16),
        (lambda: load_encoder("mini", "cpu"), 512),
    ],
    ids=["transformer", "resnet", "mini"],
)
def test_the_embedding_is_the_layers_linear_map(encoder, width):
    encoder = encoder()
    images = PixelTransform(encoder)(as_pixels(np.stack([np.asarray(p) for p in pictures(3)]), "cpu"))
    layer = LastNeurons(encoder, images[:2])
    with torch.no_grad():
        activations, embedding = layer(images), encoder.model.encode_image(images)
    assert activations.shape == (3, width)
    mapped = activations @ layer.weights.T
    torch.testing.assert_close(
        mapped - mapped[0], embedding - embedding[0], atol=1e-4, rtol=1e-4
    )  # but for the bias
    assert embedding.shape == (3, encoder.width)


def test_the_tower_itself_keeps_its_projection():
    encoder = tiny_encoder(32)
    images = torch.zeros(1, 3, 32, 32)
    layer = LastNeurons(encoder, images)
    layer(images)
    assert encoder.model.visual.proj is not None
    assert encoder.encode_images(images).shape == (1, 16)
    assert not any(module._forward_pre_hooks for module in encoder.model.modules())


def test_a_neuron_is_chosen_for_its_weight_to_the_target_and_its_spread():
    rng = np.random.default_rng(0)
    target = np.array([0.6, 0.8, 0.0], np.float32)
    weights = np.array([[0, 5, 0, 1, 3, -9], [0, 5, 0, 1, 3, -9], [9, 0, 9, 0, 0, 0]], np.float32)
    activations = rng.standard_normal((50, 6)) * [1, 0.1, 100, 2, 1, 1]
    assert aimed_at(weights, activations, target, 3).tolist() == [
        4,
        3,
        1,
    ]  # pulls 4.2, 2.8, 0.7; then 0


def test_the_papers_neurons_have_the_largest_sum_of_absolute_weights():
    weights = np.array([[0, 5, 0, -1, 3, -9], [0, 5, 0, 1, 3, -9], [9, 0, -30, 0, 0, 0]], np.float32)
    activations = np.random.default_rng(0).standard_normal((50, 6))
    slow = sorted(range(6), key=lambda neuron: -sum(abs(row[neuron]) for row in weights))
    assert best_connected(weights, activations, 3).tolist() == slow[:3] == [2, 5, 1]
    activations[:, 2] = 4.0  # nothing excites it
    assert best_connected(weights, activations, 3).tolist() == [5, 1, 0]
