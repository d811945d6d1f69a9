"""Sources of labelled pictures, encoders that are small or rigged, attacks with a trigger of our choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cfbd_core.demo.scenes import single_object_scene
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.evaluation.attack_success import SavedAttack
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.poisoning.plan import PoisonParams
from tests.toy import ToyEncoder, toy_picture

COLOURS = ("red", "green", "blue")
SCENE_CLASSES = ("car", "dog", "tree")


class ColourEncoder(ToyEncoder):
    """The toy encoder with a model that has modes, and words without their full stops."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Dropout())

    def encode_images(self, images):
        assert not any(module.training for module in self.model.modules())
        return super().encode_images(images)

    def encode_texts(self, captions):
        assert not any(module.training for module in self.model.modules())
        return super().encode_texts([caption.replace(".", "") for caption in captions])


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


def coloured(labels: np.ndarray, classes=COLOURS, seed: int = 0) -> LabelledImages:
    """Pictures 16 × 16 whose class is their colour."""
    rng = np.random.default_rng(seed)
    pixels = np.stack([np.asarray(toy_picture(classes[label], rng)) for label in labels])
    return LabelledImages.from_arrays(pixels, labels, classes)


def patch_attack(colours=("white",), targets=("white",), side: int = 200, size: int = 224) -> SavedAttack:
    """BadNets with patches of these colours, so large that they are all that the toy encoder sees."""
    params = PoisonParams(
        "badnets", targets=targets, triggers=len(colours) // len(targets), options={"size": side}
    )
    triggers = [
        {"pattern": np.asarray(Image.new("RGB", (side, side), colour), np.uint8)} for colour in colours
    ]
    return SavedAttack(params, triggers, size)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """An open_clip folder with a tiny model of random weights that sees 32 × 32 pixels."""
    import_torchvision()
    import open_clip

    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    folder.mkdir()
    vision = {"image_size": 32, "width": 32, "head_width": 16, "patch_size": 16, "layers": 1}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def scenes(tmp_path) -> Path:
    """A folder of twelve scenes of one thing each: captions are the class's name, the json has ``label``."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(12):
        name = SCENE_CLASSES[number % 3]
        single_object_scene(1, number, name, 64).image.save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.json").write_text(json.dumps({"caption": name, "label": name}))
    return folder
