"""CLIP encoders: any open_clip model by tag, by file, or the embedded ``mini`` – one code path.

A specification is one of

=====================  ==================================================================
``mini``               the encoder that ships with this project (``assets/encoders/mini``)
``NAME/PRETRAINED``    an open_clip model and tag, e.g. ``ViT-B-32/laion2b_s34b_b79k``
``hf-hub:ORG/MODEL``   a model on the Hugging Face hub
``FOLDER``             an open_clip folder (``open_clip_config.json`` beside its weights)
``NAME@FILE``          a local checkpoint of an open_clip model (``mini@FILE`` as well)
=====================  ==================================================================

Weights are read from safetensors or with ``torch.load(weights_only=True)``: a checkpoint can
therefore not run code.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from cfbd_core.embedding.encoder_files import (
    CONFIG_NAME,
    check_published_hash,
    file_sha256,
    locate,
    offline_if_unreachable,
)
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.errors import EncoderError
from cfbd_core.machine.assets import MINI_DIR
from cfbd_core.wording import in_one_line

ORDINARY_CAPTION, LONGEST_WORD, MOST_WORDS = 1000, 256, 256  # letters, letters, words
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@dataclass(frozen=True)
class EncoderInfo:
    """What tells an encoder from others.

    ``id`` is the specification it was loaded by (paths made absolute), ``sha256`` the hash of its weights file,
    ``architecture`` a short hash of its configuration (the same weights may fit two models), ``width`` the joint
    embedding width d.
    """

    id: str
    sha256: str
    architecture: str
    width: int


class Encoder:
    """The two towers of a CLIP model with the transform and the tokenizer they were trained with.

    ``id``, ``sha256``, ``architecture`` and ``width`` are those of its :class:`EncoderInfo`, ``device`` is where it
    runs (on CUDA in half precision).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        transform: Callable[[Image.Image], torch.Tensor],
        tokenizer: Callable[[Sequence[str]], torch.Tensor],
        info: EncoderInfo,
        device: str,
    ) -> None:
        self.id, self.sha256, self.architecture, self.width = (
            info.id,
            info.sha256,
            info.architecture,
            info.width,
        )
        self.device = device
        self.transform, self.tokenize = transform, tokenizer
        # TinyViT and ResNets run about 1.4 times faster on a CPU with channels last.
        self.model: Any = model.to(device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode_images(self, images: torch.Tensor) -> np.ndarray:
        """Embed transformed images (n, 3, H, W); returns float32 (n, d), L2-normalised."""
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return self._embed(lambda: self.model.encode_image(images))

    def encode_texts(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions; returns float32 (n, d), L2-normalised. Long captions are cut by the tokenizer."""
        tokens = self.tokenize([cut_caption(caption) for caption in captions]).to(
            self.device, non_blocking=True
        )
        return self._embed(lambda: self.model.encode_text(tokens))

    def _embed(self, forward: Callable[[], torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            embedding = in_half_precision(forward, "cuda") if self.device.startswith("cuda") else forward()
        unit: np.ndarray = functional.normalize(embedding.float(), dim=-1).cpu().numpy()
        return unit


def in_half_precision(forward: Callable[[], torch.Tensor], device_type: str) -> torch.Tensor:
    """Run ``forward`` in float16, and where that overflows again in single precision.

    With ``mini`` and demo scenes float16 keeps a cosine of 1 − 1e-5 to single precision and moves a pair's consistency
    by less than 0.001; bfloat16 0.993 and 0.013 (``tests/embedding/test_encoders.py`` compares both).
    """
    with torch.autocast(device_type, dtype=torch.float16):
        embedding = forward()
    return embedding if bool(embedding.isfinite().all()) else forward()


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Put every module into eval mode, and back into the mode that it was in."""
    before = [(module, module.training) for module in encoder.model.modules()]
    encoder.model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def resolve_device(device: str = "auto") -> str:
    """``auto`` becomes ``cuda`` where there is one, else ``cpu``; a missing GPU is an EncoderError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        known_device = torch.device(device)
    except RuntimeError:
        known_device = torch.device("meta")
    if known_device.type not in ("cpu", "cuda"):
        raise EncoderError(f"--device {device}: not a device; give auto, cpu or cuda")
    if known_device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"--device {device}: torch sees no GPU here; give --device cpu or auto")
    if known_device.type == "cuda" and (known_device.index or 0) >= torch.cuda.device_count():
        raise EncoderError(f"--device {device}: the last GPU here is cuda:{torch.cuda.device_count() - 1}")
    return device


def load_encoder(spec: str = "mini", device: str = "auto") -> Encoder:
    """Load the encoder that ``spec`` names (see the module's table).

    Raises EncoderError: unknown model or tag, no network for a download, weights that do not fit
    the model or hold more than tensors, or a published file whose hash is not the published one.
    """
    device = resolve_device(device)
    if device == "cpu":
        keep_freed_memory()
    import_torchvision()
    import open_clip

    files = locate(spec)
    sha256 = file_sha256(files.weights)
    if files.model == f"local-dir:{MINI_DIR}" and not files.is_checkpoint:
        check_published_hash(files.weights, sha256)
        config_path = files.weights.with_name(CONFIG_NAME)
        check_published_hash(config_path, file_sha256(config_path))
    try:
        with offline_if_unreachable():
            model, _, transform = open_clip.create_model_and_transforms(
                files.model,
                files.tag,
                load_weights=not files.is_checkpoint,
                force_quick_gelu=files.quick_gelu,
            )
            if files.is_checkpoint:
                open_clip.load_checkpoint(model, str(files.weights), weights_only=True)
            tokenizer = open_clip.get_tokenizer(files.model)
            config = open_clip.get_model_config(files.model)
            _try_out(transform, tokenizer)
    except Exception as error:  # open_clip, torch and pickle raise whatever they like here
        reason = in_one_line(error, 160)
        raise EncoderError(f"--encoder {spec}: {files.weights} does not load: {reason}") from error
    architecture = short_hash(config | {"quick_gelu": files.quick_gelu or config.get("quick_gelu", False)})
    info = EncoderInfo(files.id, sha256, architecture, int(config["embed_dim"]))
    return Encoder(model, transform, tokenizer, info, device)


def _try_out(
    transform: Callable[[Image.Image], torch.Tensor], tokenize: Callable[[Sequence[str]], torch.Tensor]
) -> None:
    """Raise whatever a damaged configuration makes of the first picture and caption."""
    pixels = transform(Image.new("RGB", (64, 64), (127, 127, 127)))
    if pixels.ndim != 3 or not bool(pixels.isfinite().all()):
        raise ValueError("its configuration makes no pictures of pictures")
    tokenize(["a picture"])


def check_spec(spec: str) -> None:
    """Raise EncoderError now if ``spec`` leads nowhere; hub models and tags may be downloaded."""
    import_torchvision()
    locate(spec)


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of activations: given back after each layer, it costs a sixth of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
    except (OSError, AttributeError):
        return  # another C library: slower, nothing else


def cut_caption(caption: str) -> str:
    """What of a caption can reach the context: the BPE tokenizer takes hours over a word of a million letters."""
    if len(caption) <= ORDINARY_CAPTION:
        return caption
    return " ".join(word[:LONGEST_WORD] for word in caption.split(maxsplit=MOST_WORDS)[:MOST_WORDS])


def short_hash(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that change with a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]
