"""Models from every specification, as folders that open_clip loads again; and BatchNorm un-folded."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch.nn.functional import cosine_similarity, normalize

from cfbd_core.demo.scenes import draw_scenes
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import AuditError, TrainingError
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.training import models
from cfbd_core.training.models import SCRATCH, as_encoder, build_model, whole_spec
from cfbd_core.training.sets import TrainingSet
from cfbd_core.training.unfold import is_folded, unfold_batchnorm
from tests.training.tiny import tiny_folder, toy_set


def test_a_folder_without_weights_starts_from_scratch_by_its_seed(model):
    one, two, other = (build_model(model, seed) for seed in (0, 0, 1))
    assert one.origin == SCRATCH
    assert one.from_scratch
    assert (one.size, list(one.mean)) == (16, [0.4, 0.5, 0.6])
    weights, same, different = (trained.model.state_dict() for trained in (one, two, other))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not torch.equal(weights["visual.proj"], different["visual.proj"])


def test_building_one_draws_nothing_from_the_global_generator(model):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_model(model)
    assert torch.equal(torch.rand(1), expected)


def test_it_is_saved_as_a_folder_that_loads_again(model, tmp_path):
    trained = build_model(model)
    (tmp_path / "run").mkdir()
    for _ in range(2):  # also in place of an earlier one
        trained.save(tmp_path / "run" / "model")
    again = build_model(str(tmp_path / "run" / "model"))
    assert not again.from_scratch
    assert again.config == trained.config
    encoder = load_encoder(str(tmp_path / "run" / "model"), "cpu")
    picture = encoder.transform(toy_set(1).picture(0))[None]
    assert np.array_equal(encoder.encode_images(picture), as_encoder(trained).encode_images(picture))
    assert np.array_equal(
        encoder.encode_texts(["a red wall"]), as_encoder(trained).encode_texts(["a red wall"])
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model"]


def test_a_full_disk_is_told_in_one_line_and_the_model_before_stays(model, tmp_path, monkeypatch):
    trained, run = build_model(model), tmp_path / "run"
    run.mkdir()
    trained.save(run / "model")
    before = load_encoder(str(run / "model"), "cpu").sha256

    def full(weights, path):
        path.write_bytes(b"half")
        said = "Error while serializing: I/O error: No space left on device (os error 28)"
        raise SafetensorError(said)

    monkeypatch.setattr(models, "save_file", full)
    with pytest.raises(AuditError, match="the disk is full"), report_in_one_line(run):
        trained.save(run / "model")
    assert [path.name for path in run.iterdir()] == ["model"]
    assert load_encoder(str(run / "model"), "cpu").sha256 == before


def test_a_run_stands_for_its_model(model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match="has no model yet"):
        build_model(str(run))
    build_model(model, seed=5).save(run / "model")
    assert build_model(str(run)).origin == build_model(str(run / "model")).origin


def test_a_name_is_a_model_from_scratch():
    trained = build_model("RN50")
    assert (trained.from_scratch, trained.size) == (True, 224)
    assert trained.config["preprocess_cfg"]["resize_mode"] == "shortest"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "open_clip has no model 'nothing'"),
        ("ViT-B-32/none", "--model ViT-B-32/none: ViT-B-32 has no pretrained tag"),
        ("ViT-B-32@none.pt", "no file none.pt"),
        ("coca_ViT-B-32", "writes captions too"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(spec, said):
    with pytest.raises(TrainingError) as error:
        build_model(spec)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_model_is_refused_without_open_clips_warnings(model, tmp_path, caplog):
    build_model(model).save(tmp_path / "run")
    with pytest.raises(TrainingError):
        build_model(f"ViT-B-32@{tmp_path / 'run' / models.WEIGHTS_NAME}")
    assert not caplog.text


def test_a_folder_whose_configuration_is_broken(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 4}}))
    with pytest.raises(TrainingError, match="open_clip cannot build it"):
        build_model(str(tmp_path))
    wide = Path(tiny_folder(tmp_path / "wide"))
    config = json.loads((wide / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = [16, 32]
    (wide / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="takes pictures of 16 × 32; only square ones"):
        build_model(str(wide))


# --- BatchNorm ----------------------------------------------------------------------------------------


def test_batchnorm_from_scratch_and_true_statistics_are_left_alone(tmp_path):
    resnet = build_model(tiny_folder(tmp_path / "resnet", "resnet"))
    assert unfold_batchnorm(resnet, toy_set()) == 0
    norm = torch.nn.BatchNorm2d(3)
    assert is_folded(norm)
    norm(torch.randn(4, 3, 5, 5))
    assert not is_folded(norm)


@pytest.mark.slow
def test_mini_is_unfolded_so_that_training_starts_near_it():
    """One forward pass in training mode ruins it else (cosine 0.02)."""
    scenes = list(draw_scenes(seed=3, n=80))
    images = np.stack([np.asarray(scene.image.convert("RGB")) for scene in scenes])
    pairs = TrainingSet.from_arrays(images[:48], [scene.caption for scene in scenes[:48]])
    trained = build_model("mini")
    unseen = torch.stack([trained.transform(scene.image) for scene in scenes[48:]])
    with torch.no_grad():
        before = trained.model.eval().encode_image(unseen)
        ruined = copy.deepcopy(trained.model).train().encode_image(unseen)
        assert unfold_batchnorm(trained, pairs) == 27
        after = trained.model.eval().encode_image(unseen)
        training = trained.model.train().encode_image(unseen)
        later = trained.model.eval().encode_image(unseen)
    assert cosine_similarity(before, ruined).mean() < 0.3
    assert (normalize(before, dim=-1) - normalize(after, dim=-1)).abs().max() < 1e-3
    assert cosine_similarity(before, training).mean() >= 0.9
    assert cosine_similarity(before, later).mean() >= 0.99
    assert unfold_batchnorm(trained, pairs) == 0


def test_paths_in_a_specification_become_whole_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "w.pt").write_text("")
    for name in ("mini", "RN50", "RN50/openai", "hf-hub:o/m", "RN50@none.pt", "none"):
        assert whole_spec(name) == name
    assert whole_spec("tiny") == str(tmp_path / "tiny")
    assert whole_spec("local-dir:tiny") == f"local-dir:{tmp_path / 'tiny'}"
    assert whole_spec("RN50@w.pt") == f"RN50@{tmp_path / 'w.pt'}"
    assert whole_spec("mini@w.pt") == f"mini@{tmp_path / 'w.pt'}"
    assert whole_spec("tiny@w.pt") == f"{tmp_path / 'tiny'}@{tmp_path / 'w.pt'}"
