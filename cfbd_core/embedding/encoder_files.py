"""Where an encoder's specification leads: a folder, a checkpoint, a tag or a hub model, and its files.

What a specification looks like stands in :mod:`cfbd_core.embedding.encoders`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from cfbd_core.errors import EncoderError
from cfbd_core.machine.assets import MINI_DIR
from cfbd_core.machine.places import at_home

CONFIG_NAME = "open_clip_config.json"
WAY_OUT = "connect once, or copy the checkpoint here and give --encoder NAME@FILE, or use --encoder mini"


@dataclass(frozen=True)
class EncoderFiles:
    """Where a specification leads: open_clip's model reference and the file with its weights."""

    id: str
    model: str
    weights: Path
    tag: str | None = None
    quick_gelu: bool = False
    is_checkpoint: bool = False


def locate(spec: str) -> EncoderFiles:
    """Find the model and weights that ``spec`` names, downloading if need be; EncoderError if there are none."""
    if spec == "mini":
        return _folder(MINI_DIR, spec)
    if spec.startswith("hf-hub:"):
        return _hub(spec)
    path = at_home(spec.removeprefix("local-dir:"))
    if os.path.isdir(path):
        return _folder(path, spec)
    if "@" in spec:
        return _checkpoint(spec)
    if os.path.isfile(path):
        raise EncoderError(
            f"--encoder {spec}: a checkpoint alone does not say which model it is; "
            f"give --encoder NAME@{spec}, e.g. ViT-B-32@{spec}"
        )
    return _tag(spec)


def _folder(folder: Path, spec: str) -> EncoderFiles:
    from open_clip.factory import _find_checkpoint_in_dir

    weights = _find_checkpoint_in_dir(folder) if os.path.isfile(folder / CONFIG_NAME) else None
    if weights is None:
        raise EncoderError(
            f"--encoder {spec}: {folder} is no open_clip folder; it must hold {CONFIG_NAME} and "
            "open_clip_model.safetensors"
        )
    encoder_id = spec if spec == "mini" else str(folder.resolve())  # it may be loaded from elsewhere later
    return EncoderFiles(encoder_id, f"local-dir:{folder}", Path(weights))


def _checkpoint(spec: str) -> EncoderFiles:
    name, _, file = spec.partition("@")
    weights = at_home(file)
    if not os.path.isfile(weights):
        raise EncoderError(f"--encoder {spec}: no file {weights}; give NAME@FILE with a checkpoint's path")
    if name == "mini" or os.path.isdir(name):
        folder = MINI_DIR if name == "mini" else Path(name)
        name_or_folder = name if name == "mini" else str(folder.resolve())
        encoder_id = f"{name_or_folder}@{weights.resolve()}"
        return EncoderFiles(encoder_id, f"local-dir:{folder}", weights, is_checkpoint=True)
    _known_model(name, spec)
    return EncoderFiles(f"{name}@{weights.resolve()}", name, weights, is_checkpoint=True)


def _tag(spec: str) -> EncoderFiles:
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
    return EncoderFiles(spec, name, weights, tag=tag, quick_gelu=with_gelu)


def _hub(spec: str) -> EncoderFiles:
    from open_clip.pretrained import download_pretrained_from_hf

    repository = spec.removeprefix("hf-hub:")
    return EncoderFiles(spec, spec, _download(spec, lambda: download_pretrained_from_hf(repository)))


def _download(spec: str, download: Callable[[], str]) -> Path:
    try:
        with offline_if_unreachable():
            return Path(download())
    except Exception as error:  # urllib, httpx and the hub's own errors alike: nothing came
        raise EncoderError(
            f"--encoder {spec}: its weights are not on this machine and could not be downloaded "
            f"({type(error).__name__}); {WAY_OUT}"
        ) from error


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
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
    known: dict[str, Any] = config
    return known


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
