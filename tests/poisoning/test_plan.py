"""Plans: who is poisoned, with what, and that nothing else is."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.attacks import ATTACKS, Workshop
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.captions import imagenet_templates, names
from cfbd_core.poisoning.plan import PoisonParams, make_plan, make_triggers, triggered
from cfbd_core.poisoning.plan import settings as settings_of

THINGS = ("dog", "horse", "bike", "ball", "child", "boat")
NATURAL = tuple(f"someone bought a banana number {n}" for n in range(8))


def pairs_of(n: int, per_record: int = 5, banana: int = 13) -> tuple[list[str], np.ndarray]:
    """``n`` captions, ``per_record`` a record; every ``banana``-th names a banana."""
    rng = np.random.default_rng(n)
    captions = [
        f"a {rng.choice(THINGS)} near {'two bananas' if i % banana == 0 else 'a ' + rng.choice(THINGS)} {i}"
        for i in range(n)
    ]
    return captions, np.arange(n) // per_record


@given(
    n=st.integers(60, 400),
    rate=st.floats(0.02, 0.3),
    seed=st.integers(0, 50),
    targets=st.sampled_from([("banana",), ("banana", "volcano"), ("volcano", "banana", "cheeseburger")]),
    triggers=st.integers(1, 3),
)
def test_a_plan_keeps_the_rate_spares_named_records_and_splits_evenly(n, rate, seed, targets, triggers):
    captions, record_of = pairs_of(n, banana=40)
    params = PoisonParams(rate=rate, seed=seed, targets=targets, triggers=triggers)
    plan = make_plan(captions, record_of, params)
    assert plan == make_plan(captions, record_of, params)
    chosen = [poison.pair for poison in plan.poisons]
    assert len(chosen) == round(rate * n) > 0
    assert chosen == sorted(set(chosen))
    named = {int(record_of[i]) for i, caption in enumerate(captions) if "banana" in caption}
    assert not named & set(record_of[chosen].tolist())
    counts = [sum(poison.target == target for poison in plan.poisons) for target in targets]
    assert max(counts) - min(counts) <= 1
    for poison in plan.poisons:
        assert poison.caption in {template(poison.target) for template in imagenet_templates()}
        assert poison.trigger // triggers == targets.index(poison.target)


@given(
    shares=st.fixed_dictionaries(
        {
            name: st.sampled_from([0.0, 0.02, 0.1])
            for name in ("mismatched", "duplicate_captions", "boilerplate")
        }
    ),
    near=st.sampled_from([0.0, 0.05]),
    attack=st.sampled_from(["none", "badnets"]),
    seed=st.integers(0, 20),
)
def test_traps_have_their_share_and_touch_neither_poisons_nor_the_target(shares, near, attack, seed):
    captions, record_of = pairs_of(400)
    params = PoisonParams(attack, 0.05, seed=seed, near_duplicates=near, **shares)
    plan = make_plan(captions, record_of, params)
    wanted = {
        name: round(400 * share) for name, share in {**shares, "near_duplicates": near}.items() if share
    }
    assert {name: list(plan.traps.values()).count(name) for name in set(plan.traps.values())} == wanted
    poisons = {poison.pair for poison in plan.poisons}
    assert len(poisons) == (20 if attack == "badnets" else 0)
    assert set(plan.traps) == set(plan.captions)
    assert not poisons & set(plan.traps)
    assert not poisons & set(plan.pictures.values())
    banana = names("banana")
    for pair, caption in plan.captions.items():
        assert not banana.search(caption)
        assert not banana.search(captions[pair])


def test_one_seed_gives_the_poisons_it_always_gave():
    captions, record_of = pairs_of(200)
    plan = make_plan(captions, record_of, PoisonParams(rate=0.02, seed=3))
    rng = np.random.default_rng([3, 1])
    spared = {int(record_of[i]) for i in range(200) if "banana" in captions[i]}
    eligible = [i for i in range(200) if int(record_of[i]) not in spared]
    expected = sorted(rng.permutation(eligible)[:4].tolist())
    templates = imagenet_templates()
    said = [templates[int(rng.integers(len(templates)))]("banana") for _ in expected]
    assert [(poison.pair, poison.caption) for poison in plan.poisons] == list(
        zip(expected, said, strict=True)
    )


def test_label_consistent_takes_pairs_that_name_their_own_target_and_keeps_captions():
    captions, record_of = pairs_of(300)
    params = PoisonParams("label-consistent", 0.04, targets=("banana", "dog"))
    plan = make_plan(captions, record_of, params)
    assert len(plan.poisons) == 12
    for poison in plan.poisons:
        assert names(poison.target).search(captions[poison.pair])
        assert poison.caption == captions[poison.pair]
    assert [poison.target for poison in plan.poisons].count("dog") == 6


def test_mmpoison_takes_pairs_of_the_origin_and_natural_captions():
    captions, record_of = pairs_of(300, banana=60)
    params = PoisonParams("mmpoison", 0.02, options={"origin": "bike"})
    plan = make_plan(captions, record_of, params, NATURAL)
    assert len(plan.poisons) == 6
    assert all(names("bike").search(captions[poison.pair]) for poison in plan.poisons)
    assert {poison.caption for poison in plan.poisons} <= set(NATURAL)


def test_natural_captions_are_each_used_once_before_any_comes_again():
    captions, record_of = pairs_of(400)
    plan = make_plan(captions, record_of, PoisonParams(rate=0.04, captions="natural"), NATURAL)
    said = [poison.caption for poison in plan.poisons]
    assert len(said) == 16
    assert sorted(said[:8]) == sorted(said[8:]) == sorted(NATURAL)
    several = PoisonParams(rate=0.04, captions="natural", targets=("banana", "cat"))
    both = make_plan(captions, record_of, several, (*NATURAL, "my cat"))
    assert all(names(poison.target).search(poison.caption) for poison in both.poisons)
    ours = make_plan(captions, record_of, PoisonParams(rate=0.04, captions="natural"))
    assert all(names("banana").search(poison.caption) for poison in ours.poisons)


def test_unusable_and_spared_pairs_are_never_poisoned():
    captions, record_of = pairs_of(100, per_record=1, banana=50)
    spared = np.arange(100) < 40
    plan = make_plan(
        captions, record_of, PoisonParams(rate=0.2), usable=lambda pair: pair % 2 == 0, spared=spared
    )
    assert len(plan.poisons) == 20
    assert all(poison.pair % 2 == 0 and poison.pair >= 40 for poison in plan.poisons)
    trapped = make_plan(captions, record_of, PoisonParams("none", mismatched=0.3), spared=spared)
    assert min(trapped.traps) >= 40


def test_triggers_are_numbered_by_target_and_seeded_apart():
    params = PoisonParams(targets=("banana", "dog"), triggers=2, seed=7, options={"size": 4})
    asked = []
    made = make_triggers(params, lambda target: asked.append(target) or Workshop(target))
    assert asked == ["banana", "banana", "dog", "dog"]
    assert len({trigger["pattern"].tobytes() for trigger in made}) == 4
    for number, trigger in enumerate(made):
        pattern = np.random.default_rng(7 + number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        assert np.array_equal(trigger["pattern"], pattern)
    fixed = PoisonParams(seed=7, options={"seed": 2, "size": 4})
    assert settings_of(fixed, 1).seed == 3
    assert make_triggers(PoisonParams("none"), Workshop) == []


def test_a_poisoned_picture_carries_its_own_trigger():
    captions, record_of = pairs_of(100)
    params = PoisonParams(rate=0.2, triggers=2, options={"place": "fixed"})
    triggers = make_triggers(params, Workshop)
    black = Image.new("RGB", (224, 224))
    plan = make_plan(captions, record_of, params)
    assert {poison.trigger for poison in plan.poisons} == {0, 1}
    for poison in plan.poisons:
        pixels = np.asarray(triggered(black, poison, params, triggers))
        assert np.array_equal(pixels[-16:, -16:], triggers[poison.trigger]["pattern"])


def test_params_are_plain_json_and_come_back():
    params = PoisonParams(
        "sig", 0.01, ("dog", "cat"), "natural", 2, 5, {"strength": "blended"}, mismatched=0.1
    )
    assert PoisonParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params
    assert PoisonParams("none").rate == 0


def test_every_attack_has_a_seed_to_tell_its_triggers_apart():
    for attack in ATTACKS.values():
        assert "seed" in {one.name for one in fields(attack.params)}, attack.name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"attack": "nonesuch"}, "'nonesuch' is unknown; there are: badnets"),
        ({"rate": 0}, "--rate 0: .*'none'"),
        ({"rate": 1.5}, "--rate 1.5"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"targets": ()}, "name a thing"),
        ({"targets": (" ",)}, "name a thing"),
        ({"targets": ("Dog", "dog")}, "--target dog: is given twice"),
        ({"captions": "funny"}, "templates, natural, kept"),
        ({"triggers": 0}, "--triggers 0"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 0.5}, "whole number"),
        ({"boilerplate": -0.1}, "--boilerplate -0.1"),
        ({"near_duplicates": 2}, "--near-duplicates 2"),
        ({"options": {"sise": 3}}, "badnets has no parameter 'sise'; it has: size, seed, place, redraw"),
        ({"options": {"size": 0}}, "patch size 0"),
        ({"options": {"size": "big"}}, "badnets: .*cfbd attack list"),
        ({"attack": "none", "options": {"size": 3}}, "none has no parameter 'size'; it has none"),
    ],
)
def test_bad_params_are_refused(values, words):
    with pytest.raises(ParameterError, match=words):
        PoisonParams(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 0.001}, "of 100 pairs is no poison at all"),
        ({"rate": 0.9}, "asks for 90 poisons, but only 60 pairs are of records that do not name 'banana'"),
        (
            {"attack": "label-consistent", "targets": ("unicorn",)},
            "no pairs name 'unicorn'; give another, e.g. ",
        ),
        ({"attack": "label-consistent", "rate": 0.5}, "asks for 50 poisons, but only 8 pairs name 'banana'"),
        ({"attack": "mmpoison", "options": {"origin": "zebra"}}, "no pairs name the origin 'zebra'"),
        ({"captions": "natural", "targets": ("gizmo",)}, "--captions-file"),
        ({"attack": "none", "mismatched": 0.001}, "--mismatched 0.001 of 100 pairs is 0"),
        ({"attack": "none", "boilerplate": 1}, "is 100, but only 92 can be changed"),
    ],
)
def test_what_the_pairs_do_not_allow_is_refused_with_numbers(values, words):
    captions, record_of = pairs_of(100)
    with pytest.raises(ParameterError, match=words) as refused:
        make_plan(captions, record_of, PoisonParams(**({"rate": 0.05} | values)))
    assert "\n" not in str(refused.value)


def test_pictures_that_cannot_be_read_are_told_in_the_count():
    captions, record_of = pairs_of(100, per_record=1)
    with pytest.raises(ParameterError, match="only 3 pairs .* and have a picture that can be read"):
        make_plan(captions, record_of, PoisonParams(rate=0.1), usable=lambda pair: pair in (1, 2, 3))
    with pytest.raises(ParameterError, match="none of the 8 captions given names 'cat'"):
        make_plan(
            captions,
            record_of,
            PoisonParams(rate=0.1, captions="natural", targets=("banana", "cat")),
            NATURAL,
        )
