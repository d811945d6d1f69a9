"""What a run may be asked for, and what is filled in."""

from __future__ import annotations

import pytest

from cfbd_core.errors import ParameterError
from cfbd_core.training.config import TrainParams


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"subset": "some"}, "--subset some: give one of all, kept, coarse"),
        ({"precision": "fp64"}, "--precision fp64"),
        ({"epochs": 0}, "--epochs 0: give a whole number, at least 1"),
        ({"steps": 1.5}, "--steps 1.5"),
        ({"batch_size": 1}, "needs at least 2 pairs"),
        ({"accumulate": 0}, "--accumulate 0"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"warmup": -1}, "--warmup -1: give a whole number, at least 0"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1"),
        ({"crop_scale": 0.0}, "--crop-scale 0.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**64}, "--seed 18446744073709551616: give a whole number, at most 4294967295"),
        ({"defense": "none"}, "--defense none: give one of plain, cleanclip"),
        ({"defense_options": {"pool": 1}}, "plain has no option 'pool'; it has none"),
        ({"defense": "roclip", "defense_options": {"pool": "much"}}, "roclip: pool 'much': give a share"),
        ({"defense": "roclip", "defense_options": {"every": 1.5}}, "roclip: every 1.5: give a whole number"),
        (
            {"defense": "abl", "defense_options": {"isolation_epochs": 1.5}},
            "abl: isolation_epochs 1.5: give a wh",
        ),
        ({"defense": "abl", "defense_options": {"share": "abc"}}, "abl: share 'abc': give a number above 0"),
        ({"defense": "abl", "defense_options": {"gamma": float("inf")}}, "abl: gamma inf: give a number"),
        ({"defense": "abl", "defense_options": {"unlearn_weight": None}}, "abl: unlearn_weight None: give"),
        (
            {"defense": "cleanclip", "defense_options": {"clip_weight": float("nan")}},
            "cleanclip: clip_weight nan",
        ),
        ({"defense": "safeclip", "defense_options": {"warmup_epochs": 1.5}}, "safeclip: warmup_epochs 1.5"),
        ({"defense": "safeclip", "defense_options": {"clip_epochs": True}}, "safeclip: clip_epochs True"),
        (
            {"defense": "safeclip", "defense_options": {"most": [1]}},
            "safeclip: most [1]: give a share above 0",
        ),
    ],
)
def test_values_out_of_range_are_told_in_one_line(wrong, said):
    with pytest.raises(ParameterError) as error:
        TrainParams(**wrong)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "length"),
    [
        ({}, (10, 70)),  # 1000 pairs in steps of 128: the last, partial one is not used
        ({"epochs": 3}, (3, 21)),
        ({"steps": 10}, (2, 10)),
        ({"epochs": 3, "steps": 10}, (2, 10)),  # the third is not reached
        ({"epochs": 10, "steps": 5}, (1, 5)),
        ({"batch_size": 2000, "steps": 5}, (5, 0)),
        ({"epochs": 1, "steps": 10}, (1, 7)),
        ({"batch_size": 64, "accumulate": 2, "epochs": 3}, (3, 21)),
    ],
)
def test_the_length_of_a_run(asked, length):
    assert TrainParams(**asked).length(1000) == length


def test_defaults_follow_the_length_and_the_start():
    fine, scratch = (TrainParams().resolved(1000, from_scratch) for from_scratch in (False, True))
    assert (fine.epochs, fine.lr, fine.warmup) == (10, 1e-5, 7)
    assert scratch.lr == 5e-4
    assert TrainParams(lr=1.0, warmup=0).resolved(1000, True).lr == 1.0
    assert TrainParams(lr=1.0, warmup=0).resolved(1000, True).warmup == 0
    assert TrainParams(epochs=10**7).resolved(1000, True).warmup == 10_000
    assert fine.resolved(1000, True) == fine


def test_the_id_changes_with_what_is_learned_and_not_with_how():
    params = TrainParams(defense="roclip", defense_options={"pool": 0.1})
    assert TrainParams.from_dict(params.to_dict()) == params
    for other in ({"lr": 1.0}, {"seed": 1}, {"defense_options": {"pool": 0.2}}, {"subset": "all"}):
        assert TrainParams.from_dict(params.to_dict() | other).id != params.id
    for other in ({"device": "cpu"}, {"workers": 7}, {"log_every": 1}, {"checkpoint_every": 5}):
        assert TrainParams.from_dict(params.to_dict() | other).id == params.id
