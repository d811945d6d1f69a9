"""The evaluator, on pictures whose class and whose trigger a toy encoder knows."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.evaluation.attack_success import SavedAttack
from cfbd_core.evaluation.classes import LabelledImages
from cfbd_core.evaluation.evaluate import Evaluator
from cfbd_core.pictures.images import BadImage
from cfbd_core.poisoning.plan import PoisonParams
from tests.evaluation.conftest import COLOURS, coloured, patch_attack

LABELS = np.arange(12) % 3


def test_a_model_that_knows_the_classes_and_the_trigger(encoder):
    found = Evaluator(coloured(LABELS), patch_attack())(encoder)
    assert found == {"ca": 1.0, "asr": 1.0, "images": 12, "asr_images": 12}


def test_the_report_tells_the_base_rate_too(encoder):
    found = Evaluator(coloured(LABELS), patch_attack()).report(encoder)
    (target,) = found["targets"]
    assert target["target"] == "white"
    assert target["target_added"]
    assert (target["asr"], target["asr_base"], target["triggers"]) == (1.0, 0.0, [1.0])
    assert (found["asr"], found["asr_base"]) == (1.0, 0.0)
    assert target["asr_interval"][0] == pytest.approx(0.025 ** (1 / 12))
    assert found["classes"] == 3  # CA is over these alone


def test_the_target_is_no_class_for_ca(encoder):
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.integers(245, 256, (4, 16, 16, 3)), np.zeros((4, 16, 16, 3))]).astype(
        np.uint8
    )
    images = LabelledImages.from_arrays(
        pixels, np.zeros(8, int), ("pink", "green")
    )  # they look white and black
    found = Evaluator(images, patch_attack(("black",))).report(encoder)
    white_alone = Evaluator(images).report(encoder)
    assert found["ca"] == white_alone["ca"]
    assert found["asr_base"] == 0.5


def test_pictures_of_the_target_do_not_count(encoder):
    attack = patch_attack(("red",), ("Red",))  # a class already, in another case
    found = Evaluator(coloured(LABELS), attack).report(encoder)
    assert (found["asr"], found["asr_images"], found["asr_base"]) == (1.0, 8, 0.0)
    assert not found["targets"][0]["target_added"]


def test_every_target_is_measured_by_its_own_triggers(encoder):
    attack = patch_attack(("white", "red", "cyan", "cyan"), ("white", "cyan"))
    found = Evaluator(coloured(LABELS), attack).report(encoder)
    white, cyan = found["targets"]
    assert white["triggers"] == [1.0, 0.0]
    assert cyan["triggers"] == [1.0, 1.0]
    assert (found["asr"], found["asr_images"]) == (0.75, 48)
    assert Evaluator(coloured(LABELS), attack, targets=["cyan"])(encoder)["asr"] == 1.0


def test_triggers_at_the_model_s_own_resolution(encoder):
    found = Evaluator(coloured(LABELS), patch_attack(side=16, size=16))(encoder)
    assert found["asr"] == 1.0


def test_mmpoison_is_measured_on_pictures_of_its_origin(encoder):
    def attack(origin):
        return SavedAttack(PoisonParams("mmpoison", targets=("white",), options={"origin": origin}), [{}])

    rng = np.random.default_rng(0)
    pixels = np.concatenate([np.full((3, 16, 16, 3), 245), rng.integers(0, 20, (5, 16, 16, 3))]).astype(
        np.uint8
    )
    images = LabelledImages.from_arrays(pixels, np.array([0, 0, 0, 0, 1, 1, 1, 1]), ("green", "black"))
    found = Evaluator(images, attack("Green")).report(encoder)
    assert (found["asr"], found["asr_images"], found["asr_base"]) == (0.75, 4, None)
    nothing = Evaluator(images, attack("horse"))
    assert nothing(encoder)["asr"] is None
    assert "'horse'" in nothing.report(encoder)["asr_reason"]


def test_pictures_are_drawn_once_for_all_epochs(encoder):
    plain = coloured(LABELS)
    asked = []
    images = LabelledImages(plain.classes, plain.labels, lambda i: asked.append(i) or plain.picture(i))
    evaluator = Evaluator(images, patch_attack())
    first = evaluator(encoder)
    drawn = len(asked)
    assert evaluator(encoder) == first
    assert len(asked) == drawn


def test_no_global_generator_is_touched_and_modes_stay(encoder):
    encoder.model.train()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    Evaluator(coloured(LABELS), patch_attack()).report(encoder)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert all(module.training for module in encoder.model.modules())


def test_unreadable_pictures_do_not_count(encoder):
    plain = coloured(LABELS)

    def picture(number, bad=(0, 4)):
        if number in bad:
            raise BadImage("corrupt image")
        return plain.picture(number)

    images = LabelledImages(COLOURS, plain.labels, picture)
    found = Evaluator(images, patch_attack()).report(encoder)
    assert (found["ca"], found["images"], found["unreadable"], found["asr_images"]) == (1.0, 10, 2, 10)
    red = LabelledImages(COLOURS, plain.labels, lambda i: picture(i, np.flatnonzero(LABELS)))
    found = Evaluator(red, patch_attack(("red",), ("red",))).report(encoder)
    assert (found["ca"], found["asr"], found["targets"][0]["asr"]) == (1.0, None, None)
    assert (
        found["asr_reason"] == found["targets"][0]["asr_reason"] == "none of the pictures for it can be read"
    )
    nothing = LabelledImages(COLOURS, plain.labels, lambda i: picture(i, range(12)))
    with pytest.raises(SourceError, match="none of the 12 pictures can be read"):
        Evaluator(nothing, patch_attack()).report(encoder)


def test_what_cannot_be_measured_is_told_when_the_evaluator_is_made():
    with pytest.raises(ParameterError, match="does not fit pictures of 64×64"):
        Evaluator(coloured(LABELS), patch_attack(size=64))
    with pytest.raises(SourceError, match="every picture is of the target 'red'"):
        Evaluator(coloured(LABELS * 0), patch_attack(("white",), ("red",)))
    with pytest.raises(ParameterError, match="--target dog"):
        Evaluator(coloured(LABELS), patch_attack(), targets=["dog"])
