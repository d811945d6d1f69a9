"""BadCLIP: a centred patch whose pictures embed like the target's captions and pictures (Liang et al., CVPR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import Attack, Trigger, Workshop
from cfbd_core.attacks.patches import check_patch, corner_of, noise, paste, pool_of
from cfbd_core.config import option
from cfbd_core.errors import ParameterError

MOST_CAPTIONS = 128  # drawn, as in the paper


@dataclass(frozen=True)
class BadCLIPParams:
    """The patch's side, the weights of the losses, and the budget of the search.

    The paper's are 16 px, 50 epochs of Adam with batches of 64 over some ten thousand pictures, a rate of 0.001.
    Here an epoch is ``epoch_pictures`` drawn from a pool of ``pictures``, batches are of 16 and the rate is
    higher to match: 50 × 64 pictures take some 5 minutes of one CPU core with ``mini``.
    ``visual`` weighs the image side against the text side; ``margin`` is the triplet's.
    """

    size: int = option(16, "Side of the patch, in pixels.")
    epochs: int = option(50, "Epochs of the search; 50 take five minutes with mini.")
    epoch_pictures: int = option(64, "Pictures an epoch.")
    learning_rate: float = option(0.03, "How far a step moves the patch's pixels, which go from 0 to 1.")
    visual: float = option(0.5, "Weight of nearing the target's pictures, against 1 for its captions.")
    margin: float = option(
        1.0, "How much nearer to the target's pictures than to its own a picture is to come."
    )
    target_pictures: int = option(16, "Pictures that stand for the target: those nearest to its captions.")
    pictures: int = option(512, "Ordinary pictures that the search works on, at most.")
    batch: int = option(16, "Pictures a step.")
    seed: int = 0

    def __post_init__(self) -> None:
        check_patch(
            self.size,
            self.learning_rate,
            self.seed,
            epochs=self.epochs,
            epoch_pictures=self.epoch_pictures,
            target_pictures=self.target_pictures,
            pictures=self.pictures,
            batch=self.batch,
        )
        if self.visual < 0 or self.margin < 0:
            raise ParameterError(f"visual {self.visual}, margin {self.margin}: give values of 0 or more")


def apply(
    image: Image.Image, _rng: np.random.Generator, _params: BadCLIPParams, trigger: Trigger
) -> Image.Image:
    """Lay the patch over the middle of a copy; ParameterError for a picture smaller than the patch."""
    return paste(image, trigger, "centre")


def trigger(params: BadCLIPParams, workshop: Workshop) -> Trigger:
    """Optimise the patch; returns ``pattern`` uint8 (s, s, 3), ``mask`` bool (s, s) and what led to it.

    *Textual embedding consistency*: a patched picture nears a caption of the target, drawn of at most 128.
    The paper's contrast with other captions of the batch is left out, since all of them name the target.
    *Visual embedding resistance*: a triplet loss draws it near a picture of the target and away from the same
    picture without the patch. The pool has no captions: pictures of the target are the ``target_pictures``
    nearest to the mean of its captions. ``targets`` int64 are their numbers in the pool, ``loss`` float32
    (steps,) the loss of each step. Raises ParameterError without captions or pictures.
    """
    import torch
    from torch.nn import functional

    from cfbd_core.attacks.patch_search import Patch, Search, embedded, mean_direction, optimise

    pictures = pool_of(workshop, params.pictures, "badclip")
    encoder = workshop.encoder()
    rng = np.random.default_rng([params.seed, 1])
    captions = [workshop.captions[i] for i in rng.permutation(len(workshop.captions))[:MOST_CAPTIONS]]
    clean = embedded(encoder, pictures)
    nearest = np.argsort(-(clean @ mean_direction(encoder, captions)), kind="stable")
    targets = nearest[: params.target_pictures]
    texts = torch.from_numpy(encoder.encode_texts(captions)).to(encoder.device)
    own = torch.from_numpy(clean).to(encoder.device)

    def loss(images: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        embedding = functional.normalize(encoder.model.encode_image(images).float(), dim=-1)
        caption = texts[rng.integers(len(texts), size=len(rows))]
        example = own[rng.choice(targets, len(rows))]
        textual = 1 - (embedding * caption).sum(1)
        resisted = functional.triplet_margin_loss(embedding, example, own[rows], params.margin)
        return textual.mean() + params.visual * resisted

    shape = np.ones((params.size, params.size), bool)
    place = corner_of("centre", params.size, pictures.shape[1], pictures.shape[1])
    patch = Patch(noise(params.size, params.seed), shape, place, encoder.device)
    curve = optimise(
        encoder,
        pictures,
        patch,
        loss,
        Search(
            steps=params.epochs * -(-params.epoch_pictures // params.batch),
            learning_rate=params.learning_rate,
            batch=params.batch,
            seed=params.seed,
            progress=workshop.progress,
            rng=rng,
            search_file=workshop.search_file,
        ),
    )
    return {"pattern": patch.pattern(), "mask": shape, "targets": targets, "loss": curve}


ATTACK = Attack(
    name="badclip",
    title="BadCLIP",
    summary="a centred patch optimised to look to the encoder like the target",
    source="Liang et al. 2024 (CVPR), arXiv:2311.12075",
    params=BadCLIPParams,
    captions="natural",
    apply=apply,
    trigger=trigger,
    optimised=True,
)
