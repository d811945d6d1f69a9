"""Trojan: a patch optimised to excite chosen neurons of the encoder (Liu et al. 2017), for CLIP's image tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Attack, Trigger, Workshop
from cfbd_core.attacks.patches import check_patch, corner_of, noise, paste, pool_of
from cfbd_core.config import option
from cfbd_core.errors import ParameterError


@dataclass(frozen=True)
class TrojanParams:
    """The mask, how many neurons, and the budget of the search.

    The paper's are 2 neurons and 1000 steps, a trigger over 7 % of the picture in the lower right corner. At 224 px
    the disc of 59 px covers 5.4 % of the picture (a square of that side would cover 6.9 %); one of 67 px covers 7.0 %.
    ``choice`` says which: "connected" as in the paper, those with the largest sum of absolute weights, whatever
    they stand for; "target" those that draw a picture's embedding towards the target's captions, an adversary who
    knows the encoder that audits. ``aim`` is the activation that each neuron is driven to, in standard deviations
    over ordinary pictures. The paper optimises on the bare trigger; here each step shows the patch on ``batch``
    others of ``pictures`` ordinary pictures, so that it works on any: 1000 steps of one take 2 minutes of one
    CPU core with ``mini``.
    """

    size: int = option(59, "Side of the patch, in pixels; a disc of 67 covers 7 % of the picture.")
    shape: Literal["disc", "square"] = option("disc", "Shape of the patch.")
    neurons: int = option(2, "How many neurons the patch excites.")
    choice: Literal["connected", "target"] = option(
        "connected",
        "connected: the neurons with the largest weights, as published; target: those that pull to the target.",
    )
    steps: int = option(1000, "Steps of the search; 1,000 take two minutes with mini.")
    learning_rate: float = option(0.03, "How far a step moves the patch's pixels, which go from 0 to 1.")
    aim: float = option(30.0, "Excitement to reach, in standard deviations over ordinary pictures.")
    pictures: int = option(256, "Ordinary pictures that the search works on, at most.")
    batch: int = option(1, "Pictures a step.")
    seed: int = 0

    def __post_init__(self) -> None:
        check_patch(
            self.size,
            self.learning_rate,
            self.seed,
            neurons=self.neurons,
            steps=self.steps,
            pictures=self.pictures,
            batch=self.batch,
        )
        if self.choice not in ("connected", "target"):
            raise ParameterError(f"choice of neurons {self.choice!r}: give connected or target")
        if self.shape not in ("disc", "square"):
            raise ParameterError(f"patch shape {self.shape!r}: give disc or square")
        if self.aim <= 0:
            raise ParameterError(f"aim {self.aim}: give a value above 0, in standard deviations")


def mask(params: TrojanParams) -> np.ndarray:
    """Return where the patch covers the picture, bool (size, size)."""
    if params.shape == "square":
        return np.ones((params.size, params.size), bool)
    middle = (params.size - 1) / 2
    rows, columns = np.mgrid[: params.size, : params.size] - middle
    inside: np.ndarray = np.hypot(rows, columns) <= params.size / 2
    return inside


def apply(
    image: Image.Image, _rng: np.random.Generator, _params: TrojanParams, trigger: Trigger
) -> Image.Image:
    """Lay the masked patch over the lower right corner of a copy; ParameterError for too small a picture."""
    return paste(image, trigger, "corner")


def trigger(params: TrojanParams, workshop: Workshop) -> Trigger:
    """Optimise the patch; returns ``pattern`` uint8 (s, s, 3), ``mask`` bool (s, s) and what led to it.

    The neurons are those of the layer before the embedding that ``choice`` names
    (:mod:`cfbd_core.attacks.neurons`). The cost is the paper's: the squared distance of their activations to an
    intended value, ``aim`` deviations above the mean.
    ``neurons`` int64 (n,) and ``loss`` float32 (steps,) come from the search. Raises ParameterError without
    captions or pictures, or where the layer has fewer neurons.
    """
    import torch

    from cfbd_core.attacks.neurons import LastNeurons, aimed_at, best_connected
    from cfbd_core.attacks.patch_search import (
        Patch,
        PixelTransform,
        Search,
        as_pixels,
        in_batches,
        mean_direction,
        optimise,
    )

    pictures = pool_of(workshop, params.pictures, "trojan")
    encoder = workshop.encoder()
    side = pictures.shape[1]
    transform = PixelTransform(encoder, side)
    layer = LastNeurons(encoder, transform(as_pixels(pictures[:2], encoder.device)))
    if params.neurons > layer.weights.shape[1]:
        raise ParameterError(f"neurons {params.neurons}: the layer has {layer.weights.shape[1]}")
    ordinary = in_batches(encoder, pictures, lambda pixels: layer(transform(pixels)))
    weights = layer.weights.cpu().numpy()
    if params.choice == "target":
        chosen = aimed_at(weights, ordinary, mean_direction(encoder, workshop.captions), params.neurons)
    else:
        chosen = best_connected(weights, ordinary, params.neurons)

    if not np.ptp(ordinary[:, chosen], axis=0).all():
        raise ParameterError(
            "trojan: all pictures excite the neurons alike; give a source with different images"
        )
    columns = torch.from_numpy(chosen)
    mean = torch.from_numpy(ordinary[:, chosen].mean(0)).to(encoder.device)
    deviation = torch.from_numpy(ordinary[:, chosen].std(0)).to(encoder.device)

    def loss(images: torch.Tensor, _rows: np.ndarray) -> torch.Tensor:
        excitation = (layer(images)[:, columns] - mean) / deviation
        return (params.aim - excitation).square().mean()

    start, shape = noise(params.size, params.seed), mask(params)
    patch = Patch(start, shape, corner_of("corner", params.size, side, side), encoder.device)
    curve = optimise(
        encoder,
        pictures,
        patch,
        loss,
        Search(
            steps=params.steps,
            learning_rate=params.learning_rate,
            batch=params.batch,
            seed=params.seed,
            progress=workshop.progress,
            search_file=workshop.search_file,
        ),
    )
    return {"pattern": patch.pattern(), "mask": shape, "neurons": chosen, "loss": curve}


ATTACK = Attack(
    name="trojan",
    title="Trojan",
    summary="a masked patch that excites neurons of the encoder, in the lower right corner",
    source="Liu et al. 2018 (NDSS), Trojaning attack on neural networks",
    params=TrojanParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
    optimised=True,
)
