from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cfbd_core.demo.scenes import draw_scenes
from cfbd_core.embedding.encoder_files import file_sha256
from cfbd_core.embedding.encoders import in_half_precision, load_encoder, resolve_device
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.errors import EncoderError
from cfbd_core.machine.assets import MINI_DIR

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An open_clip folder with a tiny random model."""
    import_torchvision()
    import open_clip

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def picture() -> Image.Image:
    return Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))


def test_a_folder_loads_with_its_width_transform_tokenizer_and_hash(folder):
    encoder = load_encoder(str(folder), "cpu")
    assert encoder.width == 16
    assert encoder.sha256 == file_sha256(folder / "open_clip_model.safetensors")
    image = encoder.transform(picture())
    assert image.shape == (3, 32, 32)
    assert encoder.tokenize(["a photo"]).shape == (1, 16)
    for vectors in (encoder.encode_images(image[None]), encoder.encode_texts(["a photo"])):
        assert vectors.shape == (1, 16)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_checkpoint_of_a_known_architecture_gives_the_same_embeddings(folder, tmp_path):
    whole = load_encoder(str(folder), "cpu")
    checkpoint = tmp_path / "epoch_1.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in whole.model.state_dict().items()}}, checkpoint)
    loaded = load_encoder(f"{folder}@{checkpoint}", "cpu")
    captions = ["a dog", "two dogs on the beach"]
    np.testing.assert_array_equal(loaded.encode_texts(captions), whole.encode_texts(captions))
    assert loaded.sha256 != whole.sha256


class _Run:
    def __reduce__(self):
        return (os.system, ("echo run > executed",))


def test_a_checkpoint_cannot_run_code(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"state_dict": _Run()}))
    torch.save({"state_dict": _Run()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(EncoderError, match="does not load") as refused:
            load_encoder(f"{folder}@{tmp_path / name}", "cpu")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("RN51/openai", "did you mean RN50"),
        ("RN50/nothing", "its tags are openai"),
        ("RN50/openai", "could not be downloaded"),
        ("hf-hub:nobody/nothing", "could not be downloaded"),
        ("ViT-B-32@missing.pt", "no file"),
    ],
)
def test_a_specification_that_leads_nowhere_names_the_way_out(spec, says, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://localhost:1")
    with pytest.raises(EncoderError, match=says) as refused:
        load_encoder(spec, "cpu")
    assert "\n" not in str(refused.value)


def test_a_checkpoint_without_its_model_and_an_empty_folder_are_refused(tmp_path, folder):
    with pytest.raises(EncoderError, match="NAME@"):
        load_encoder(str(folder / "open_clip_model.safetensors"), "cpu")
    with pytest.raises(EncoderError, match="is no open_clip folder"):
        load_encoder(str(tmp_path), "cpu")


def test_an_endless_word_does_not_stall_the_tokenizer(folder):
    encoder = load_encoder(str(folder), "cpu")
    letters = "".join(np.random.default_rng(0).choice(list("abcdefghijk"), 1_000_000))
    vectors = encoder.encode_texts([letters, "word " * 200_000, "a dog"])
    assert vectors.shape == (3, 16)


def test_devices():
    assert resolve_device("auto") in ("cpu", "cuda")
    for other in ("abacus", "meta"):
        with pytest.raises(EncoderError, match="not a device"):
            resolve_device(other)
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="no GPU"):
            resolve_device("cuda")


def test_a_gpu_that_is_not_there_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [resolve_device(one) for one in ("cuda", "cuda:1", "auto")] == ["cuda", "cuda:1", "cuda"]
    with pytest.raises(EncoderError, match="the last GPU here is cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    "preprocess",
    [{"mean": [[0.5], [0.5]]}, {"std": [0, 0, 0]}, {"std": ["x"] * 3}, {"mean": "x"}, {"interpolation": "x"}],
)
def test_a_configuration_that_makes_no_pictures_is_told_as_it_is_loaded(folder, tmp_path, preprocess):
    path = Path(shutil.copytree(folder, tmp_path / "odd")) / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"] = config.get("preprocess_cfg", {}) | preprocess
    path.write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="does not load") as refused:
        load_encoder(str(path.parent), "cpu")
    assert "\n" not in str(refused.value)


def test_half_precision_is_close_and_what_it_does_not_hold_is_computed_again():
    rng = np.random.default_rng(0)
    some, other = (torch.from_numpy(rng.normal(size=(8, 8)).astype(np.float32)) for _ in range(2))
    half = in_half_precision(lambda: some @ other, "cpu")
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), some @ other, atol=1e-2, rtol=1e-2)
    whole = in_half_precision(lambda: (1e4 * some) @ other, "cpu")  # beyond 65,504
    torch.testing.assert_close(whole, (1e4 * some) @ other)


def test_mini_loads_offline_in_a_fresh_process_through_the_same_path():
    script = """
from cfbd_core.embedding.encoders import load_encoder
encoder = load_encoder("mini", "cpu")
print(encoder.id, encoder.width, encoder.encode_texts(["a dog runs"]).shape)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert shown.stdout.strip() == "mini 256 (1, 256)"


def test_tampered_weights_of_mini_are_refused_by_their_hash(tmp_path, monkeypatch):
    copy = tmp_path / "mini"
    shutil.copytree(MINI_DIR, copy)
    monkeypatch.setattr("cfbd_core.embedding.encoder_files.MINI_DIR", copy)
    monkeypatch.setattr("cfbd_core.embedding.encoders.MINI_DIR", copy)
    load_encoder("mini", "cpu")
    weights = copy / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(EncoderError, match="not the published one"):
        load_encoder("mini", "cpu")


def test_float16_keeps_consistencies_that_bfloat16_moves():
    mini, scenes = load_encoder("mini", "cpu"), list(draw_scenes(0, 8))
    pictures = torch.stack([mini.transform(one.image) for one in scenes])
    tokens = mini.tokenize([one.caption for one in scenes])

    def towers(run) -> list[torch.Tensor]:
        encode = (lambda: mini.model.encode_image(pictures), lambda: mini.model.encode_text(tokens))
        return [torch.nn.functional.normalize(run(one).float(), dim=-1) for one in encode]

    def in_bfloat16(forward) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return forward()

    moved = []
    with torch.inference_mode():
        whole = towers(lambda forward: forward())
        for run in (lambda forward: in_half_precision(forward, "cpu"), in_bfloat16):
            half = towers(run)
            agree = min(float((one * other).sum(1).min()) for one, other in zip(whole, half, strict=True))
            consistency = (half[0] * half[1]).sum(1) - (whole[0] * whole[1]).sum(1)
            moved.append((1 - agree, float(consistency.abs().max())))
    (float16, by_float16), (bfloat16, by_bfloat16) = moved
    assert float16 < 1e-4
    assert by_float16 < 2e-3
    assert bfloat16 > 10 * float16
    assert by_bfloat16 > 3 * by_float16


def test_mini_tells_a_dog_from_a_banana():
    encoder = load_encoder("mini", "cpu")
    a, b, c = encoder.encode_texts(
        ["a dog runs on grass", "a puppy is running outside", "a photo of a banana"]
    )
    assert a @ b > a @ c + 0.2
    assert sum(file.stat().st_size for file in MINI_DIR.iterdir()) <= 45_000_000
