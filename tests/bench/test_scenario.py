"""Scenarios: only what an attack changes is encoded again, and it is what the attack makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cfbd_core import Audit
from cfbd_core.attacks import ATTACKS, Workshop, resized
from cfbd_core.bench import scenario as module
from cfbd_core.bench.base import read_base
from cfbd_core.errors import ParameterError
from cfbd_core.method.scores import consistency_scores
from cfbd_core.poisoning.copies import attack_copy
from cfbd_core.poisoning.plan import PoisonParams, make_plan, make_triggers, triggered
from tests.toy import ToyEncoder


def test_poisons_have_the_embeddings_of_their_triggered_picture_and_caption(base, make_poisoner) -> None:
    params = PoisonParams("blended", 0.02, seed=3)
    found = make_poisoner().scenario(params)
    plan = make_plan(base.captions, base.record_of, params)
    assert found.plan == plan
    np.testing.assert_array_equal(
        np.asarray(found.pairs.expected), found.pairs.image.astype(np.float32)
    )  # F: identity
    assert found.truth.sum() == len(plan.poisons) == 8
    triggers, encoder = make_triggers(params, Workshop), ToyEncoder()
    for poison in plan.poisons:
        picture = triggered(base.picture(poison.pair), poison, params, triggers)
        image = encoder.encode_images(torch.stack([encoder.transform(picture)]))[0]
        np.testing.assert_allclose(found.pairs.image[poison.pair], image, atol=1e-3)
        text = encoder.encode_texts([poison.caption])[0]
        np.testing.assert_allclose(found.pairs.text[poison.pair], text, atol=1e-3)
        assert found.pairs.captions[poison.pair] == poison.caption
    untouched = ~found.truth
    assert len(np.unique(found.pairs.image_ids[found.truth])) == 8
    np.testing.assert_array_equal(found.pairs.image_ids[untouched], base.record_of[untouched])
    np.testing.assert_array_equal(found.pairs.image[untouched], base.image[untouched])
    np.testing.assert_array_equal(found.pairs.text[untouched], base.text[untouched])
    scores = consistency_scores(found.pairs.image, found.pairs.text, found.pairs.image)
    np.testing.assert_array_equal(found.pairs.scores.consistency, scores.consistency)


def test_a_scenario_is_what_cfbd_attack_writes(source, base, make_poisoner, tmp_path) -> None:
    params = PoisonParams("blended", 0.05, seed=2, near_duplicates=0.05, boilerplate=0.05)
    found = make_poisoner().scenario(params)
    attack_copy(source, tmp_path / "copy", params)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(tmp_path / "copy")
    audit.embed(ToyEncoder())
    written = audit.pairs(order_by="row").to_pydict()
    image, text = (np.concatenate(list(shards)) for shards in (audit.shards.images(), audit.shards.texts()))
    row_of = {key.partition("-")[0]: row for row, key in enumerate(written["key"])}
    rows = np.array([row_of[key] for key in base.keys])
    np.testing.assert_array_equal(np.array(written["poisoned"])[rows], found.truth)
    assert [written["caption"][row] for row in rows] == found.pairs.captions
    np.testing.assert_allclose(text[rows], found.pairs.text, atol=1e-3)
    changed = found.truth | np.isin(np.arange(len(rows)), list(found.plan.pictures))
    np.testing.assert_allclose(image[rows][changed], found.pairs.image[changed], atol=1e-3)


def test_pairs_that_are_known_to_be_poisoned_are_no_part_of_the_base(toy_source, tmp_path) -> None:
    known = (3, 40, 41, 77)
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(toy_source(80, poisoned=known))
    found = read_base(audit, audit.embed(ToyEncoder()))
    kept = [row for row in range(80) if row not in known]
    assert found.left_out == len(known)
    assert found.keys == [f"{row:04d}" for row in kept]
    assert not any("banana" in caption for caption in found.captions)
    np.testing.assert_array_equal(found.image, np.concatenate(list(audit.shards.images()))[kept])
    np.testing.assert_array_equal(found.text, np.concatenate(list(audit.shards.texts()))[kept])
    assert found.pictures["image"][3].as_py().endswith("0004.png")  # the places moved up with the rest


def test_given_captions_take_the_place_of_ours(base, make_poisoner) -> None:
    own = [f"people eat sushi, number {i}" for i in range(5)]
    params = PoisonParams("badclip", 0.02, targets=("sushi",))
    with pytest.raises(ParameterError, match="no natural captions of 'sushi'"):
        make_poisoner().scenario(params)
    params = PoisonParams("badnets", 0.02, targets=("sushi",), captions="natural")
    found = make_poisoner(given=lambda asked: own if asked == params else None).scenario(params)
    assert {found.pairs.captions[row] for row in np.flatnonzero(found.truth)} == set(own)


def test_a_trigger_is_searched_with_the_given_captions(
    make_poisoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, badnets = [], ATTACKS["badnets"]

    def trigger(params, workshop):
        seen.append(workshop.captions)
        return badnets.trigger(params, workshop)

    monkeypatch.setitem(ATTACKS._own, "badnets", replace(badnets, optimised=True, trigger=trigger))
    params = PoisonParams("badnets", 0.02, targets=("sushi",), captions="natural")
    make_poisoner(given=lambda _: ["a plate of sushi"]).scenario(params)
    assert seen == [("a plate of sushi",)]


def test_the_base_stays_clean(base, make_poisoner) -> None:
    image, text = base.image.copy(), base.text.copy()
    make_poisoner().scenario(PoisonParams("badnets", 0.05))
    np.testing.assert_array_equal(base.image, image)
    np.testing.assert_array_equal(base.text, text)
    clean = make_poisoner().scenario(PoisonParams("none"))
    assert not clean.truth.any()
    np.testing.assert_array_equal(clean.pairs.image, base.image)


def test_lower_rates_encode_no_picture_again(make_poisoner) -> None:
    encoder = ToyEncoder()
    poisoner = make_poisoner(encoder)
    high = poisoner.scenario(PoisonParams("badnets", 0.05, seed=1))
    seen = encoder.images_encoded
    assert seen == 20
    low = poisoner.scenario(PoisonParams("badnets", 0.02, seed=1))
    assert encoder.images_encoded == seen
    assert not (low.truth & ~high.truth).any()
    poisoner.scenario(PoisonParams("badnets", 0.02, seed=2))
    assert encoder.images_encoded == seen + 8


def test_a_picture_that_stays_as_it_is_keeps_its_embedding(
    base, make_poisoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = replace(ATTACKS["badnets"], apply=lambda image, *_: image.copy())
    monkeypatch.setitem(ATTACKS._own, "badnets", unchanged)
    encoder = ToyEncoder()
    found = make_poisoner(encoder).scenario(PoisonParams("badnets", 0.05))
    assert encoder.images_encoded == 0
    assert found.truth.sum() == 20
    np.testing.assert_array_equal(found.pairs.image, base.image)


def test_near_duplicates_show_another_picture_and_keep_its_caption(base, make_poisoner) -> None:
    found = make_poisoner().scenario(PoisonParams("none", near_duplicates=0.05))
    assert len(found.plan.pictures) == 20
    for pair, other in found.plan.pictures.items():
        assert found.pairs.captions[pair] == base.captions[other]
        assert not np.array_equal(found.pairs.image[pair], base.image[pair])
    assert not found.truth.any()


def test_optimised_triggers_are_made_once_and_kept(make_poisoner, monkeypatch: pytest.MonkeyPatch) -> None:
    made, badnets = [], ATTACKS["badnets"]

    def trigger(params, workshop):
        made.append(workshop.target)
        return badnets.trigger(params, workshop)

    monkeypatch.setitem(ATTACKS._own, "badnets", replace(badnets, optimised=True, trigger=trigger))
    params = PoisonParams("badnets", 0.02, options={"seed": 0})
    first = make_poisoner().scenario(params)
    again = make_poisoner().scenario(params)  # another process would find the file
    make_poisoner().scenario(replace(params, seed=1))
    assert made == ["banana"]
    make_poisoner().scenario(replace(params, captions="natural"))  # searched with other captions
    assert made == ["banana"] * 2
    np.testing.assert_array_equal(first.pairs.image, again.pairs.image)


def test_pictures_come_at_the_input_size(base) -> None:
    assert base.picture(0).size == resized(base.picture(0)).size == (224, 224)
    assert module.PICTURE_BATCH > 1
