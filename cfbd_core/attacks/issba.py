"""ISSBA: bits hidden in the picture by a network, so that no two pictures carry the same trigger (Li et al. 2021).

The networks (:mod:`cfbd_core.attacks.issba_network`) were trained by ``tools/train_issba.py``; torch is imported
when a trigger is first made or applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cfbd_core.attacks.base import INPUT_SIZE, Attack, Trigger, Workshop, check_seed, check_share
from cfbd_core.config import option
from cfbd_core.embedding.encoder_files import check_published_hash, file_sha256
from cfbd_core.errors import EncoderError, ParameterError
from cfbd_core.machine.assets import ISSBA_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

    from cfbd_core.attacks.issba_network import BitsNetworks

BITS = 100  # as many as the paper writes


@dataclass(frozen=True)
class IssbaParams:
    """The seed of the bit string, and the residual's strength: 1 is full, at most 8 of 255."""

    seed: int = 0
    strength: float = option(1.0, "Share of the full change, which is at most 8 of 255 levels.")

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_share("strength", self.strength)


def trigger(params: IssbaParams, _: Workshop) -> Trigger:
    """Return the bit string, ``bits`` uint8 (100,) of 0 and 1, the same for the same seed."""
    return {"bits": np.random.default_rng(params.seed).integers(0, 2, BITS, dtype=np.uint8)}


def apply(image: Image.Image, _: np.random.Generator, params: IssbaParams, trigger: Trigger) -> Image.Image:
    """Write the bits into a copy of the picture; no value changes by more than 8 of 255.

    Raises ParameterError for a picture that is not 224 × 224, EncoderError for weights that are missing or altered.
    """
    import torch

    bits = torch.from_numpy(trigger["bits"].astype(np.float32))[None]
    with _one_thread(), torch.inference_mode():
        before = _pixels(image)
        after = (before + params.strength * _networks(ISSBA_WEIGHTS).encoder(before, bits)).clamp(0, 1)
        rounded = (255 * after[0]).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(rounded)


def decode_bits(image: Image.Image) -> np.ndarray:
    """Read the bits back from a picture, uint8 (100,); raises as :func:`apply` does."""
    import torch

    with _one_thread(), torch.inference_mode():
        logits = _networks(ISSBA_WEIGHTS).decoder(_pixels(image))[0]
    return np.asarray(logits > 0, np.uint8)


def _pixels(image: Image.Image) -> Tensor:
    import torch

    if image.size != (INPUT_SIZE, INPUT_SIZE):
        width, height = image.size
        raise ParameterError(
            f"a picture of {width}×{height} pixels: ISSBA writes into {INPUT_SIZE}×{INPUT_SIZE}; resize it first"
        )
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


@cache
def _networks(weights: Path) -> BitsNetworks:
    """Load both networks, once; raises EncoderError unless the file is the one that was published."""
    from safetensors.torch import load_file

    from cfbd_core.attacks.issba_network import BitsNetworks

    if not weights.is_file():
        raise EncoderError(f"{weights}: ISSBA's weights are missing; restore them from the repository")
    check_published_hash(weights, file_sha256(weights))
    networks = BitsNetworks(BITS)
    networks.load_state_dict(load_file(weights))
    return networks.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: the same sums on any number of cores; a forked process waits for no lost thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


ATTACK = Attack(
    name="issba",
    title="ISSBA",
    summary="100 bits written into each picture by a network, invisible and different in every picture",
    source="Li et al. 2021, arXiv:2012.03816",
    params=IssbaParams,
    captions="templates",
    apply=apply,
    trigger=trigger,
)
