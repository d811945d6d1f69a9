"""Models to train: any open_clip model, from scratch or from a checkpoint, and the folder it is written to.

=====================  ==================================================================
``mini``               the encoder that ships with this project
``NAME``               an open_clip model from scratch, e.g. ``ViT-B-32``
``NAME/PRETRAINED``    an open_clip model and tag
``hf-hub:ORG/MODEL``   a model on the Hugging Face hub
``NAME@FILE``          a checkpoint of an open_clip model (``mini@FILE`` as well)
``FOLDER``             an open_clip folder; without weights in it the model starts from scratch
``RUN``                a training run's folder: the model that it made
=====================  ==================================================================
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from cfbd_core.embedding.encoder_files import CONFIG_NAME, locate, offline_if_unreachable
from cfbd_core.embedding.encoders import (
    Encoder,
    EncoderInfo,
    keep_freed_memory,
    load_encoder,
    resolve_device,
    short_hash,
)
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.errors import EncoderError, TrainingError
from cfbd_core.machine.files import system_errors, written_beside
from cfbd_core.machine.places import at_home
from cfbd_core.training.place import MODEL, REQUEST, has_model
from cfbd_core.training.specs import is_from_scratch
from cfbd_core.wording import in_one_line

WEIGHTS_NAME = "open_clip_model.safetensors"
SCRATCH = "scratch"  # in place of the sha256 of a checkpoint


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model that is trained: ``config`` is its open_clip folder's, ``size`` the side of its pictures in pixels.

    ``transform`` is that of evaluation; ``mean`` and ``std`` (3,) are of pixels in 0..1. ``origin`` says which
    weights it started from: their sha256, or "scratch".
    """

    spec: str
    origin: str
    model: Any
    transform: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[Sequence[str]], torch.Tensor]
    config: dict[str, Any]
    size: int

    @property
    def from_scratch(self) -> bool:
        """Whether its weights are random."""
        return self.origin == SCRATCH

    @property
    def mean(self) -> Sequence[float]:
        """Of the pixels in 0..1, by channel."""
        mean: Sequence[float] = self.config["preprocess_cfg"]["mean"]
        return mean

    @property
    def std(self) -> Sequence[float]:
        """Of the pixels in 0..1, by channel."""
        std: Sequence[float] = self.config["preprocess_cfg"]["std"]
        return std

    def save(self, folder: Path) -> None:
        """Write an open_clip folder, in place of an earlier one; `--encoder FOLDER` loads it."""
        with written_beside(folder) as beside:
            beside.mkdir()
            write_folder(beside, self.config, self.model.state_dict())
            if hasattr(self.tokenize, "save_pretrained"):
                self.tokenize.save_pretrained(str(beside))
            if folder.is_dir():
                shutil.rmtree(folder)


def build_model(spec: str, seed: int = 0) -> TrainedModel:
    """Return the model that ``spec`` names (see the module's table), on the CPU; ``seed`` draws weights from scratch.

    Raises TrainingError: no such model, weights that do not fit it, or a kind that cannot be trained here.
    """
    import_torchvision()
    keep_freed_memory()
    place = at_home(spec.removeprefix("local-dir:"))
    try:
        if os.path.isfile(place / REQUEST):
            return _loaded(spec, str(trained_folder(place)))
        if is_from_scratch(spec) and (os.path.exists(place) or _is_name(spec)):
            return _from_scratch(spec, f"local-dir:{place}" if os.path.exists(place) else spec, seed)
        return _loaded(spec, spec)
    except EncoderError as error:
        raise TrainingError(str(error).replace("--encoder", "--model")) from error


def whole_spec(spec: str) -> str:
    """Return the specification with whole paths where it names files or folders that exist; names stay as they are."""
    if spec == "mini":
        return spec
    kind = "local-dir:" if spec.startswith("local-dir:") else ""
    place = at_home(spec.removeprefix(kind))
    if os.path.isdir(place):
        return f"{kind}{place.absolute()}"
    name, at, file = spec.partition("@")
    weights = at_home(file)
    if not at or not os.path.isfile(weights):
        return spec
    is_folder = name != "mini" and os.path.isdir(name)
    return f"{Path(name).absolute() if is_folder else name}@{weights.absolute()}"


def trained_folder(run: Path) -> Path:
    """Return the open_clip folder of a training run. Raises TrainingError where it has made none yet."""
    if not has_model(run):
        raise TrainingError(
            f"{run}: this training run has no model yet; `cfbd train --out {run} --resume` goes on with it"
        )
    return run / MODEL


def as_encoder(trained: TrainedModel, device: str = "cpu") -> Encoder:
    """The model as an encoder: the same weights, so that what is learned later is seen. Leaves it in eval mode."""
    width = int(trained.config["model_cfg"]["embed_dim"])
    info = EncoderInfo(trained.spec, trained.origin, short_hash(trained.config), width)
    return Encoder(trained.model, trained.transform, trained.tokenize, info, resolve_device(device))


def write_folder(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Write configuration and weights into an existing folder, as open_clip reads them. Raises OSError."""
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1), encoding="utf-8")
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    with system_errors():
        save_file(whole, folder / WEIGHTS_NAME)


def _loaded(spec: str, encoder_spec: str) -> TrainedModel:
    import open_clip

    with _quiet():
        encoder = load_encoder(encoder_spec, "cpu")
    files = locate(encoder_spec)
    config = dict(open_clip.get_model_config(files.model))
    if files.quick_gelu:
        config["quick_gelu"] = True
    encoder.model.float()
    return _trained(spec, encoder.sha256, encoder.model, encoder.transform, encoder.tokenize, config)


def _from_scratch(spec: str, reference: str, seed: int) -> TrainedModel:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    try:
        with offline_if_unreachable(), _quiet(), torch.random.fork_rng():
            torch.manual_seed(seed)
            model = open_clip.create_model(reference, load_weights=False, pretrained_text=False)
            tokenize = open_clip.get_tokenizer(reference)
            config = dict(open_clip.get_model_config(reference))
    except Exception as error:  # open_clip and timm raise whatever they like here
        reason = in_one_line(error, 160)
        raise TrainingError(f"--model {spec}: open_clip cannot build it: {reason}") from error
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return _trained(spec, SCRATCH, model, transform, tokenize, config)


def _trained(
    spec: str, origin: str, model: Any, transform: Any, tokenize: Any, model_cfg: dict[str, Any]
) -> TrainedModel:
    preprocess = model.visual.preprocess_cfg
    size = preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise TrainingError(
            f"--model {spec}: takes pictures of {height} × {width}; only square ones are trained"
        )
    if "multimodal_cfg" in model_cfg:
        raise TrainingError(f"--model {spec}: writes captions too (CoCa); give a model of two towers")
    if getattr(model, "logit_bias", None) is not None:
        model.logit_bias.requires_grad_(False)  # SigLIP's loss has it, CLIP's has not
    names = ("mean", "std", "interpolation", "resize_mode")
    config = {"model_cfg": model_cfg, "preprocess_cfg": {name: preprocess[name] for name in names}}
    config = json.loads(json.dumps(config))  # tuples become what is read back
    return TrainedModel(spec, origin, model, transform, tokenize, config, int(height))


def _is_name(spec: str) -> bool:
    import open_clip

    return open_clip.get_model_config(spec) is not None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warnings that there are no weights: none were asked for, or they are loaded by us."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
