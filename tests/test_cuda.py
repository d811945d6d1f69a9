"""What only a GPU can show: half precision, its memory, NCCL, and that its embeddings are those of the CPU."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cfbd_core.demo.scenes import draw_scenes
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import TrainingError
from cfbd_core.training import loop as loops
from cfbd_core.training.crops import crop_boxes, cut
from cfbd_core.training.run import train
from cfbd_core.training.tracking import read_metrics
from tests.training.test_crops import by_pil, noise
from tests.training.test_resume import RUNS, Killed, killed_at, weights
from tests.training.tiny import tiny_folder, tiny_params, toy_set

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

SAME = 1 - 1e-4  # a cosine, in half precision


@pytest.fixture
def model(tmp_path) -> str:
    return tiny_folder(tmp_path / "tiny")


def on_gpu(model: str, **others: object):
    return tiny_params(model, device="cuda", **others)


def test_embeddings_are_those_of_the_cpu():
    scenes = list(draw_scenes(0, 64))
    found = {}
    for device in ("cpu", "cuda"):
        encoder = load_encoder("mini", device)
        pictures = torch.stack([encoder.transform(one.image) for one in scenes])
        found[device] = (
            encoder.encode_images(pictures),
            encoder.encode_texts([one.caption for one in scenes]),
        )
    for cpu, gpu in zip(*found.values(), strict=True):
        assert (cpu * gpu).sum(1).min() > SAME
    consistency = {device: (image * text).sum(1) for device, (image, text) in found.items()}
    assert np.abs(consistency["cpu"] - consistency["cuda"]).max() < 0.01


@pytest.mark.parametrize("size", [64, 224])
def test_crops_are_pils_within_a_grey_level(size):
    squares, boxes = noise(32, size, 0, hard=True), crop_boxes(np.arange(32), 0, 0, size, 0.5)
    found = cut(torch.from_numpy(squares).cuda(), torch.from_numpy(boxes).cuda()).cpu().numpy()
    difference = np.abs(found.astype(int) - by_pil(squares, boxes))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


@pytest.mark.parametrize("name", RUNS)
def test_every_defence_learns_in_half_precision(name, model, tmp_path):
    train(toy_set(), tmp_path / "run", on_gpu(model, epochs=6, precision="amp", **RUNS[name]))
    losses = [line["loss"] for line in read_metrics(tmp_path / "run") if line["kind"] == "step"]
    assert np.isfinite(losses).all()
    if name in ("plain", "accumulating", "cropping more"):
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["fp32", "amp"])
@pytest.mark.parametrize("name", ["plain", "accumulating", "abl"])
def test_killed_and_resumed_it_ends_with_the_same_weights(name, precision, model, tmp_path):
    params = on_gpu(model, epochs=3, checkpoint_every=2, precision=precision, **RUNS[name])
    train(toy_set(), tmp_path / "whole", params)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 7)
        train(toy_set(), tmp_path / "broken", params)
    train(toy_set(), tmp_path / "broken", params)
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_single_precision_comes_out_as_on_the_cpu(model, tmp_path):
    lines = {}
    for device in ("cpu", "cuda"):
        train(toy_set(), tmp_path / device, tiny_params(model, device=device, precision="fp32"))
        lines[device] = [line["loss"] for line in read_metrics(tmp_path / device) if line["kind"] == "step"]
    assert lines["cuda"] == pytest.approx(lines["cpu"], rel=1e-2)


def test_a_scaler_of_float16_is_resumed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    params = on_gpu(model, epochs=3, checkpoint_every=2, precision="amp")
    whole = train(toy_set(), tmp_path / "whole", params)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 7)
        train(toy_set(), tmp_path / "broken", params)
    broken = train(toy_set(), tmp_path / "broken", params)
    assert broken["loss"] == pytest.approx(whole["loss"], rel=1e-3)


def test_a_full_gpu_is_told_with_a_batch_that_may_fit(model, tmp_path, monkeypatch):
    params = on_gpu(model)

    def too_much(self, batch):
        return torch.empty(2**50, device="cuda")

    monkeypatch.setattr(loops.Loop, "_step", too_much)
    with pytest.raises(TrainingError, match="--batch-size 4 --accumulate 2"):
        train(toy_set(), tmp_path / "run", params)


def test_nccl_gives_what_one_process_gives(model, tmp_path):
    script = tmp_path / "one.py"
    script.write_text(
        "import sys\n"
        "from cfbd_core.training.run import train\n"
        "from tests.training.tiny import tiny_params, toy_set\n"
        "train(toy_set(), sys.argv[2], tiny_params(sys.argv[1], device='cuda', precision='fp32'))\n",
        encoding="utf-8",
    )
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"),
            *(str(script), model, str(tmp_path / "torchrun")),
        ],
        check=True,
        env=environment,
        timeout=300,
    )
    train(toy_set(), tmp_path / "plain", on_gpu(model, precision="fp32"))
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "torchrun")
    for name in one:
        torch.testing.assert_close(one[name], two[name])


def test_a_model_made_on_a_gpu_is_read_on_a_cpu(model, tmp_path):
    train(toy_set(), tmp_path / "run", on_gpu(model, precision="amp"))
    texts = ["a red wall", "a blue wall"]
    on_cpu = load_encoder(str(tmp_path / "run" / "model"), "cpu").encode_texts(texts)
    there = load_encoder(str(tmp_path / "run" / "model"), "cuda").encode_texts(texts)
    assert (on_cpu * there).sum(1).min() > 0.999


def test_a_run_goes_on_on_the_other_device(model, tmp_path):
    params = on_gpu(model, epochs=3, checkpoint_every=2, precision="fp32")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 7)
        train(toy_set(), tmp_path / "run", params)
    done = train(toy_set(), tmp_path / "run", dataclasses.replace(params, device="cpu"))
    assert done["steps"] == 15
