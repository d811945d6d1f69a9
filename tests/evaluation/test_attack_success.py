"""ASR against a literal count; triggers of a copy are put on other pictures as they were on the poisons."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cfbd_core.attacks import ATTACKS
from cfbd_core.attacks.base import Workshop
from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.evaluation.attack_success import SavedAttack, success, together
from cfbd_core.poisoning.plan import PoisonParams, make_triggers
from cfbd_core.poisoning.trigger_files import save_triggers
from tests.evaluation.conftest import patch_attack

PATCH = {"pattern": np.zeros((16, 16, 3), np.uint8), "mask": np.ones((16, 16), bool)}


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 3))), st.booleans())
def test_success_is_the_literal_share(called, with_base):
    without = called[:, 0] ^ True if with_base else None
    found = success(called, without)
    assert found["asr"] == sum(cell for row in called.tolist() for cell in row) / called.size
    assert found["triggers"] == [sum(column) / len(called) for column in called.T.tolist()]
    assert found["asr_base"] == (None if without is None else sum(without.tolist()) / len(without))
    assert found["asr_images"] == called.size


def test_targets_are_pooled_by_their_pictures():
    many, few = np.ones((8, 1), bool), np.zeros((1, 2), bool)
    found = together([(many, np.zeros(8, bool)), (few, np.ones(1, bool))])
    assert found["asr"] == 0.8
    assert found["asr_base"] == pytest.approx(1 / 9)
    assert found["asr_images"] == 10


def test_nothing_has_no_rate():
    assert together([])["asr"] is None
    found = success(np.zeros((0, 1), bool))
    assert (found["asr"], found["asr_interval"], found["asr_base"]) == (None, None, None)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "mmpoison"])
def test_every_attack_of_the_lab_is_read_back_and_put_on_pictures(tmp_path, name):
    params = PoisonParams(name, targets=("banana", "volcano"), triggers=2, seed=5)
    triggers = [PATCH] * 4 if ATTACKS[name].optimised else make_triggers(params, Workshop)
    (tmp_path / "manifest.json").write_text(json.dumps({"params": params.to_dict()}))
    save_triggers(tmp_path / "trigger.npz", triggers)
    attack = SavedAttack.load(tmp_path)
    assert attack.origin is None
    picture = attack.plain(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    )
    assert picture.size == (224, 224)
    before = np.array(picture)
    pictures = [np.asarray(attack.put_on(picture, 3, number)) for number in attack.numbers("Volcano")]
    assert np.array_equal(before, np.asarray(picture))
    for number, changed in zip((2, 3), pictures, strict=True):
        assert np.array_equal(changed, np.asarray(attack.put_on(picture, 3, number)))
        assert (changed != before).any()


def test_mmpoison_has_a_class_for_a_trigger():
    attack = SavedAttack(PoisonParams("mmpoison", options={"origin": "horse"}), [{}])
    assert attack.origin == "horse"


def test_another_target_is_refused():
    assert patch_attack(("white", "cyan"), ("white", "cyan")).numbers("CYAN") == range(1, 2)
    with pytest.raises(ParameterError, match="--target dog: the attack aims at white; give"):
        patch_attack().numbers("dog")


def test_a_trigger_of_another_size_is_told():
    params = PoisonParams("blended", options={"size": 64})
    attack = SavedAttack(params, make_triggers(params, Workshop), name="copy")
    with pytest.raises(ParameterError, match="copy: its trigger does not fit pictures of 224×224: .*64×64"):
        attack.put_on(attack.plain(Image.new("RGB", (10, 10))), 0, 0)
    fitting = dataclasses.replace(attack, size=64)
    assert fitting.put_on(fitting.plain(Image.new("RGB", (10, 10))), 0, 0).size == (64, 64)


def test_a_copy_without_triggers_is_refused(tmp_path):
    with pytest.raises(SourceError, match="without poison has no trigger"):
        SavedAttack(PoisonParams("none"), [])
    with pytest.raises(SourceError, match="holds 1 triggers, its manifest tells of 2"):
        SavedAttack(PoisonParams(triggers=2), [PATCH])
    with pytest.raises(SourceError, match="no poisoned copy here"):
        SavedAttack.load(tmp_path)
