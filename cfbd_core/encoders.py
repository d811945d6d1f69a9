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

import difflib
import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from cfbd_core.errors import EncoderError
from cfbd_core.torchvision_compat import import_torchvision

MINI_DIR = Path(__file__).resolve().parent.parent / "assets" / "encoders" / "mini"
CONFIG_NAME = "open_clip_config.json"
ORDINARY_CAPTION, LONGEST_WORD, MOST_WORDS = 1000, 256, 256  # letters, letters, words
WAY_OUT = "connect once, or copy the checkpoint here and give --encoder NAME@FILE, or use --encoder mini"


class Encoder:
    """The two towers of a CLIP model with the transform and the tokenizer they were trained with.

    ``id`` is the specification it was loaded by (paths made absolute), ``sha256`` the hash of its weights file,
    ``architecture`` a short hash of its configuration (the same weights may fit two models),
    ``width`` the joint embedding width d, ``device`` where it runs (autocast on CUDA).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        transform: Callable[[Image.Image], torch.Tensor],
        tokenizer: Callable[[Sequence[str]], torch.Tensor],
        *,
        encoder_id: str,
        sha256: str,
        width: int,
        architecture: str,
        device: str,
    ) -> None:
        self.id, self.sha256, self.width, self.device = encoder_id, sha256, width, device
        self.architecture = architecture
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
        tokens = self.tokenize([_cut(caption) for caption in captions]).to(self.device, non_blocking=True)
        return self._embed(lambda: self.model.encode_text(tokens))

    def _embed(self, forward: Callable[[], torch.Tensor]) -> np.ndarray:
        on_gpu = self.device.startswith("cuda")
        half = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float16
        with torch.inference_mode(), torch.autocast("cuda", dtype=half, enabled=on_gpu):
            embedding = forward()
        unit: np.ndarray = functional.normalize(embedding.float(), dim=-1).cpu().numpy()
        return unit


def resolve_device(device: str = "auto") -> str:
    """``auto`` becomes ``cuda`` where there is one, else ``cpu``; a missing GPU is an EncoderError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise EncoderError(f"--device {device}: not a device; give auto, cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"--device {device}: torch sees no GPU here; give --device cpu or auto")
    return device


def load_encoder(spec: str = "mini", device: str = "auto") -> Encoder:
    """Load the encoder that ``spec`` names (see the module's table).

    Raises EncoderError: unknown model or tag, no network for a download, weights that do not fit
    the model or hold more than tensors, or a published file whose hash is not the published one.
    """
    device = resolve_device(device)
    import_torchvision()
    import open_clip

    found = _locate(spec)
    sha256 = file_sha256(found.weights)
    if found.model == f"local-dir:{MINI_DIR}" and not found.is_checkpoint:
        check_published_hash(found.weights, sha256)
        config_path = found.weights.with_name(CONFIG_NAME)
        check_published_hash(config_path, file_sha256(config_path))
    try:
        with _offline_if_unreachable():
            model, _, transform = open_clip.create_model_and_transforms(
                found.model,
                found.tag,
                load_weights=not found.is_checkpoint,
                force_quick_gelu=found.quick_gelu,
            )
            if found.is_checkpoint:
                open_clip.load_checkpoint(model, str(found.weights), weights_only=True)
            tokenizer = open_clip.get_tokenizer(found.model)
            config = open_clip.get_model_config(found.model)
    except Exception as error:  # open_clip, torch and pickle raise whatever they like here
        reason = " ".join(str(error).split())[:160]
        raise EncoderError(f"--encoder {spec}: {found.weights} does not load: {reason}") from error
    return Encoder(
        model,
        transform,
        tokenizer,
        encoder_id=found.id,
        sha256=sha256,
        width=int(config["embed_dim"]),
        architecture=_short_hash(
            config | {"quick_gelu": found.quick_gelu or config.get("quick_gelu", False)}
        ),
        device=device,
    )


def check_spec(spec: str) -> None:
    """Raise EncoderError now if ``spec`` leads nowhere; hub models and tags may be downloaded."""
    import_torchvision()
    _locate(spec)


def _cut(caption: str) -> str:
    """What of a caption can reach the context: the BPE tokenizer takes hours over a word of a million letters."""
    if len(caption) <= ORDINARY_CAPTION:
        return caption
    return " ".join(word[:LONGEST_WORD] for word in caption.split(maxsplit=MOST_WORDS)[:MOST_WORDS])


def _short_hash(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Found:
    """Where a specification leads: open_clip's model reference and the file with its weights."""

    id: str
    model: str
    weights: Path
    tag: str | None = None
    quick_gelu: bool = False
    is_checkpoint: bool = False


def _locate(spec: str) -> _Found:
    if spec == "mini":
        return _folder(MINI_DIR, spec)
    if spec.startswith("hf-hub:"):
        return _hub(spec)
    path = Path(spec.removeprefix("local-dir:")).expanduser()
    if path.is_dir():
        return _folder(path, spec)
    if "@" in spec:
        return _checkpoint(spec)
    if path.is_file():
        raise EncoderError(
            f"--encoder {spec}: a checkpoint alone does not say which model it is; "
            f"give --encoder NAME@{spec}, e.g. ViT-B-32@{spec}"
        )
    return _tag(spec)


def _folder(folder: Path, spec: str) -> _Found:
    from open_clip.factory import _find_checkpoint_in_dir

    weights = _find_checkpoint_in_dir(folder) if (folder / CONFIG_NAME).is_file() else None
    if weights is None:
        raise EncoderError(
            f"--encoder {spec}: {folder} is no open_clip folder; it must hold {CONFIG_NAME} and "
            "open_clip_model.safetensors"
        )
    encoder_id = spec if spec == "mini" else str(folder.resolve())  # it may be loaded from elsewhere later
    return _Found(encoder_id, f"local-dir:{folder}", Path(weights))


def _checkpoint(spec: str) -> _Found:
    name, _, file = spec.partition("@")
    weights = Path(file).expanduser()
    if not weights.is_file():
        raise EncoderError(f"--encoder {spec}: no file {weights}; give NAME@FILE with a checkpoint's path")
    if name == "mini" or Path(name).is_dir():
        folder = MINI_DIR if name == "mini" else Path(name)
        name_or_folder = name if name == "mini" else str(folder.resolve())
        encoder_id = f"{name_or_folder}@{weights.resolve()}"
        return _Found(encoder_id, f"local-dir:{folder}", weights, is_checkpoint=True)
    _known_model(name, spec)
    return _Found(f"{name}@{weights.resolve()}", name, weights, is_checkpoint=True)


def _tag(spec: str) -> _Found:
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    name, _, tag = spec.partition("/")
    config = _known_model(name, spec)
    tags = list_pretrained_tags_by_model(name)
    if tag not in tags:
        offered = f"its tags are {', '.join(tags)}" if tags else "open_clip knows no tag of it"
        raise EncoderError(
            f"--encoder {spec}: {name} has no pretrained tag {tag!r}; {offered}; "
            f"or give a checkpoint: --encoder {name}@FILE"
        )
    pretrained = get_pretrained_cfg(name, tag)
    with_gelu = bool(pretrained.get("quick_gelu", False)) and not config.get("quick_gelu", False)
    weights = _download(spec, lambda: download_pretrained(pretrained))
    return _Found(spec, name, weights, tag=tag, quick_gelu=with_gelu)


def _hub(spec: str) -> _Found:
    from open_clip.pretrained import download_pretrained_from_hf

    repository = spec.removeprefix("hf-hub:")
    return _Found(spec, spec, _download(spec, lambda: download_pretrained_from_hf(repository)))


def _download(spec: str, download: Callable[[], str]) -> Path:
    try:
        with _offline_if_unreachable():
            return Path(download())
    except Exception as error:  # urllib, httpx and the hub's own errors alike: nothing came
        raise EncoderError(
            f"--encoder {spec}: its weights are not on this machine and could not be downloaded "
            f"({type(error).__name__}); {WAY_OUT}"
        ) from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Let the hub's client use its cache only, where its host has no address: it would retry for a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging as hub_logging

    before, verbosity = constants.HF_HUB_OFFLINE, hub_logging.get_verbosity()
    host = urlsplit(constants.ENDPOINT).hostname
    if not getproxies():
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        hub_logging.set_verbosity(verbosity)


def _known_model(name: str, spec: str) -> dict[str, Any]:
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`cfbd doctor --models` lists them"
        raise EncoderError(f"--encoder {spec}: open_clip has no model {name!r}; {hint}")
    found: dict[str, Any] = config
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_published_hash(weights: Path, sha256: str) -> None:
    """Refuse a file of this project that is not the one it was published with (``SHA256SUMS``).

    Raises EncoderError when the file's line is missing or differs.
    """
    sums = weights.with_name("SHA256SUMS")
    published = {}
    if sums.is_file():
        lines = (line.split() for line in sums.read_text(encoding="utf-8").splitlines() if line.strip())
        published = {name.lstrip("*"): digest for digest, name in lines}
    if published.get(weights.name) != sha256:
        raise EncoderError(
            f"{weights}: its sha256 {sha256[:12]}… is not the published one in {sums.name}; "
            "the file was changed or damaged: restore it from the repository"
        )
