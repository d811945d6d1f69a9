"""Pictures that a transform would make huge, or fails on, with encoders as open_clip makes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cfbd_core.audit.audit import Audit
from cfbd_core.config import EmbedParams
from cfbd_core.embedding.encoders import Encoder, load_encoder
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.embedding.transforms import largest_size, transformed
from cfbd_core.errors import TrainingError
from cfbd_core.evaluation.embedding import Pictures
from cfbd_core.pictures.images import BadImage
from cfbd_core.pictures.picture import Picture
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.pictures.thumbnails import Thumbnails
from cfbd_core.training.sets import TrainingSet

LINE = (1_000_000, 1)
MODES = ("shortest", "longest", "squash")


@pytest.fixture(scope="module")
def encoder_of(tmp_path_factory):
    """Return what gives a tiny random encoder that resizes in this mode."""
    import_torchvision()
    import open_clip

    made: dict[str, Encoder] = {}

    def make(mode: str) -> Encoder:
        if mode not in made:
            folder: Path = tmp_path_factory.mktemp(mode)
            config = {
                "model_cfg": {
                    "embed_dim": 8,
                    "vision_cfg": {
                        "image_size": 224,
                        "layers": 1,
                        "width": 16,
                        "head_width": 8,
                        "patch_size": 112,
                    },
                    "text_cfg": {
                        "context_length": 8,
                        "vocab_size": 49408,
                        "width": 16,
                        "heads": 2,
                        "layers": 1,
                    },
                },
                "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": mode},
            }
            (folder / "open_clip_config.json").write_text(json.dumps(config))
            torch.manual_seed(0)
            model = open_clip.create_model(f"local-dir:{folder}")
            save_file(model.state_dict(), folder / "open_clip_model.safetensors")
            made[mode] = load_encoder(str(folder), "cpu")
        return made[mode]

    return make


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (900, 30)])
def test_the_largest_size_on_the_way_is_the_one_that_the_transform_makes(encoder_of, mode, size):
    transform = encoder_of(mode).transform
    made = [size]
    picture = Image.new("RGB", size)
    for step in transform.transforms:
        picture = step(picture)
        if isinstance(picture, Image.Image):
            made.append(picture.size)
    most = max(width * height for width, height in made[1:])
    width, height = largest_size(transform, size)
    assert width * height == pytest.approx(most, rel=0.02)


@pytest.mark.parametrize("mode", ["shortest", "longest"])
def test_a_line_of_a_million_pixels_is_a_bad_picture(encoder_of, mode):
    with pytest.raises(BadImage) as caught:
        transformed(encoder_of(mode).transform, Image.new("RGB", LINE))
    assert caught.value.reason == ("extreme proportions" if mode == "shortest" else "failed transform")


def test_a_long_picture_that_costs_little_is_transformed_as_ever(encoder_of):
    transform, picture = encoder_of("shortest").transform, Image.new("RGB", (60, 6000), "red")
    assert torch.equal(transformed(transform, picture), transform(picture))


def test_whatever_a_transform_raises_makes_a_bad_picture():
    def fails(picture: Image.Image) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(BadImage, match="failed transform: MemoryError"):
        transformed(fails, Image.new("RGB", (4, 4)))


@pytest.fixture
def with_a_line(tmp_path: Path) -> Path:
    """A table of three pictures and a line of a million pixels."""
    Image.new("RGB", LINE, "red").save(tmp_path / "line.png")
    rows = [("key", "image", "caption"), ("line", "line.png", "a line")]
    for number in range(3):
        Image.new("RGB", (32, 24), (40 * number, 20, 90)).save(tmp_path / f"{number}.png")
        rows.append((str(number), f"{number}.png", f"picture {number}"))
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "pairs.csv"


def test_an_embedding_goes_on_without_the_line_and_says_so(tmp_path, with_a_line, encoder_of):
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(with_a_line)
    audit.embed(encoder_of("shortest"), EmbedParams(device="cpu", workers=2))
    assert audit.pairs()["key"].to_pylist() == ["0", "1", "2"]
    (reason,) = audit.validation_report()["reasons"]
    assert (reason["stage"], reason["reason"], reason["pairs"]) == ("embed", "extreme proportions", 1)
    assert "224000000 × 224" in reason["examples"][0]["detail"]


def test_the_line_has_a_thumbnail_all_the_same(tmp_path, with_a_line):
    (small,) = Thumbnails(tmp_path / "audit").get(
        [Picture(PicturePlace(str(with_a_line.with_name("line.png"))))]
    )
    assert small.size == (256, 1)


@pytest.mark.parametrize("changed", [False, True])
def test_an_evaluation_counts_the_line_as_unreadable(encoder_of, changed):
    pictures = [Image.new("RGB", (40, 40), "blue"), Image.new("RGB", LINE), Image.new("RGB", (40, 40))]
    embedded = Pictures(3, pictures.__getitem__, (lambda row, picture: picture) if changed else None)
    vectors, readable = embedded.embed(encoder_of("shortest"))
    assert readable.tolist() == [True, False, True]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)


def test_training_names_the_pair_whose_picture_cannot_be_transformed(with_a_line, encoder_of):
    pairs = TrainingSet.from_data(with_a_line)
    with pytest.raises(TrainingError, match="pair line: its picture cannot be read"):
        pairs.tensor(0, encoder_of("shortest").transform)
    assert pairs.tensor(1, encoder_of("shortest").transform).shape == (3, 224, 224)
